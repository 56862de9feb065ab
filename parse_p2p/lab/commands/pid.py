"""``parse-lab pid``: what the slices of a run's agents hold, as tables and as ``pid.json`` in the run folder.

The file holds ``k``, ``rounds`` and the lists of records that ``lab/analysis/slice_analysis.py`` describes, those of
all rounds one after another.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from parse_p2p.core.errors import ConfigError

if TYPE_CHECKING:
    from parse_p2p.config.run_plan import RunPlan
    from parse_p2p.lab.analysis.slice_analysis import SliceAnalysis
    from parse_p2p.launch.run_folder import RunFolder

FILE = "pid.json"


def pid(
    run: Annotated[Path, typer.Argument(help="The folder of a run that has checkpoints.")],
    round: Annotated[int | None, typer.Option(min=0, help="After how many rounds; by default the newest.")] = None,
    every: Annotated[int | None, typer.Option(min=1, help="Also all rounds of which this is a divisor.")] = None,
    k: Annotated[int, typer.Option(min=2, max=64, help="Codes for each source.")] = 8,
    json: Annotated[Path | None, typer.Option(help="Write here and not to pid.json in the run folder.")] = None,
) -> None:
    """What is redundant, unique and synergistic in the data and in each slice, on held-out samples, in bits."""
    from parse_p2p.lab.analysis import slice_tables  # with torch
    from parse_p2p.lab.analysis.slice_analysis import TOPICS
    from parse_p2p.launch.run_folder import RunFolder

    console = slice_tables.wide_console()
    folder = RunFolder(run)
    plan = folder.open()
    rounds = _rounds(plan, folder, round, every)
    found: SliceAnalysis = {topic: [] for topic in TOPICS}
    for each in rounds:
        with console.status(f"round {each}"):
            new = _at(plan, folder, each, k)
        for topic in TOPICS:
            found[topic] += [x for x in new[topic] if x not in found[topic]] if topic == "notes" else new[topic]
    path = json or folder.path / FILE
    _write(path, {"k": k, "rounds": rounds, **found})
    slice_tables.show(console, plan, new | {"k": [k]})
    console.print(f"\nall of it, of every agent: {path}", markup=False, highlight=False, soft_wrap=True)


def _rounds(plan: "RunPlan", folder: "RunFolder", round: int | None, every: int | None) -> list[int]:
    if round is not None and every is None:
        return [round]
    from parse_p2p.lab.analysis import load_checkpoints

    common = load_checkpoints.common_rounds(plan, folder)
    last = common[-1] if round is None else round
    return sorted({n for n in common if every and n % every == 0 and n <= last} | {last})


def _at(plan: "RunPlan", folder: "RunFolder", round: int, k: int) -> "SliceAnalysis":
    from parse_p2p.lab.analysis import load_checkpoints
    from parse_p2p.lab.analysis.slice_analysis import analyse

    learners = load_checkpoints.learners(plan, folder, round)
    found = analyse(plan, learners, round, k)
    if absent := load_checkpoints.absent(plan, round, learners):
        found["notes"].append(
            f"{', '.join(absent)} left no checkpoint of round {round} here and is not in these figures"
        )
    return found


def _write(path: Path, found: dict[str, Any]) -> None:
    try:
        path.write_text(json_text(found), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--json {path}: {error.strerror}") from None


def json_text(found: dict[str, Any]) -> str:
    """One record a line."""
    lists = {key: value for key, value in found.items() if isinstance(value, list) and key != "rounds"}
    head = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in found.items() if key not in lists]
    body = [
        f" {json.dumps(key)}: [" + ",".join(f"\n  {json.dumps(x)}" for x in value) + "]" for key, value in lists.items()
    ]
    return "{\n" + ",\n".join(head + body) + "\n}\n"
