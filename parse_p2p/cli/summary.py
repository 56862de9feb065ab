"""``parse-agent summary``: what a run came to, or has come to so far; for agents that were started one by one."""

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from parse_p2p.cli import terminal
from parse_p2p.cli.program import LogLevel
from parse_p2p.core.errors import P2PError

LOOK = 0.5  # seconds between two looks at the logs


def summary(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    wait: Annotated[bool, typer.Option("--wait", help="First wait for the end, and tell of every round.")] = False,
    patience: Annotated[
        float, typer.Option(min=0, help="With --wait: seconds without news from anyone, after which it waits no more.")
    ] = 300.0,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only the summary.")] = False,
    alone: Annotated[bool, typer.Option(help="Also train the same agents alone, to compare with.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")] = False,
) -> None:
    """Print the summary of a run, or of its rounds so far: for agents that are started one by one.

    All agents' logs have to be in the folder. The exit code is 1 if one of them has not come to its end.
    """
    from parse_p2p.cli import run_summary
    from parse_p2p.cli.progress import RunView, Screen
    from parse_p2p.launch.run_folder import RunFolder
    from parse_p2p.launch.run_history import RunHistory

    folder, console = RunFolder(run), terminal.console()
    quiet = quiet or as_json
    _wait_for(folder.file, patience if wait else 0)
    plan = folder.open()
    history = RunHistory.of(plan, folder)
    view = RunView(history, plan.run.rounds, 0, plan.coordinator, plan.schema.solved.score)
    with Screen(view, console, LogLevel.NORMAL if wait and not quiet else LogLevel.QUIET) as screen:
        screen.update(history.read())
        while wait and not run_summary.over(plan, history) and history.silence < patience:
            time.sleep(LOOK)
            screen.update(history.read())
    missing = run_summary.missing(plan, history)
    if not view.accuracy():
        raise P2PError(f"no agent has finished a round yet in {run}" + ("" if wait else ": add --wait"))
    found = run_summary.conclude(plan, folder, view, history.seconds, alone, quiet, keep=not missing)
    if as_json:
        typer.echo(json.dumps({"run": str(run), **found.plain(), "missing": missing}, indent=1))
    else:
        run_summary.show(found, folder, console)
        for me, why in missing.items():
            console.print(f"[yellow]{me} {escape(why)}[/]", highlight=False, soft_wrap=True)
    if missing:
        raise typer.Exit(1)


def _wait_for(file: Path, seconds: float) -> None:
    """Until the run begins, or for so long."""
    end = time.monotonic() + seconds
    while not file.exists() and time.monotonic() < end:
        time.sleep(LOOK)
