"""``parse-agent check``: everything that is wrong with a run file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parse_p2p.cli import completion, terminal
from parse_p2p.config import shipped
from parse_p2p.launch.exit_codes import FAILED

if TYPE_CHECKING:
    from parse_p2p.config.run_plan import RunPlan


def check(
    file: Annotated[
        Path, typer.Argument(help="The run file, or a shipped one by name.", autocompletion=completion.topologies)
    ],
    set: Annotated[list[str] | None, typer.Option(help="Any key of the file, as train.lr=0.1; repeatable.")] = None,
) -> None:
    """Say everything that is wrong with a run file, without running it.

    The exit code is 2 if there is anything. What this host lacks, such as a key or a GPU, only a run finds,
    and what is in agents' own data parse-agent data check.
    """
    from parse_p2p.config import run_file
    from parse_p2p.config.examine import examine

    path = shipped.find(file)
    plan, problems = examine(path, [run_file.setting(text) for text in set or []])
    if plan is not None:
        terminal.console().print(f"{path}: {_summary(plan)}", markup=False, highlight=False, soft_wrap=True)
        for note in plan.notes():
            terminal.console().print(f"{path}: {note}", markup=False, highlight=False, soft_wrap=True)
        return
    for problem in problems:
        typer.echo(problem, err=True)
    raise typer.Exit(FAILED)


def _summary(plan: "RunPlan") -> str:
    """What would be run, on one line."""
    from parse_p2p.cli.progress import size

    run = plan.run
    hub = f" and the coordinator {plan.coordinator}" if plan.coordinator else ""
    overlays = plan.overlays(0)
    plans = [overlays.plan(me) for me in plan.peers if me in overlays.offers]
    sent = [sum(plan.codec.length(p.size(peer, key)) for peer, keys in p.links.items() for key in keys) for p in plans]
    agreeing = [each.payload for me in plan.specs if (each := plan.agreement(me)) is not None]
    first = f", and {size(sum(agreeing) / len(agreeing))} to agree on before the first" if agreeing else ""
    return (
        f"nothing is wrong: {len(plan.peers)} agents{hub}, method {run.method}, data set {run.dataset}, "
        f"{run.rounds} rounds, {size(sum(sent) / len(sent))} sent by an agent in a round{first}"
    )
