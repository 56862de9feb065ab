"""Early stopping of what an agent reports: the round is chosen by samples of its own that it does not train on.

The agent itself goes on to train and to exchange, for others need it. The test set has no part in the choice.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.rng import seeded
from parse_p2p.core.types import PeerId
from parse_p2p.data.base import Dataset, split
from parse_p2p.data.splits import Cut, amount


class EarlyStopping(BaseModel):
    """Which round an agent reports: the best on a share of its training samples that is kept for that."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    validation: float = Field(0.1, gt=0, lt=1, description="share of each agent's training samples, of every class")
    patience: int = Field(5, ge=1, description="rounds without a better one after which later ones do not count")
    metric: Literal["accuracy", "loss"] = Field(
        "accuracy", description="on those samples; of equals the first round; accuracy: or the score of another task"
    )

    def held_out(self, train: Dataset, me: PeerId, seed: int, cut: Cut = split) -> tuple[Dataset, Dataset]:
        """An agent's training samples without those that are kept, and these.

        Raises ConfigError where it has too few for both.
        """
        try:
            return cut(train, self.validation, seeded(seed, "validation", me).initial_seed())
        except ConfigError:
            said = (
                f"{self.validation} leaves agent {me}, which has {amount(train, cut)}, none to train on or to judge by"
            )
            raise ConfigError(
                f"early_stopping.validation: {said}; take a share nearer a half, or deal it more"
            ) from None

    def chosen(self, judged: Mapping[int, Mapping[str, Any]]) -> int | None:
        """The round that is reported, of what each round's ``validation`` and ``validation_loss`` were."""
        best, value = None, 0.0
        for round in sorted(judged):
            row = judged[round]
            found = row.get("validation") if self.metric == "accuracy" else row.get("validation_loss")
            if found is None or found != found:
                continue
            found = found if self.metric == "accuracy" else -found
            if best is None or found > value:
                best, value = round, found
            elif round - best >= self.patience:
                break
        return best
