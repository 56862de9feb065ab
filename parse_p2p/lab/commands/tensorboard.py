"""``parse-lab tensorboard``: a run's curves as TensorBoard reads them, one TensorBoard run an agent."""

import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.event_log import Tail
from parse_p2p.core.events import ARRIVED, ARRIVING, SCORE, Round

if TYPE_CHECKING:
    from parse_p2p.launch.run_folder import RunFolder

SHOWN = ("accuracy", "loss", "test_loss", "seconds", "alive", "late")  # beside the bytes by slice


def tensorboard(
    run: Annotated[list[Path], typer.Argument(help="Folders of runs.")],
    out: Annotated[Path | None, typer.Option(help="Where to; by default a folder tensorboard in each run.")] = None,
) -> None:
    """Write runs for TensorBoard: accuracy or score, loss and bytes by slice, an agent a curve."""
    from parse_p2p.launch.run_folder import RunFolder  # with torch

    console = Console()
    if out is not None and (
        twice := [path.name for i, path in enumerate(run) if path.name in {p.name for p in run[:i]}]
    ):
        raise ConfigError(f"--out {out}: two runs are called {twice[0]}; write them one by one")
    for path in run:
        folder = RunFolder(path)
        target = path / "tensorboard" if out is None else out / path.name
        export(folder, target)
        console.print(f"written: {target}; look at it with tensorboard --logdir {target}", soft_wrap=True, markup=False)


def export(folder: "RunFolder", target: Path) -> None:
    """Anew each time. Raises ConfigError without the package tensorboardX."""
    try:
        from tensorboardX import SummaryWriter
    except ModuleNotFoundError:
        raise ConfigError("this needs tensorboardX: pip install 'parse-p2p[tensorboard]'") from None
    plan = folder.open()
    for me in plan.specs:
        if not folder.events(me).exists():
            continue  # it ran on another host
        target_folder = target / f"{me} ({plan.kind(me)})"
        shutil.rmtree(target_folder, ignore_errors=True)
        try:
            target_folder.mkdir(parents=True)
        except OSError as error:
            raise ConfigError(f"{target_folder} cannot be made: {(error.strerror or str(error)).lower()}") from None
        with SummaryWriter(str(target_folder)) as writer:
            for event in Tail(folder.events(me)).read():
                if isinstance(event, Round):
                    _round(writer, event, plan.schema.solved.key)


def _round(writer: Any, event: Round, score: str) -> None:
    at = {"global_step": event.round + 1, "walltime": event.time}
    for name in SHOWN:
        if (value := getattr(event, name)) is not None:
            writer.add_scalar(score if name == "accuracy" else name, value, **at)
    for name, value in (event.scores or {}).items():
        writer.add_scalar(f"{SCORE}{name}", value, **at)
    for name, value in (event.arrived or {}).items():
        writer.add_scalar(f"{ARRIVED}{name}", value, **at)
    if event.arriving is not None:
        writer.add_scalar(ARRIVING, event.arriving, **at)
    by_slice: Counter[str] = Counter()
    for slices in event.sent.values():
        by_slice.update(slices)
    for name, count in by_slice.items():
        writer.add_scalar(f"bytes/{name}", count, **at)
