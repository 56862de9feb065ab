"""How our programs end: an error of ours is one sentence and exit code 2."""

import sys
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from parse_p2p.core.errors import P2PError

USAGE: Any = typer.BadParameter.__bases__[0]  # typer has a click of its own, under a private name
FAILED, INTERRUPTED = 2, 130


def run(app: typer.Typer, name: str) -> None:
    """Run a program to its end and exit."""
    try:
        sys.exit(app(standalone_mode=False, prog_name=name) or 0)
    except P2PError as error:
        said = str(error)
    except USAGE as error:
        said = f"{error.format_message()} See {name} --help"
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    Console(stderr=True).print(f"[red]error:[/] {escape(said)}", highlight=False, soft_wrap=True)
    sys.exit(FAILED)
