"""Adam: steps by running means of the gradient and of its square (arXiv 1412.6980)."""

from typing import Annotated

import torch
from pydantic import Field

from parse_p2p.core.optimisers import without_compiler
from parse_p2p.learning.optimisers.base import Groups, Optimiser

Adam = without_compiler(torch.optim.Adam)

Decay = Annotated[float, Field(ge=0, lt=1)]


class AdamOptions(Optimiser):
    """Options of Adam; its weight decay is part of the gradient."""

    betas: tuple[Decay, Decay] = Field(
        (0.9, 0.999), description="adam, adamw: decay of the means of gradient and square"
    )
    eps: float = Field(1e-8, gt=0, description="adam, adamw: added to the root of the mean square")
    weight_decay: float = Field(0.0, ge=0, description="weight of the squared norm of all parameters")

    def make(self, groups: Groups, lr: float) -> torch.optim.Optimizer:
        return Adam(groups, lr=lr, **self.model_dump())


OPTIMISER = AdamOptions
