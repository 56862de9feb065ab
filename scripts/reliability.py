"""Inject faults into a run of sixteen agents. Writes the figures of docs/explanation/reliability.md.

Finished runs are kept in a file, so that what was interrupted goes on where it stopped.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch
from breaking import AGENTS, CALM, CHANGE, CHANGED, SCENES, changing, drift, measure, run_file

from parse_p2p import __version__
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.lab.experiments.statistics import SEEDS, interval, markdown

PAGE = Path(__file__).parent.parent / "docs" / "explanation" / "reliability.md"
BEGIN, END = "<!-- what follows is made by scripts/reliability -->", "<!-- until here -->"
WORK: dict[Callable[[str, int], Any], Collection[str]] = {
    measure: SCENES,
    drift: ("synchronous", "push-sum", "acknowledged"),
}

Runs = Sequence[Mapping[str, Any]]
"""What ``measure`` found, a seed each."""


def mean(run: Mapping[str, Any], agents: Collection[str] | None = None) -> float:
    return statistics.mean(x for me, x in run["accuracy"].items() if agents is None or me in agents)


def points(runs: Runs, others: Runs, agents: Sequence[Collection[str]] | None = None) -> str:
    """By how many points these are better than the others, paired by seed; all agents, or some of each seed."""
    some: Sequence[Collection[str] | None] = agents or [None] * len(runs)
    return interval([100 * (mean(a, s) - mean(b, s)) for a, b, s in zip(runs, others, some, strict=True)], 1)


def scenes(found: Mapping[str, Runs]) -> list[str]:
    head = ["what goes wrong", "mean accuracy", "difference, points", "to", "worst agent", "rounds done",
            "rounds with a missing message", "refused", "late", "seconds", "ratio"]  # fmt: skip
    body = []
    for name, runs in found.items():
        other = SCENES[name].against
        body.append([
            name, interval([mean(run) for run in runs]),
            *(["", ""] if name == CALM else [points(runs, found[other]), other]),
            interval([min(run["accuracy"].values()) for run in runs]),
            *(f"{100 * average(runs, key):.1f} %" for key in ("rounds", "missing")),
            *(f"{average(runs, key):.0f}" for key in ("refused", "late", "seconds")),
            ratio(runs, found[other]) if name != CALM and SCENES[name].latency == SCENES[other].latency else "",
        ])  # fmt: skip
    return markdown(head, body)


def ratio(runs: Runs, others: Runs) -> str:
    return f"{average(runs, 'seconds') / average(others, 'seconds'):.1f}"


def average(runs: Runs, key: str) -> float:
    return statistics.mean(run[key] for run in runs)


def affected(found: Mapping[str, Runs]) -> list[str]:
    """The agents affected and all others, beside the same agents where nothing goes wrong."""
    body = []
    for name, runs in found.items():
        if all(hit := [run["struck"] for run in runs]):
            rest = [run["accuracy"].keys() - scheduled_rounds for run, scheduled_rounds in zip(runs, hit, strict=True)]
            body.append([name, points(runs, found[CALM], hit), points(runs, found[CALM], rest)])
    return markdown(["difference to where nothing goes wrong, points", "the agents affected", "the others"], body)


def modalities(runs: Runs, calm: Runs) -> list[str]:
    """Who gained and who lost a modality, beside the agents that have had what it has now, and as it was."""
    gains, loses = changing(RunPlan(run_file(CALM, 0)))
    body = []
    for me, before, now in ((gains, "audio", "audio+motion"), (loses, "audio+motion", "motion")):
        alike = {one for one, kind in calm[0]["kinds"].items() if kind == now} - {gains, loses}
        groups = [(runs, {me}), (calm, {me}), (calm, alike)]
        body.append([f"{before} → {now}", *(interval([mean(run, some) for run in rs]) for rs, some in groups)])
    others = runs[0]["accuracy"].keys() - {gains, loses}
    body.append(["the others", *(interval([mean(run, others) for run in rs]) for rs in (runs, calm)), ""])
    return markdown([f"from round {CHANGE} on", "accuracy", "without the change", "others of that kind"], body)


def page(found: Mapping[str, Runs], drifts: Mapping[str, list[float]]) -> str:
    runs = [run for of_scene in found.values() for run in of_scene]
    bad = [r for r in runs if r["hung"] or r["left"] or r["ended"] < AGENTS or any(r["codes"].values())]
    moved = [[name, f"{statistics.mean(x):.1e}", f"{max(x):.1e}"] for name, x in drifts.items()]
    return "\n".join([
        BEGIN, "",
        f"Measured with parse-p2p {__version__}, torch {torch.__version__}, on {time.strftime('%Y-%m-%d')}. Of "
        f"{len(runs)} runs {len(bad) or 'none'} hung, ended with an agent short or an exit code other than 0, or left "
        "a process behind.",
        "", *scenes(found), "", *affected(found), "", *modalities(found[CHANGED], found[CALM]), "",
        *markdown(["exchange", "how far the mean moves, in σ₀", "at most"], moved), "", END,
    ])  # fmt: skip


def key(work: Callable[[str, int], Any], name: str, seed: int) -> str:
    return f"{work.__name__}, {name}, seed {seed}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2, help="runs at a time (default 2)")
    parser.add_argument("--cache", type=Path, default=Path("runs/reliability.json"), help="runs so far")
    arguments = parser.parse_args()
    arguments.cache.parent.mkdir(parents=True, exist_ok=True)
    done: dict[str, Any] = json.loads(arguments.cache.read_text()) if arguments.cache.exists() else {}
    wanted = [(work, name, seed) for seed in SEEDS for work, names in WORK.items() for name in names]
    jobs = {key(*job): job for job in wanted if key(*job) not in done}
    began = time.monotonic()
    with ProcessPoolExecutor(arguments.workers) as pool:
        running = {pool.submit(work, name, seed): it for it, (work, name, seed) in jobs.items()}
        for i, future in enumerate(as_completed(running), 1):
            done[running[future]] = future.result()
            arguments.cache.write_text(json.dumps(done))
            left = (time.monotonic() - began) / i * (len(jobs) - i)
            print(f"{running[future]}: {i} of {len(jobs)}, {left / 60:.0f} minutes left", flush=True)
    found, drifts = ({name: [done[key(work, name, seed)] for seed in SEEDS] for name in WORK[work]} for work in WORK)
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(before + page(found, drifts) + rest.partition(END)[2], encoding="utf-8")
    print("wrote docs/explanation/reliability.md")


if __name__ == "__main__":
    main()
