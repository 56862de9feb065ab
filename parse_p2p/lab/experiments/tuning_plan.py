"""Plans of runs that tune: a share of the training samples is the test set, and the test set is not there."""

from parse_p2p.config.agent_data import SharedData
from parse_p2p.config.run_file import RunFile
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.errors import ConfigError
from parse_p2p.core.membership import Modalities
from parse_p2p.core.rng import seeded
from parse_p2p.core.types import PeerId
from parse_p2p.data.base import Dataset, split, split_groups


class TuningPlan(RunPlan):
    """A plan in whose run ``share`` of what would be trained on is kept, and is the test set.

    Of a data set that is dealt to all agents it is kept before the rest is dealt, as the test set was: a set for all,
    with its mix of classes, for a value that is best on each agent's own few classes need not be best on all. Agents
    with data of their own each keep a share of theirs. Where whole natural clients are tested (``test_by: group``),
    whole ones are kept, at least one. Whatever else a run does with its data, streams and events, it does as ever.

    Raises ConfigError where that leaves too few samples.
    """

    def __init__(self, run: RunFile, share: float) -> None:
        self._kept = share
        super().__init__(run, refuse=False)
        if isinstance(self.data, SharedData):
            self.data = self.data.instead(*self._cut(self.data.train, "all agents"))
        for problem in self.problems():
            raise ConfigError(problem)

    def share(self, me: PeerId, modalities: Modalities | None = None) -> tuple[Dataset, Dataset]:
        train, test = super().share(me, modalities)
        if isinstance(self.data, SharedData) or me == self.coordinator:
            return train, test
        return self._cut(train, f"agent {me}")

    def _cut(self, train: Dataset, whose: str) -> tuple[Dataset, Dataset]:
        seed = seeded(self.run.seed, "tuning", whose).initial_seed()
        clients = 1 if train.groups is None or self.run.test_by != "group" else len(set(train.groups.tolist()))
        share, cut = self._kept, split
        if clients > 1:
            share, cut = min(max(share, 1 / clients), 1 - 1 / clients), split_groups
        try:
            return cut(train, share, seed)
        except ConfigError:
            raise ConfigError(
                f"tune.share: {self._kept} of the {len(train)} training samples of {whose} leaves none to tune by, or "
                "none to train on; change it"
            ) from None
