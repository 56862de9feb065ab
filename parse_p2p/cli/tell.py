"""``parse-agent tell``: a sensor more or fewer, while the run goes on."""

import json
from pathlib import Path
from typing import Annotated

import typer

from parse_p2p.cli import terminal
from parse_p2p.core.errors import ConfigError, nearest
from parse_p2p.core.types import PeerId


def tell(
    run: Annotated[Path, typer.Argument(help="The folder of a run that goes on.")],
    id: Annotated[str, typer.Option(help="The agent that is told.")],
    gain: Annotated[list[str] | None, typer.Option(help="A modality it has from now on; repeatable.")] = None,
    lose: Annotated[list[str] | None, typer.Option(help="A modality it has no longer; repeatable.")] = None,
) -> None:
    """Tell a running agent of this host that it gains or loses a modality: a sensor was bought, or broke.

    It tells the others, and all change over in the same round. The run file needs events: [] at least.
    """
    from parse_p2p.launch.run_folder import RunFolder
    from parse_p2p.runtime.announcements import order

    folder = RunFolder(run)
    plan = folder.open()
    if id not in plan.specs:
        raise ConfigError(f"--id {id}: there is no such agent in this run: {nearest(id, plan.specs)}")
    if plan.run.events is None:
        raise ConfigError(f"the run in {run} was started without changes: start it with events: [] in its file")
    orders = [{word: names} for word, names in (("gain", gain), ("lose", lose)) if names]
    if not orders:
        raise ConfigError("tell it what to gain or lose, as --gain audio")
    lines = [json.dumps(each) for each in orders]
    for line in lines:
        order(line, plan.sensed)
    if not folder.events(PeerId(id)).exists():
        raise ConfigError(f"{id} has never run in {run}: tell it on the host where it does")
    with folder.orders(PeerId(id)).open("a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
    said = f"told {id}; its log {folder.events(PeerId(id))} says when it holds"
    terminal.console().print(said, soft_wrap=True)
