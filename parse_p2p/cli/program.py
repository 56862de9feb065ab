"""How our programs begin and end: options that both have, and an error of ours as one sentence and exit code 2."""

import sys
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from parse_p2p import __version__
from parse_p2p.cli import terminal
from parse_p2p.core.errors import P2PError
from parse_p2p.launch.exit_codes import FAILED, INTERRUPTED

USAGE: Any = typer.BadParameter.__bases__[0]  # typer has a click of its own, under a private name


class LogLevel(StrEnum):
    """What is printed of a run while it goes on."""

    QUIET = "quiet"
    NORMAL = "normal"
    DEBUG = "debug"


def program(help_without_arguments: bool) -> typer.Typer:
    """A program without commands yet."""
    return typer.Typer(
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        no_args_is_help=help_without_arguments,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def epilog(examples: str) -> str:
    """Examples, a line each, for the end of a help."""
    return "\n\n".join(line for line in examples.splitlines() if line)


def _print_version(context: typer.Context, asked: bool) -> None:
    if asked:
        typer.echo(f"{context.find_root().info_name} {__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
]


def run(app: typer.Typer, name: str) -> None:
    """Run a program to its end and exit."""
    terminal.prepare()
    try:
        sys.exit(app(standalone_mode=False, prog_name=name) or 0)
    except P2PError as error:
        said = str(error)
    except USAGE as error:
        if not error.format_message():  # the help of a command without its sub-command is printed
            sys.exit(FAILED)
        said = f"{error.format_message()} See {name} --help"
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    Console(stderr=True).print(f"[red]error:[/] {escape(said)}", highlight=False, soft_wrap=True)
    sys.exit(FAILED)
