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
    with data of their own each keep a share of theirs. Where whole natural clients are tested (``test_by: group`` or
    ``test_groups``), whole ones are kept, at least one. Whatever else a run does with its data, streams and events, it
    does as ever.

    Raises ConfigError where that leaves too few samples.
    """

    def __init__(self, run: RunFile, share: float) -> None:
        self._kept = share
        super().__init__(run, refuse=False)
        if isinstance(self.data, SharedData):
            self.data = self.data.instead(*cut(run, self.data.train, share, "all agents"))
        for problem in self.problems():
            raise ConfigError(problem)

    def share(self, me: PeerId, modalities: Modalities | None = None) -> tuple[Dataset, Dataset]:
        train, test = super().share(me, modalities)
        if isinstance(self.data, SharedData) or me == self.coordinator:
            return train, test
        return cut(self.run, train, self._kept, f"agent {me}")

    def common(self, me: PeerId, modalities: Modalities) -> None:
        """Nothing: of a common test set too these runs see nothing."""


def cut(run: RunFile, train: Dataset, share: float, whose: str) -> tuple[Dataset, Dataset]:
    """Training samples without those that are kept, and these: of every class, or whole natural clients, by the seed.

    Raises ConfigError, naming whose they are, where one side gets none.
    """
    seed = seeded(run.seed, "tuning", whose).initial_seed()
    whole = run.test_by == "group" or bool(run.test_groups)
    clients = len(set(train.groups.tolist())) if whole and train.groups is not None else 1
    try:
        if clients > 1:
            return split_groups(train, min(max(share, 1 / clients), 1 - 1 / clients), seed)
        return split(train, share, seed)
    except ConfigError:
        raise ConfigError(
            f"tune.share: {share} of the {len(train)} training samples of {whose} leaves none to tune by, or none to "
            "train on; change it"
        ) from None
