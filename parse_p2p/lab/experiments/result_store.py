"""What one run of an experiment came to, as plain numbers in a file of its own."""

import json
import os
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from parse_p2p.core.errors import ConfigError
from parse_p2p.data.tasks.classification import CLASSIFICATION

Scores = dict[str, float]


@dataclass
class Outcome:
    """``accuracy[agent]`` has an entry for each round, None where it was not there.

    ``bytes`` and ``seconds`` are those of each round: payload of all agents together divided by the number of agents
    that hold data, and seconds: in the simulator of computing, of all on one core; of real processes the slowest
    agent's, waiting included. ``ceilings`` are the best accuracies that any
    model can reach, by type, where they are known. ``failed`` says why there is nothing. ``score`` is what
    ``accuracy`` is called: that of another task than classification is its score.
    """

    key: str
    kinds: dict[str, str] = field(default_factory=dict)
    accuracy: dict[str, list[float | None]] = field(default_factory=dict)
    bytes: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    ceilings: dict[str, float] = field(default_factory=dict)
    parameters: int = 0
    measures: Scores = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    failed: str = ""
    score: str = CLASSIFICATION.score

    @property
    def rounds(self) -> int:
        return len(self.bytes)

    def scores(self, rounds: int | None = None) -> Scores:
        """Mean accuracy by type, over all agents and of the worst, after so many rounds; as shares of the ceilings."""
        at = (self.rounds if rounds is None else rounds) - 1
        by_type: dict[str, list[float]] = {}
        for me, curve in self.accuracy.items():
            kind = self.kinds[me]
            if (value := curve[at]) is not None:
                by_type.setdefault(kind, []).append(value / self.ceilings.get(kind, 1.0))
        everyone = [score for group in by_type.values() for score in group]
        kinds = {kind: statistics.mean(group) for kind, group in by_type.items()}
        return {**kinds, "all": statistics.mean(everyone), "worst": min(everyone)}

    def mean_accuracy(self, round: int) -> float:
        """Over all agents that are there, as it is, after a round (from 0)."""
        return statistics.mean(v for curve in self.accuracy.values() if (v := curve[round]) is not None)

    def cost_of(self, target: float) -> tuple[int, float, float] | None:
        """Rounds, bytes an agent and seconds until the mean accuracy first was ``target``; None: never."""
        for round in range(self.rounds):
            if self.mean_accuracy(round) >= target:
                return round + 1, sum(self.bytes[: round + 1]), sum(self.seconds[: round + 1])
        return None


class ResultStore:
    """Outcomes by the digests of what was run and of the code that ran it, each a file that is whole or not there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def get(self, key: str) -> Outcome | None:
        """Raises ConfigError for a file that cannot be read."""
        path = self.path(key)
        try:
            return Outcome(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(f"{path} is no outcome of a run ({error}): delete it, and it is run again") from None

    def by_other_code(self, key: str) -> bool:
        """Whether there is an outcome of the same run that other code made; it is never read."""
        run = key.partition("-")[0]
        return any(path != self.path(key) for path in self.folder.glob(f"{run}-*.json"))

    def put(self, outcome: Outcome) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.path(outcome.key).with_suffix(f".{os.getpid()}.partial")
        partial.write_text(json.dumps(asdict(outcome)), encoding="utf-8")
        partial.rename(self.path(outcome.key))


def plain(values: Mapping[str, Any]) -> Scores:
    """Numbers as floats, by name."""
    return {str(name): float(value) for name, value in values.items()}
