"""Find a value for every row alike, by training samples that are kept for it, and say where a grid was too narrow."""

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from parse_p2p.core.errors import ConfigError
from parse_p2p.lab.experiments.experiment import Experiment, Job, Labels, tuning_jobs
from parse_p2p.lab.experiments.sweep import Sweep


class Tuning:
    """The values that are tried for each combination, and the best of them.

    ``rounds`` says how many a combination has, None: those of the file.
    """

    def __init__(
        self, experiment: Experiment, sweep: Sweep, rounds: Callable[[Labels], int | None] = lambda labels: None
    ) -> None:
        self._experiment, self._sweep, self._rounds = experiment, sweep, rounds
        values = experiment.tune.values if experiment.tune is not None else [None]
        found = dict.fromkeys(map(experiment.tuned_as, experiment.combinations()))
        self._tried: dict[Labels, list[Any]] = {labels: [*values] for labels in found}

    @property
    def several(self) -> bool:
        """Whether there is anything to choose from."""
        return self._experiment.tune is not None and len(self._experiment.tune.values) > 1

    def run(self) -> None:
        """Run what is missing; where the best lies on the edge of its grid, go on beyond it."""
        wider = self.several
        while wider:
            self._sweep.complete(
                job for labels, values in self._tried.items() for value in values for job in self._jobs(labels, value)
            )
            further = {labels: value for labels in self._tried if (value := self._further(labels)) is not None}
            for labels, value in further.items():
                self._tried[labels].append(value)
            wider = bool(further)

    def best(self, labels: Labels) -> Any:
        """The first of the values with the best mean; None where nothing is tuned."""
        at = self._experiment.tuned_as(labels)
        if not self.several:
            return self._tried[at][0]
        scores = [self._score(at, value) for value in self._tried[at]]
        return self._tried[at][scores.index(max(scores))]

    def edge(self, labels: Labels) -> str:
        """``lowest`` or ``highest`` where the best is that of all numbers that were tried; else nothing.

        0 is no edge, for what is left out cannot be less there.
        """
        ordered, best = numbers(self._tried[self._experiment.tuned_as(labels)]), self.best(labels)
        if not self.several or not ordered or best == 0:
            return ""
        return {ordered[0]: "lowest", ordered[-1]: "highest"}.get(best, "")

    def added(self) -> list[Any]:
        """All values beyond those of the file, in their order."""
        assert self._experiment.tune is not None
        return sorted({value for tried in self._tried.values() for value in tried[len(self._experiment.tune.values) :]})

    def _further(self, labels: Labels) -> float | None:
        """The value beyond the edge that the best lies on, as long as the file lets us go on and runs can have it."""
        tune, edge, tried = self._experiment.tune, self.edge(labels), self._tried[labels]
        if tune is None or not edge:
            return None
        high = edge == "highest"
        since = sum(v > max(tune.values) if high else v < min(tune.values) for v in tried)
        value = beyond(numbers(tried), high) if since < tune.widen else None
        try:
            for job in self._jobs(labels, value) if value is not None else ():
                job.run()
        except ConfigError:  # such as a momentum above 1
            return None
        return value

    def _jobs(self, labels: Labels, value: Any) -> list[Job]:
        return tuning_jobs(self._experiment, labels, value, self._rounds(labels))

    def _score(self, labels: Labels, value: Any) -> float:
        found = [self._sweep.outcome(job) for job in self._jobs(labels, value)]
        return -math.inf if any(o.failed for o in found) else statistics.mean(o.scores()["all"] for o in found)


def numbers(values: Sequence[Any]) -> list[float]:
    """Values in ascending order where all are numbers, and there are several; else none."""
    ordered = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    return sorted(values) if ordered and len(values) > 1 else []


def beyond(ordered: Sequence[float], high: bool) -> float | None:
    """The next value above or below, by the ratio of the two outermost.

    None where whole numbers have no next one, and where 0 is one of the two or lies between them.
    """
    edge, inner = (ordered[-1], ordered[-2]) if high else (ordered[0], ordered[1])
    if edge * inner <= 0:
        return None
    value = float(f"{edge * edge / inner:.6g}")
    if all(isinstance(each, int) for each in ordered):
        return int(value) if value.is_integer() else None
    return value
