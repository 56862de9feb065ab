"""What an optimiser is here: options that make one of torch's kind, for the components of a model as flat vectors."""

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

Groups = list[dict[str, Any]]
"""Parameter groups of torch, one a component: ``params`` is its one flat parameter, ``component`` its name."""


class Optimiser(BaseModel):
    """An optimiser's options: a plug-in is a file in this folder whose ``OPTIMISER`` is a class derived from this one.

    What it makes keeps all that it remembers in torch's way: tensors and numbers in ``state``, by parameter, and
    numbers in its groups, so that checkpoints have it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    def make(self, groups: Groups, lr: float) -> torch.optim.Optimizer:
        """An optimiser over these groups; ``lr`` is the learning rate, which is set anew every round."""
        raise NotImplementedError

    @property
    def looks_back(self) -> bool:
        """Whether ``after_round`` does anything."""
        return False

    def after_round(
        self, optimiser: torch.optim.Optimizer, moved: Mapping[str, Tensor], rates: Mapping[str, float]
    ) -> None:
        """Take into account how a round as a whole moved the components, local steps, exchange and mixing together.

        ``moved`` (size,) has for each component that was stepped, by its name, its parameters before the round less
        those after it; ``rates`` the sum of the learning rates of its steps. Both are empty after a round without
        steps, as that of a client that was not chosen.
        """
