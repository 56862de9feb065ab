"""Rounds of each row by what it sends: as many as the bytes of the baseline's rounds pay for.

A run that is cut short has not cooled down, since the learning rate falls over the rounds that a run has. Rows that are
to be compared on equal bytes therefore need runs of their own length, and how long these are only their traffic says.
"""

import math
from collections.abc import Mapping, Sequence

from parse_p2p.core.errors import ConfigError, P2PError
from parse_p2p.lab.experiments.experiment import Experiment, Labels, row_label, traffic_job
from parse_p2p.lab.experiments.sweep import Sweep

Tried = Mapping[int, Sequence[float]]
"""By the number of rounds of a run, the bytes that an agent sends in each of them."""

MOST = 10
"""The most rounds of a row, in those of the baseline.

A row that sends next to nothing could be paid hundreds of thousands of rounds, which all its runs would have: those
that count, those that tune and those of every seed.
"""

GUESSES = 6
"""Runs after which the search halves what is left, for where costs change a lot it could guess hundreds of times."""


class EqualBytes:
    """The rounds of every combination; where the experiment does not ask for equal bytes, those of its run file.

    Bytes are those that the simulator counts: payload as the codec makes it, for every receiver, of all agents together
    divided by the number of those that hold data. They are counted in runs of the first seed that hardly train: what is
    sent depends on who holds what, on the graph and on the method, and not on what was learnt.
    """

    def __init__(self, experiment: Experiment, sweep: Sweep) -> None:
        self._experiment, self._sweep = experiment, sweep
        self._full: dict[Labels, int] = {}  # of the baseline in the table of a combination
        self._tried: dict[Labels, dict[int, Sequence[float]]] = {}

    def run(self) -> None:
        """Count until the rounds of every row are known; what has been counted is not counted again.

        Raises ConfigError for a run file with faults, before anything is run, and where the baseline sends nothing and
        others do; P2PError for a combination that cannot be run.
        """
        experiment = self._experiment
        if not experiment.equal_bytes:
            return
        self._refuse_faults()
        for labels in experiment.combinations():
            self._full[labels] = traffic_job(experiment, experiment.beside(labels)).run().rounds
            self._tried[labels] = {}
        self._count(self._full)
        for labels, tried in self._tried.items():
            if not self._budget(labels) and any(map(total, tried.values())):
                raise ConfigError(
                    f"{experiment.path}: equal_bytes: the baseline {experiment.baseline} sends nothing, which pays for "
                    f"no rounds of {row_label(experiment, labels)}; leave equal_bytes out"
                )
        while further := {each: n for each, tried in self._tried.items() if (n := self._next(each)) not in tried}:
            self._count(further)

    def rounds(self, labels: Labels) -> int | None:
        """Of a combination, found first where they are not known yet; None: those that the file says."""
        if not self._experiment.equal_bytes:
            return None
        if not self._tried:
            self.run()
        return self._next(labels)

    def too_dear(self, labels: Labels) -> bool:
        """Whether the first round costs more than all rounds of the baseline."""
        return total(self._tried[labels][self._next(labels)]) > self._budget(labels)

    def capped(self, labels: Labels) -> bool:
        """Whether it has the most rounds that a row may have, and its bytes might pay for more."""
        return self._next(labels) == self._most(labels)

    def _next(self, labels: Labels) -> int:
        if labels == self._experiment.beside(labels):
            return self._full[labels]
        return fitting(self._tried[labels], self._budget(labels), self._most(labels))

    def _most(self, labels: Labels) -> int:
        return MOST * self._full[labels]

    def _budget(self, labels: Labels) -> float:
        return total(self._tried[self._experiment.beside(labels)][self._full[labels]])

    def _refuse_faults(self) -> None:
        """Bytes are counted where nothing is lost, and a run with faults sends others."""
        for job in (traffic_job(self._experiment, labels) for labels in self._experiment.combinations()):
            if job.run().faults:
                raise ConfigError(
                    f"{self._experiment.path}: {job.called}: faults: equal_bytes counts bytes in the simulator, where "
                    "nothing can go wrong; leave out faults or equal_bytes"
                )

    def _count(self, rounds: Mapping[Labels, int]) -> None:
        """Run combinations for so many rounds, and keep what they send."""
        jobs = {labels: traffic_job(self._experiment, labels, n) for labels, n in rounds.items()}
        self._sweep.complete(jobs.values())
        for labels, job in jobs.items():
            outcome = self._sweep.outcome(job)
            if outcome.failed:
                raise P2PError(
                    f"{self._experiment.path}: equal_bytes: {job.called} failed ({outcome.failed}): leave it out"
                )
            self._tried[labels][rounds[labels]] = outcome.bytes


def total(nbytes: Sequence[float]) -> float:
    """All bytes of a run, without the last digits: what differs by them is equal."""
    return round(math.fsum(nbytes), 3)


def fitting(tried: Tried, budget: float, most: int) -> int:
    """The number of rounds to try next; one that has been tried is the answer, the most whose bytes do not exceed.

    It is at most ``most``. ``tried`` are runs that have been counted, the first of as many rounds as the baseline
    has. Only where to look next is estimated: the search ends when a run of n rounds is within the budget and one of
    n + 1 is not, so that all that a run sends once, or in stages that last a share of its rounds, is in the count.
    Beyond the longest run that is within, a round is taken to cost the mean of its second half, in which what is sent
    once at the beginning is over. Between one within and one beyond, all rounds are taken to cost the same, and below
    the first that is beyond what they cost in it. After ``GUESSES`` runs what is known is doubled or halved instead.
    If one round is beyond, it is one round; and a row that sends nothing in its second half goes on no longer.
    """
    totals = {0: 0.0} | {n: total(each) for n, each in tried.items()}
    within = max(n for n, spent in totals.items() if spent <= budget)
    beyond = min((n for n in totals if n > within), default=None)
    guessing = len(tried) < GUESSES
    if beyond is None:
        half = tried[within][within // 2 :]
        recurring = math.fsum(half) / len(half)
        if not recurring:
            return within
        guess = within + max(1, int((budget - totals[within]) / recurring))
        return min(guess if guessing else max(guess, 2 * within), most)
    if beyond == within + 1:
        return max(within, 1)
    if not guessing:
        guess = (within + beyond) // 2
    elif within:
        guess = within + int((beyond - within) * (budget - totals[within]) / (totals[beyond] - totals[within]))
    else:
        guess = sum(total(tried[beyond][:n]) <= budget for n in range(1, beyond))
    return max(guess, within + 1)
