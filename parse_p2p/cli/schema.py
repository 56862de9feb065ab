"""``parse-agent schema``: the JSON schema of a run file."""

import json

import typer


def schema() -> None:
    """Print the JSON schema of a run file, for editors and other programs."""
    from parse_p2p.config.schema import schema as of_run_file

    typer.echo(json.dumps(of_run_file(), indent=1))
