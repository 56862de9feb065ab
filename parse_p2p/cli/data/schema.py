"""``parse-agent data schema``: what agents with these data have to agree on, for their run file."""

import typer

from parse_p2p.cli.data import sources


def schema(
    source: sources.Paths = None,
    id: sources.Ids = None,
    kind: sources.Kind = None,
    set: sources.Settings = None,
) -> None:
    """Print the data_schema of one or several sources, to be put into a run file.

    Several need the same shapes where they have the same modalities; all classes that any has are in it.
    """
    import yaml

    from parse_p2p.data.schema import united

    found = {name: each.dataset for name, each in sources.opened(source, id, kind, set).items()}
    keys = {"data_schema": united(found).model_dump(mode="json")}
    rows = ", ".join(f"{name} ({len(dataset)} rows)" for name, dataset in found.items())
    typer.echo(f"# of {' '.join(rows.split())}")
    typer.echo(yaml.safe_dump(keys, sort_keys=False, allow_unicode=True, default_flow_style=None), nl=False)
