"""What the commands on trained agents have in common."""

from pathlib import Path
from typing import Annotated

import typer

from parse_p2p.cli import completion

Run = Annotated[Path, typer.Argument(help="The folder of a run.", autocompletion=completion.folders)]
Trained = Annotated[
    Path,
    typer.Argument(help="The folder of a run, or one that was exported.", autocompletion=completion.folders),
]
Trust = Annotated[
    list[str] | None,
    typer.Option(help="A network or encoder that an exported folder names and that may be run; repeatable."),
]
Agent = Annotated[str | None, typer.Option("--id", help="The agent; needed where there are several.")]
