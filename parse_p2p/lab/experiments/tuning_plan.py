"""Plans of runs that tune: agents are tested with a share of what they would train on, and never see the test set."""

from parse_p2p.config.run_file import RunFile
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.errors import ConfigError
from parse_p2p.core.membership import Modalities
from parse_p2p.core.rng import seeded
from parse_p2p.core.types import PeerId
from parse_p2p.data.base import Dataset, split, split_groups


class TuningPlan(RunPlan):
    """A plan in whose run ``share`` of each agent's training samples is kept, of every class, and is its test set.

    Where whole natural clients are tested (``test_by: group``), whole ones are kept, at least one, of an agent that has
    several. What else a run does with its data is unchanged: streams, events, early stopping. A coordinator trains and
    is tested as ever, for its accuracy has no part in a score.
    """

    def __init__(self, run: RunFile, share: float) -> None:
        self._kept = share
        super().__init__(run)

    def share(self, me: PeerId, modalities: Modalities | None = None) -> tuple[Dataset, Dataset]:
        """Raises ConfigError where an agent has too few samples for both."""
        train, test = super().share(me, modalities)
        return (train, test) if me == self.coordinator else self._divide(me, train)

    def _divide(self, me: PeerId, train: Dataset) -> tuple[Dataset, Dataset]:
        seed = seeded(self.run.seed, "tuning", me).initial_seed()
        clients = 1 if train.groups is None or self.run.test_by != "group" else len(set(train.groups.tolist()))
        try:
            if clients > 1:
                return split_groups(train, min(max(self._kept, 1 / clients), 1 - 1 / clients), seed)
            return split(train, self._kept, seed)
        except ConfigError:
            said = f"leaves agent {me}, which has {len(train)} training samples, none to be tuned by; raise it"
            raise ConfigError(f"tune.share: {self._kept} {said}") from None
