"""Compare every method on both networks and write docs/results.md.

Each method is tuned alike: the learning rates of GRID on DEVELOPMENT seeds, the best mean accuracy over all
agents wins. The reported runs use SEEDS, none of which tuned anything. Runs go through the simulator, which ends
bit for bit where the real processes do (a test says so).
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from parse_p2p import __version__
from parse_p2p.assembly import World
from parse_p2p.config import RunFile
from parse_p2p.simulate import simulate

SEEDS = (0, 1, 2, 3, 4)
DEVELOPMENT = (100, 101)
GRID = (0.05, 0.1, 0.2)
T_975 = 2.776  # Student's t for five seeds
TYPES = ("audio", "motion", "audio+motion")
FOLDER = Path(__file__).parent.parent / "docs"

Losses = Mapping[str, Any]

METHODS: list[tuple[str, str, Losses]] = [
    ("parse", "fission", {}),
    *[(name, network, {}) for network in ("fission", "monolithic")
      for name in ("local", "dsgd-task", "dsgd-modality", "dsgd-hybrid", "harmony")],
]  # fmt: skip

VARIANTS: dict[str, Losses] = {
    "default (branch losses, orthogonality)": {},
    "without branch losses": {"branch": 0.0},
    "branch losses on detached latents": {"detach": True},
    "without orthogonality": {"orthogonal": 0.0},
    "with alignment": {"align": 0.5},
}

AGENTS = {"mix": {"audio": 3, "motion": 3, "audio+motion": 2}, "placement": "alternating"}

SCENARIOS: dict[str, dict[str, Any]] = {
    "known bits": {
        "dataset": "bits",
        "data": {"samples": 3200},
        "rounds": 40,
        "say": "16 classes of one redundant, two unique and one synergistic bit (an XOR); 300 training samples an "
        "agent, IID. Shares of the closed-form ceiling (1/4, 1/4 and 1).",
    },
    "HTAD, IID": {
        "dataset": "htad",
        "rounds": 30,
        "say": "seven home activities from audio and wrist motion; 130 training samples an agent, IID.",
    },
    "HTAD, Dirichlet(0.3)": {
        "dataset": "htad",
        "partition": {"kind": "dirichlet", "alpha": 0.3},
        "rounds": 30,
        "say": "the same with labels dealt by Dirichlet(0.3).",
    },
}


@dataclass(frozen=True)
class Job:
    scenario: str
    method: str
    network: str
    losses: tuple[tuple[str, Any], ...]
    lr: float
    seed: int


def run(job: Job) -> dict[str, float]:
    """Mean accuracy by agent type, over all agents, the worst agent's, and payload bytes of an agent in a round."""
    torch.set_num_threads(1)
    scenario = {k: v for k, v in SCENARIOS[job.scenario].items() if k != "say"}
    world = World(RunFile.model_validate({
        "graph": {"generator": "ring"}, "agents": AGENTS, "method": job.method, "options": dict(job.losses),
        "model": {"network": job.network}, "train": {"lr": job.lr}, "seed": job.seed, **scenario,
    }))  # fmt: skip
    sent: list[int] = []
    participants = world.participants()

    def count(round: int, metrics: object, ledger: Mapping[Any, Mapping[Any, Mapping[str, int]]]) -> None:
        sent.append(sum(n for peers in ledger.values() for slices in peers.values() for n in slices.values()))

    simulate(participants, world.run.rounds, watch=count)
    ceiling = world.data[0].ceiling
    scores: dict[str, list[float]] = {}
    for p in participants:
        best = ceiling(frozenset(world.seats[p.me].modalities)) if ceiling else 1.0
        scores.setdefault(p.learner.holder.type, []).append(p.learner.evaluate()["accuracy"] / best)
    everyone = [s for group in scores.values() for s in group]
    return {
        **{kind: statistics.mean(group) for kind, group in scores.items()},
        "all": statistics.mean(everyone),
        "worst": min(everyone),
        "bytes": sum(sent) / len(sent) / len(participants),
        "parameters": float(sum(p.learner.arena.size for p in participants)),
    }


class Runs:
    """Results by job; kept in a file, so that what was interrupted goes on where it stopped."""

    def __init__(self, cache: Path, workers: int) -> None:
        self._cache = cache
        self._workers = workers
        self._done: dict[str, dict[str, float]] = json.loads(cache.read_text()) if cache.exists() else {}

    def all(self, jobs: Iterable[Job]) -> None:
        missing = [job for job in dict.fromkeys(jobs) if repr(job) not in self._done]
        began = time.monotonic()
        with ProcessPoolExecutor(self._workers) as pool:
            for i, (job, result) in enumerate(zip(missing, pool.map(run, missing), strict=True), 1):
                self._done[repr(job)] = result
                if i % 10 == 0 or i == len(missing):
                    self._cache.write_text(json.dumps(self._done))
                    left = (time.monotonic() - began) / i * (len(missing) - i)
                    print(f"{i} of {len(missing)} runs, about {left / 60:.1f} minutes left", flush=True)

    def __getitem__(self, job: Job) -> dict[str, float]:
        return self._done[repr(job)]


def jobs(scenario: str, method: str, network: str, losses: Losses, lr: float, seeds: Iterable[int]) -> list[Job]:
    return [Job(scenario, method, network, tuple(losses.items()), lr, seed) for seed in seeds]


def tuned(runs: Runs, scenario: str, method: str, network: str, losses: Losses) -> float:
    """The learning rate with the best mean over the development seeds."""
    score = {
        lr: statistics.mean(runs[j]["all"] for j in jobs(scenario, method, network, losses, lr, DEVELOPMENT))
        for lr in GRID
    }
    return max(score, key=lambda lr: score[lr])


def interval(values: list[float]) -> str:
    """Mean ± half the 95 % interval over the seeds (Student's t)."""
    return f"{statistics.mean(values):.3f} ± {T_975 * statistics.stdev(values) / math.sqrt(len(values)):.3f}"


def verdict(difference: list[float]) -> str:
    """A paired difference over the seeds, and whether its interval leaves out zero."""
    half = T_975 * statistics.stdev(difference) / math.sqrt(len(difference))
    mean = statistics.mean(difference)
    word = "better" if mean - half > 0 else "worse" if mean + half < 0 else "no difference shown"
    return f"{mean:+.3f} ± {half:.3f} ({word})"


def rows(runs: Runs, scenario: str, entries: Mapping[str, tuple[str, str, Losses]]) -> list[str]:
    """A table; the last column is the first entry less this one, seed by seed."""
    head = ["", *TYPES, "all agents", "worst agent", "bytes a round", "lr", "first row less this one, all agents"]
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    first: list[float] | None = None
    for name, (method, network, losses) in entries.items():
        lr = tuned(runs, scenario, method, network, losses)
        results = [runs[j] for j in jobs(scenario, method, network, losses, lr, SEEDS)]
        scores = [r["all"] for r in results]
        cells = [interval([r[key] for r in results]) for key in (*TYPES, "all", "worst")]
        last = "" if first is None else verdict([a - b for a, b in zip(first, scores, strict=True)])
        first = first or scores
        lines.append(f"| {name} | {' | '.join(cells)} | {results[0]['bytes']:.0f} | {lr} | {last} |")
    return lines


def page(runs: Runs) -> str:
    table = {f"{method}, {network}": (method, network, losses) for method, network, losses in METHODS}
    variants = {name: ("parse", "fission", losses) for name, losses in VARIANTS.items()}
    lines = [
        "# Results",
        "",
        f"Made by `scripts/results` with parse-p2p {__version__}, torch {torch.__version__}, "
        f"on {time.strftime('%Y-%m-%d')}; do not edit by hand.",
        "",
        f"Eight agents on a ring: {', '.join(f'{n} {kind}' for kind, n in AGENTS['mix'].items())}. "  # type: ignore[attr-defined]
        "Test accuracy with each agent's own modalities: mean ± half the 95 % interval (Student's t) over the seeds "
        f"{', '.join(map(str, SEEDS))}. Every row was tuned alike: the learning rate out of "
        f"{', '.join(map(str, GRID))} with the best mean over all agents on the seeds "
        f"{', '.join(map(str, DEVELOPMENT))}, which are not reported. All else is the default of the run file. "
        "Bytes are the payload an agent sends in one round, uncompressed, on average. Networks of one row and its "
        "neighbour hold equal parameters (within 2 %). The differences are paired by seed and not corrected for "
        "the number of comparisons.",
    ]
    for scenario, settings in SCENARIOS.items():
        lines += ["", f"## {scenario}", "", str(settings["say"]) + f" {settings['rounds']} rounds.", ""]
        lines += rows(runs, scenario, table)
        lines += ["", f"### {scenario}: the losses of PARSE", ""]
        lines += rows(runs, scenario, variants)
    reading = FOLDER / "reading.md"
    return "\n".join(lines) + "\n\n" + (reading.read_text(encoding="utf-8") if reading.exists() else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--cache", type=Path, default=Path("runs/results.json"), help="results so far")
    arguments = parser.parse_args()
    arguments.cache.parent.mkdir(parents=True, exist_ok=True)
    runs = Runs(arguments.cache, arguments.workers)
    entries = [*METHODS, *(("parse", "fission", losses) for losses in VARIANTS.values())]
    each = [(scenario, *entry) for scenario in SCENARIOS for entry in entries]
    runs.all(job for entry in each for lr in GRID for job in jobs(*entry, lr, DEVELOPMENT))
    runs.all(job for entry in each for job in jobs(*entry, tuned(runs, *entry), SEEDS))
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "results.md").write_text(page(runs), encoding="utf-8")
    print("wrote docs/results.md")


if __name__ == "__main__":
    main()
