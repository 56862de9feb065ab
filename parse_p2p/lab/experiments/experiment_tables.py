"""An experiment that has been run: tuned values, outcomes by combination, and the tables they make."""

import csv
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from parse_p2p.config import run_file
from parse_p2p.core.errors import ConfigError, P2PError, nearest
from parse_p2p.lab.experiments import over_sets
from parse_p2p.lab.experiments.equal_bytes import EqualBytes
from parse_p2p.lab.experiments.experiment import Experiment, Job, Labels, jobs, row_label, tables
from parse_p2p.lab.experiments.result_store import Outcome
from parse_p2p.lab.experiments.statistics import Difference, differences, interval, shown_g, shown_p
from parse_p2p.lab.experiments.sweep import Sweep
from parse_p2p.lab.experiments.tuning import Tuning

COST = "kB a round"
ROUNDS = "rounds"
NAMES = {"all": "all agents", "worst": "worst agent"}
MOST_TYPES = 6  # with more, a table shows all agents and the worst alone


@dataclass(frozen=True)
class Table:
    """One table of an experiment; ``common`` are the labels that its rows have in common, by axis.

    ``first`` are the columns that matter most, in their order, where there is no room for all; none: all are needed.
    ``notes`` are sentences that belong below it.
    """

    common: Mapping[str, str]
    head: list[str]
    body: list[list[str]]
    first: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def heading(self) -> str:
        return ", ".join(self.common.values())


@dataclass(frozen=True)
class Comparisons:
    """Tests of an experiment: how many were corrected together, ``of`` what, and what each found.

    ``found`` is by the labels of a row, or by the numbers of a claim and of a table.
    """

    of: str
    number: int
    found: Mapping[Any, Difference]


class Study:
    """Raises P2PError when asked for a combination of which every seed failed."""

    def __init__(self, experiment: Experiment, sweep: Sweep) -> None:
        self.experiment = experiment
        self.sweep = sweep
        self.equal_bytes = EqualBytes(experiment, sweep)
        self.tuning = Tuning(experiment, sweep, self.equal_bytes.rounds)

    def run(self) -> None:
        """Find the rounds that rows have, tune, then run what is reported; what is done already is not run again.

        Raises ConfigError for measures of real processes, and for sets that are one, before anything is run.
        """
        experiment = self.experiment
        if experiment.measures and experiment.engine == "processes":
            raise ConfigError(f"{experiment.path}: measures: they need the agents at hand; take the engine simulator")
        by_table: dict[Labels, set[str]] = {}
        for labels in experiment.combinations() if experiment.sets else ():
            by_table.setdefault(self._beside_sets(labels), set()).add(self._data_set(labels))
        for sets in by_table.values():
            if len(sets) == 1:
                raise ConfigError(
                    f"{experiment.path}: sets: all labels of the axis {experiment.sets!r} are tasks of one data set, "
                    f"{sets.pop()}; give two data sets or more, or leave sets out"
                )
        self.equal_bytes.run()
        self.tuning.run()
        self.sweep.complete(job for labels in experiment.combinations() for job in self._jobs(labels))

    def _jobs(self, labels: Labels) -> list[Job]:
        """The runs of a combination that are reported, a seed each."""
        experiment = self.experiment
        return jobs(experiment, [labels], experiment.seeds, self.tuning.best(labels), self.equal_bytes.rounds(labels))

    def outcomes(self, labels: Labels) -> list[Outcome]:
        """Of a combination at its tuned value, a seed each."""
        wanted = self._jobs(labels)
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
        if experiment.equal_bytes:
            columns[ROUNDS] = {row: self._rounds(labels) for labels, row in self._rows(members)}
        if experiment.tune is not None:
            columns[experiment.tune.key.rpartition(".")[2]] = {
                row_label(experiment, labels): self._tuned(labels) for labels in members
            }
        heading, tested = f"{experiment.baseline} less this row", self.comparisons.found
        if found := {row: tested[labels] for labels, row in self._rows(members) if labels in tested}:
            columns[heading] = {row: str(d) for row, d in found.items()}
            columns["p"] = {row: shown_p(d.p) for row, d in found.items()}
            columns["g"] = {row: shown_g(d.g) for row, d in found.items()}
        if (target := self._target(common)) is not None:
            costs = {r: self._cost(os, target) for r, os in rows.items()}
            for i, name in enumerate((f"rounds to {target}", "MB", "seconds")):
                columns[name] = {r: cells[i] for r, cells in costs.items()}
        first = [NAMES["all"], heading, "p", "g", *experiment.columns, ROUNDS, COST]
        kept = [name for name in first if name in columns]
        head = list(dict.fromkeys([*kept, *columns]))
        body = [[r, *(columns[name].get(r, "") for name in head)] for r in rows]
        return Table(common, ["", *head], body, ["", *kept], [*self._edges(members), *_alike(rows)])

    def _rows(self, members: Iterable[Labels]) -> list[tuple[Labels, str]]:
        return [(labels, row_label(self.experiment, labels)) for labels in members]

    def _rounds(self, labels: Labels) -> str:
        """What a row's bytes pay for, with a mark where one round is more than that, or it may have no more."""
        equal = self.equal_bytes
        mark = " (too dear)" if equal.too_dear(labels) else " (capped)" if equal.capped(labels) else ""
        return f"{equal.rounds(labels)}{mark}"

    def _tuned(self, labels: Labels) -> str:
        """A tuned value, with a mark where it lies on the edge of what was tried."""
        return f"{self.tuning.best(labels)}{' (edge)' if self.tuning.edge(labels) else ''}"

    def _edges(self, members: Iterable[Labels]) -> list[str]:
        """A sentence on rows whose best value may lie beyond those that were tried."""
        tune = self.experiment.tune
        at = [f"{row} ({edge})" for labels, row in self._rows(members) if (edge := self.tuning.edge(labels))]
        if tune is None or not at:
            return []
        return [
            f"The best {tune.key} lies on the edge of those tried, and a better one may lie beyond: {', '.join(at)}."
        ]

    # comparisons

    @cached_property
    def comparisons(self) -> Comparisons:
        """Of its tables and claims; all are corrected together, and by ``of_one_page`` with those of others."""
        return Comparisons("this experiment", len(self.family), _corrected([self])[0])

    @cached_property
    def family(self) -> dict[Any, list[float]]:
        """Of all tests of the experiment the differences by seed: by row, and by claim and table."""
        experiment, found = self.experiment, dict[Any, list[float]]()
        groups = [members for _, members in tables(experiment)]
        if len(experiment.seeds) > 1:
            for members in groups:
                base = next(self.outcomes(labels) for labels, row in self._rows(members) if row == experiment.baseline)
                found |= {
                    labels: _paired(base, self.outcomes(labels))
                    for labels, row in self._rows(members)
                    if row != experiment.baseline
                }
        for i, claim in enumerate(experiment.claims):
            claimed = {(i, j): self._claimed(claim, members) for j, members in enumerate(groups)}
            found |= {at: differences for at, differences in claimed.items() if differences}
            if not any(claimed.values()):
                self._refuse(claim["of"])
        return found

    def _claimed(self, claim: Mapping[str, str], members: Sequence[Labels]) -> list[float]:
        """The first less the second, seed by seed; none in a table whose rows lack what the claim is of."""
        by_row = {row: labels for labels, row in self._rows(members)}
        first, second = ([_numbers(o) for o in self.outcomes(by_row[claim[end]])] for end in ("first", "second"))
        of = claim["of"]
        return [a[of] - b[of] for a, b in zip(first, second, strict=True) if of in a and of in b]

    def _refuse(self, name: str) -> None:
        known = {n for labels in self.experiment.combinations() for o in self.outcomes(labels) for n in _numbers(o)}
        raise ConfigError(f"{self.experiment.path}: claims: there is no {name!r}: {nearest(name, known)}")

    def over_sets(self) -> Iterator[Table]:
        """Rows compared over the data sets of the experiment, one table for each combination of its other axes."""
        experiment = self.experiment
        sets, found = experiment.sets, dict[Labels, dict[tuple[str, str], list[float]]]()
        for labels in experiment.combinations() if sets is not None else ():
            mean = statistics.mean(o.scores()["all"] for o in self.outcomes(labels))
            at = row_label(experiment, labels), self._data_set(labels)
            found.setdefault(self._beside_sets(labels), {}).setdefault(at, []).append(mean)
        head = ["", f"{experiment.baseline} less this row", "ahead on", "p", "mean rank"]
        for rest, means in found.items():
            scores: dict[str, list[float]] = {}
            for (row, _), tasks in means.items():
                scores.setdefault(row, []).append(statistics.mean(tasks))
            notes = over_sets.notes(scores, sum(map(len, means.values())) // len(scores))
            lines = over_sets.body(scores, experiment.baseline)
            yield Table({sets or "": f"Over all {sets}", **dict(rest)}, head, lines, notes=list(notes))

    def _beside_sets(self, labels: Labels) -> Labels:
        """What a table over sets is of: labels of all axes but those of sets and of rows."""
        over = self.experiment.sets, self.experiment.rows
        return tuple((axis, label) for axis, label in labels if axis not in over)

    def _data_set(self, labels: Labels) -> str:
        """What labels of one data set have in common; each file is a set, and so is each of people's own data."""
        run = Job(self.experiment, labels, self.experiment.seeds[0]).run()
        if run.dataset == run_file.OWN:
            return dict(labels)[self.experiment.sets or ""]
        return " ".join([run.dataset, *(str(run.data[key]) for key in ("path", "object") if key in run.data)])

    # costs and claims

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

    def claims(self) -> Iterator[Table]:
        """What should hold by the methods' papers, table by table: the first row less the second."""
        experiment = self.experiment
        if not experiment.claims:
            return
        groups = list(tables(experiment))
        found = self.comparisons.found
        body = [
            [claim["says"], *(str(found.get((i, j), "–")) for j in range(len(groups)))]
            for i, claim in enumerate(experiment.claims)
        ]
        head = ["property", *(", ".join(common.values()) for common, _ in groups)]
        yield Table({}, head, body)

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
                    for name, number in _numbers(outcome).items():
                        measure.writerow([*at, name, number])
                    measure.writerow([*at, "bytes", sum(outcome.bytes)])
        return curves, measures


def _measured(rows: Iterable[Sequence[Outcome]]) -> set[str]:
    """All names of measures that some run has."""
    return {name for found in rows for o in found for name in o.measures}


def _alike(rows: Mapping[str, Sequence[Outcome]]) -> list[str]:
    """A sentence on rows that have all they measure in common: what sets them apart does nothing in such a run."""
    groups: dict[str, list[str]] = {}
    for row, found in rows.items():
        groups.setdefault(repr([(o.accuracy, o.measures) for o in found]), []).append(row)
    if not (alike := [" = ".join(group) for group in groups.values() if len(group) > 1]):
        return []
    return [f"Equal to the last digit, by every agent and in every round: {'; '.join(alike)}."]


def _numbers(outcome: Outcome) -> dict[str, float]:
    """Its scores and measures."""
    return {**outcome.scores(), **outcome.measures}


def _paired(base: Sequence[Outcome], found: Sequence[Outcome]) -> list[float]:
    """The baseline less another row, over all agents, seed by seed."""
    return [a.scores()["all"] - b.scores()["all"] for a, b in zip(base, found, strict=True)]


def of_one_page(studies: Sequence[Study]) -> None:
    """Correct the tests of several experiments that have been run together, for they stand on one page.

    Tables that were made before have the p of their experiment alone.
    """
    corrected = _corrected(studies)
    for study, found in zip(studies, corrected, strict=True):
        study.comparisons = Comparisons("this page", sum(map(len, corrected)), found)


def _corrected(studies: Sequence[Study]) -> list[dict[Any, Difference]]:
    families = [study.family for study in studies]
    found = iter(differences([each for family in families for each in family.values()]))
    return [dict(zip(family, islice(found, len(family)), strict=True)) for family in families]
