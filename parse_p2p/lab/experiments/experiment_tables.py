"""An experiment that has been run: tuned values, outcomes by combination, and the tables they make."""

import csv
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parse_p2p.core.errors import ConfigError, P2PError, nearest
from parse_p2p.lab.experiments.experiment import Experiment, Labels, jobs, row_label, tables
from parse_p2p.lab.experiments.result_store import Outcome
from parse_p2p.lab.experiments.statistics import differences, interval, verdict
from parse_p2p.lab.experiments.sweep import Sweep

COST = "kB a round"
NAMES = {"all": "all agents", "worst": "worst agent"}
MOST_TYPES = 6  # with more, a table shows all agents and the worst alone


@dataclass(frozen=True)
class Table:
    """One table of an experiment; ``common`` are the labels that its rows have in common, by axis.

    ``brief`` are the columns that matter most.
    """

    common: Mapping[str, str]
    head: list[str]
    body: list[list[str]]
    brief: Sequence[int]


class Study:
    """Raises P2PError when asked for a combination of which every seed failed."""

    def __init__(self, experiment: Experiment, sweep: Sweep) -> None:
        self.experiment = experiment
        self.sweep = sweep
        self._tuned: dict[Labels, Any] = {}

    def run(self) -> None:
        """Tune, then run what is reported; what is done already is not run again."""
        experiment = self.experiment
        combinations = experiment.combinations()
        if experiment.tune is not None:
            shared = dict.fromkeys(map(experiment.tuned_as, combinations))
            values = experiment.tune.values if len(experiment.tune.values) > 1 else []
            self.sweep.complete(
                job for value in values for job in jobs(experiment, [*shared], experiment.tune.seeds, value)
            )
        self.sweep.complete(
            job for labels in combinations for job in jobs(experiment, [labels], experiment.seeds, self.tuned(labels))
        )

    def tuned(self, labels: Labels) -> Any:
        """The tuned value of a combination: the first of those with the best mean; None where nothing is tuned."""
        tune = self.experiment.tune
        if tune is None or len(tune.values) == 1:
            return None if tune is None else tune.values[0]
        at = self.experiment.tuned_as(labels)
        if at not in self._tuned:
            scores = {repr(v): self._development(at, v) for v in tune.values}
            self._tuned[at] = max(tune.values, key=lambda v: scores[repr(v)])
        return self._tuned[at]

    def _development(self, labels: Labels, value: Any) -> float:
        assert self.experiment.tune is not None
        found = [self.sweep.outcome(job) for job in jobs(self.experiment, [labels], self.experiment.tune.seeds, value)]
        return -math.inf if any(o.failed for o in found) else statistics.mean(o.scores()["all"] for o in found)

    def outcomes(self, labels: Labels) -> list[Outcome]:
        """Of a combination at its tuned value, a seed each."""
        wanted = jobs(self.experiment, [labels], self.experiment.seeds, self.tuned(labels))
        found = [self.sweep.outcome(job) for job in wanted]
        if broken := [(job, o.failed) for job, o in zip(wanted, found, strict=True) if o.failed]:
            job, why = broken[0]
            raise P2PError(
                f"{self.experiment.path}: {job.called} failed ({why}): tune over lower values, or leave it out"
            )
        return found

    @property
    def score(self) -> str:
        """What its figures are: accuracy, or the scores of other tasks."""
        every = (o.score for labels in self.experiment.combinations() for o in self.outcomes(labels))
        return " or ".join(dict.fromkeys(every))

    # tables

    def tables(self) -> Iterator[Table]:
        known = _measured(map(self.outcomes, self.experiment.combinations()))
        if lost := [name for name in self.experiment.columns if name not in known]:
            raise ConfigError(f"{self.experiment.path}: columns: no row has {lost[0]!r}: {nearest(lost[0], known)}")
        for common, members in tables(self.experiment):
            yield self._table(common, members)

    def _table(self, common: Mapping[str, str], members: Sequence[Labels]) -> Table:
        experiment = self.experiment
        rows = {row_label(experiment, labels): self.outcomes(labels) for labels in members}
        scores = {label: [o.scores() for o in found] for label, found in rows.items()}
        tuned = {row_label(experiment, labels): str(self.tuned(labels)) for labels in members}
        types = list(dict.fromkeys(kind for found in rows.values() for o in found for kind in o.kinds.values()))
        columns: dict[str, dict[str, str]] = {}  # by heading, then by row
        for key in [*(types if 1 < len(types) <= MOST_TYPES else []), "all", "worst"]:
            means = {label: interval([s[key] for s in each if key in s]) for label, each in scores.items()}
            columns[NAMES.get(key, key)] = means
        known = _measured(rows.values())
        for name in (name for name in experiment.columns if name in known):
            columns[name] = {
                r: interval([o.measures[name] for o in os if name in o.measures]) for r, os in rows.items()
            }
        columns[COST] = {
            r: f"{statistics.mean(statistics.mean(o.bytes) for o in os) / 1e3:.1f}" for r, os in rows.items()
        }
        if experiment.tune is not None:
            columns[experiment.tune.key.rpartition(".")[2]] = tuned
        heading = f"{experiment.baseline} less this row"
        if len(rows) > 1 and len(experiment.seeds) > 1:
            columns[heading] = self._compared(rows, equal_bytes=False)
            if experiment.equal_bytes:
                columns[f"{heading}, at equal bytes"] = self._compared(rows, equal_bytes=True)
        if (target := self._target(common)) is not None:
            costs = {r: self._cost(os, target) for r, os in rows.items()}
            for i, name in enumerate((f"rounds to {target}", "MB", "seconds")):
                columns[name] = {r: cells[i] for r, cells in costs.items()}
        body = [[r, *(column.get(r, "") for column in columns.values())] for r in rows]
        telling = {NAMES["all"], COST, *experiment.columns, *(name for name in columns if name.startswith(heading))}
        return Table(common, ["", *columns], body, [0, *(i for i, name in enumerate(columns, 1) if name in telling)])

    def _compared(self, rows: Mapping[str, Sequence[Outcome]], equal_bytes: bool) -> dict[str, str]:
        """The baseline less each other row, over all agents, seed by seed.

        At equal bytes each pair is compared where the dearer of the two has sent what the other sent in all; a row
        that sends nothing is compared at its end.
        """
        base = rows[self.experiment.baseline]
        others = {label: found for label, found in rows.items() if label != self.experiment.baseline}
        pairs, short = [], []
        for found in others.values():
            budgets = [
                min(sum(a.bytes), sum(b.bytes)) if equal_bytes else 0.0 for a, b in zip(base, found, strict=True)
            ]
            one, other = ([_score(o, n) for o, n in zip(os, budgets, strict=True)] for os in (base, found))
            pairs.append([a - b for a, b in zip(one, other, strict=True)])
            firsts = [max(a.bytes[0], b.bytes[0]) for a, b in zip(base, found, strict=True)]
            short.append(any(0 < n < first for n, first in zip(budgets, firsts, strict=True)))
        said = zip(others, differences(pairs), short, strict=True)
        return {label: f"{d}{', though one round costs more' if dear else ''}" for label, d, dear in said}

    def _target(self, common: Mapping[str, str]) -> float | None:
        target = self.experiment.target
        if isinstance(target, dict):
            return next((target[label] for label in common.values() if label in target), None)
        return target

    def _cost(self, found: Sequence[Outcome], target: float) -> list[str]:
        costs = [cost for o in found if (cost := o.cost_of(target)) is not None]
        if not costs:
            return ["not reached", "", ""]
        rounds, nbytes, seconds = (statistics.mean(column) for column in zip(*costs, strict=True))
        missing = "" if len(costs) == len(found) else f" ({len(costs)} of {len(found)})"
        return [f"{rounds:.1f}{missing}", f"{nbytes / 1e6:.2f}", f"{seconds:.2f}"]

    def claims(self) -> Table | None:
        """What should hold by the methods' papers, table by table: the first row less the second."""
        experiment = self.experiment
        if not experiment.claims:
            return None
        groups = list(tables(experiment))
        body = []
        for claim in experiment.claims:
            cells = [claim["says"]]
            for _, members in groups:
                by_row = {row_label(experiment, labels): labels for labels in members}
                one, other = ([self._value(o, claim["of"]) for o in self.outcomes(by_row[claim[end]])]
                              for end in ("first", "second"))  # fmt: skip
                cells.append(verdict([a - b for a, b in zip(one, other, strict=True)]))
            body.append(cells)
        head = ["property", *(", ".join(common.values()) for common, _ in groups)]
        return Table({}, head, body, range(len(head)))

    def _value(self, outcome: Outcome, name: str) -> float:
        known = outcome.scores() | outcome.measures
        if name not in known:
            raise ConfigError(f"{self.experiment.path}: claims: there is no {name!r}: {nearest(name, known)}")
        return known[name]

    # for other programs

    def write_csv(self, folder: Path) -> tuple[Path, Path]:
        """``curves.csv``, a line for each agent and round; ``measures.csv``, a line for each run and number."""
        curves, measures = folder / "curves.csv", folder / "measures.csv"
        axes = [*self.experiment.axes, "seed"]
        with (
            curves.open("w", newline="", encoding="utf-8") as one,
            measures.open("w", newline="", encoding="utf-8") as two,
        ):
            curve, measure = csv.writer(one), csv.writer(two)
            curve.writerow([*axes, "agent", "type", "round", self.score, "bytes", "seconds"])
            measure.writerow([*axes, "measure", "value"])
            for labels in self.experiment.combinations():
                for seed, outcome in zip(self.experiment.seeds, self.outcomes(labels), strict=True):
                    at = [*(label for _, label in labels), seed]
                    for me, values in outcome.accuracy.items():
                        for round, value in enumerate(values):
                            cost = [outcome.bytes[round], outcome.seconds[round]]
                            curve.writerow([*at, me, outcome.kinds[me], round, value, *cost])
                    for name, number in {**outcome.scores(), **outcome.measures}.items():
                        measure.writerow([*at, name, number])
                    measure.writerow([*at, "bytes", sum(outcome.bytes)])
        return curves, measures


def _measured(rows: Iterable[Sequence[Outcome]]) -> set[str]:
    """All names of measures that some run has."""
    return {name for found in rows for o in found for name in o.measures}


def _score(outcome: Outcome, budget: float) -> float:
    """Over all agents, at the cost of a budget, or at the end where there is none."""
    return (outcome.within(budget) if budget else outcome.scores())["all"]
