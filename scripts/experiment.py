"""What the results scripts have in common: run a job in the simulator, keep what it gave, tune, and give intervals."""

import json
import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from parse_p2p.assembly import World
from parse_p2p.config import RunFile
from parse_p2p.errors import ConfigError
from parse_p2p.participant import Participant
from parse_p2p.simulate import simulate

SEEDS = (0, 1, 2, 3, 4)
DEVELOPMENT = (100, 101)
GRID = (0.05, 0.1, 0.2)
T_975 = 2.776  # Student's t for five seeds
TYPES = ("audio", "motion", "audio+motion")

Settings = Mapping[str, Any]
Result = dict[str, float]
Probe = Callable[[Mapping[str, Participant]], Result]


@dataclass(frozen=True)
class Job:
    """One run. ``losses`` are the method's options; ``model`` is what the row changes in the network."""

    scenario: str
    method: str
    network: str
    losses: tuple[tuple[str, Any], ...]
    lr: float
    seed: int
    model: tuple[tuple[str, Any], ...] = ()

    @property
    def key(self) -> str:
        """Its name in the file of results."""
        return repr(self) if self.model else repr(self).replace(", model=())", ")")


@dataclass(frozen=True)
class Row:
    """A method with its network and options, under a name of its own; ``tuned_as`` another row's rate is taken."""

    name: str
    method: str
    network: str = "auto"
    options: tuple[tuple[str, Any], ...] = ()
    tuned_as: "Row | None" = None
    model: tuple[tuple[str, Any], ...] = ()

    def jobs(self, scenario: str, lr: float, seeds: Iterable[int]) -> list[Job]:
        return [Job(scenario, self.method, self.network, self.options, lr, seed, self.model) for seed in seeds]


def run(job: Job, scenario: Settings, agents: Settings, probes: Mapping[str, Probe]) -> Result:
    """Accuracies and costs of one run.

    Mean accuracy by agent type, over all agents, the worst agent's; payload bytes on the wire for each agent in a
    round, a coordinator's included; with a ``target``, the first round with that mean accuracy and what it had
    cost by then in bytes for each agent and in seconds of computing, all agents and the coordinator after one another.
    """
    torch.set_num_threads(1)
    settings = {k: v for k, v in scenario.items() if k not in ("say", "target")}
    world = World(RunFile.model_validate({
        "graph": {"generator": "ring"}, "agents": agents, "method": job.method, "options": dict(job.losses),
        "train": {"lr": job.lr}, "seed": job.seed, **settings,
        "model": {"network": job.network, **scenario.get("model", {}), **dict(job.model)},
    }))  # fmt: skip
    if world.run.faults:
        raise ConfigError("faults: nothing can go wrong in the simulator; run the file with parse-agent")
    participants = {p.me: p for p in world.participants()}
    sent: list[int] = []
    cost: dict[str, float] = {"seconds": 0.0}
    last: dict[str, Mapping[str, float]] = {}

    def watch(round: int, metrics: Mapping[Any, Any], ledger: Mapping[Any, Mapping[Any, Mapping[str, int]]]) -> None:
        cost["seconds"] += time.process_time() - cost.pop("began")
        sent.append(sum(n for peers in ledger.values() for slices in peers.values() for n in slices.values()))
        last.update(metrics)
        if "target" in scenario and "rounds to target" not in cost and mean(world, participants) >= scenario["target"]:
            cost.update(
                {
                    "rounds to target": round + 1.0,
                    "bytes to target": sum(sent) / len(world.peers),
                    "seconds to target": cost["seconds"],
                }
            )
        cost["began"] = time.process_time()

    cost["began"] = time.process_time()
    simulate(list(participants.values()), world.run.rounds, watch=watch)
    cost.pop("began")
    return {
        **scores(world, participants),
        **cost,
        **{f"hub {name}": value for name, value in last.get(str(world.coordinator), {}).items()},
        **(probes[job.network](participants) if job.network in probes else {}),
        "bytes": sum(sent) / len(sent) / len(world.peers),
        "parameters": float(sum(participants[me].learner.arena.size for me in world.peers)),
    }


def mean(world: World, participants: Mapping[str, Participant]) -> float:
    return statistics.mean(participants[me].learner.evaluate()["accuracy"] for me in world.peers)


def scores(world: World, participants: Mapping[str, Participant]) -> Result:
    """Accuracies, as shares of the ceiling where it is known; with shifting tasks also ``others``."""
    ceiling = world.data[0].ceiling if world.run.stream is None else None
    by_type: dict[str, list[float]] = {}
    others: list[float] = []
    for me in world.peers:
        found = participants[me].learner.evaluate()
        best = ceiling(frozenset(world.seats[me].modalities)) if ceiling else 1.0
        by_type.setdefault(world.kind(me), []).append(found["accuracy"] / best)
        others += [found["others"]] if "others" in found else []
    everyone = [score for group in by_type.values() for score in group]
    kinds = {kind: statistics.mean(group) for kind, group in by_type.items()}
    more = {"others": statistics.mean(others)} if others else {}
    if world.coordinator is not None:
        more["hub"] = participants[world.coordinator].learner.evaluate()["accuracy"]
    return {**kinds, "all": statistics.mean(everyone), "worst": min(everyone), **more}


class Runs:
    """Results by job; kept in a file, so that what was interrupted goes on where it stopped."""

    def __init__(
        self,
        cache: Path,
        workers: int,
        run: Callable[[Job], Result],
        grid: Callable[[str], tuple[float, ...]] = lambda scenario: GRID,
    ) -> None:
        self._grid = grid
        self._cache = cache
        self._workers = workers
        self._run = run
        self._done: dict[str, Result] = json.loads(cache.read_text()) if cache.exists() else {}

    def all(self, jobs: Iterable[Job]) -> None:
        missing = [job for job in dict.fromkeys(jobs) if job.key not in self._done]
        began = time.monotonic()
        with ProcessPoolExecutor(self._workers) as pool:
            for i, (job, result) in enumerate(zip(missing, pool.map(self._run, missing), strict=True), 1):
                self._done[job.key] = result
                if i % 10 == 0 or i == len(missing):
                    self._cache.write_text(json.dumps(self._done))
                    left = (time.monotonic() - began) / i * (len(missing) - i)
                    print(f"{i} of {len(missing)} runs, about {left / 60:.1f} minutes left", flush=True)

    def __getitem__(self, job: Job) -> Result:
        return self._done[job.key]

    def lr(self, scenario: str, row: Row) -> float:
        """The learning rate with the best mean over the development seeds."""
        if row.tuned_as is not None:
            return self.lr(scenario, row.tuned_as)
        grid = self._grid(scenario)
        score = {lr: statistics.mean(self[job]["all"] for job in row.jobs(scenario, lr, DEVELOPMENT)) for lr in grid}
        return max(score, key=lambda lr: score[lr])

    def results(self, scenario: str, row: Row) -> list[Result]:
        """The results of a row at its learning rate, seed by seed."""
        return [self[job] for job in row.jobs(scenario, self.lr(scenario, row), SEEDS)]

    def complete(self, scenario: str, rows: Iterable[Row]) -> None:
        """Tune and run what is missing of these rows."""
        rows = list(rows)
        tuned = [row for row in rows if row.tuned_as is None]
        self.all(job for row in tuned for lr in self._grid(scenario) for job in row.jobs(scenario, lr, DEVELOPMENT))
        self.all(job for row in rows for job in row.jobs(scenario, self.lr(scenario, row), SEEDS))


def half(values: list[float]) -> float:
    """Half the 95 % interval of the mean over the seeds (Student's t)."""
    return T_975 * statistics.stdev(values) / math.sqrt(len(values))


def interval(values: list[float], digits: int = 3) -> str:
    """Mean ± half the 95 % interval over the seeds."""
    return f"{statistics.mean(values):.{digits}f} ± {half(values):.{digits}f}"


def verdict(difference: list[float]) -> str:
    """A paired difference over the seeds, and whether its interval leaves out zero."""
    mean, either = statistics.mean(difference), half(difference)
    word = "better" if mean - either > 0 else "worse" if mean + either < 0 else "no difference shown"
    return f"{mean:+.3f} ± {either:.3f} ({word})"


def lines(head: list[str], body: Iterable[list[str]]) -> list[str]:
    """A Markdown table."""
    return ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|", *("| " + " | ".join(r) + " |" for r in body)]
