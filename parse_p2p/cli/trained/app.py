"""The commands on trained agents, each a file beside this one."""

import typer

from parse_p2p.cli import program
from parse_p2p.cli.trained import evaluate, export, serve


def add_to(app: typer.Typer) -> None:
    """Make them commands of a program."""
    app.command(epilog=program.epilog(export.EXAMPLES))(export.export)
    app.command(epilog=program.epilog(evaluate.EXAMPLES))(evaluate.evaluate)
    app.command(epilog=program.epilog(serve.EXAMPLES))(serve.serve)
