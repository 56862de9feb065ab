"""Stochastic gradient descent with momentum."""

import torch
from pydantic import Field

from parse_p2p.learning.optimisers.base import Groups, Optimiser, without_compiler

SGD = without_compiler(torch.optim.SGD)


class Momentum(Optimiser):
    """Options of stochastic gradient descent."""

    momentum: float = Field(0.9, ge=0, lt=1, description="of stochastic gradient descent")
    weight_decay: float = Field(
        1e-4,
        ge=0,
        description="weight of the squared norm of all parameters; of adam 0, of adamw 0.01, where not given",
    )

    def make(self, groups: Groups, lr: float) -> torch.optim.Optimizer:
        return SGD(groups, lr=lr, momentum=self.momentum, weight_decay=self.weight_decay)


OPTIMISER = Momentum
