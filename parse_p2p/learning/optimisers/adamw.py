"""AdamW: Adam whose weight decay is no part of the gradient (arXiv 1711.05101)."""

import torch
from pydantic import Field

from parse_p2p.core.optimisers import without_compiler
from parse_p2p.learning.optimisers.adam import AdamOptions
from parse_p2p.learning.optimisers.base import Groups

AdamW = without_compiler(torch.optim.AdamW)


class AdamWOptions(AdamOptions):
    """Options of AdamW; its weight decay shrinks the parameters by themselves, by ``lr · weight_decay`` a step."""

    weight_decay: float = Field(0.01, ge=0, description="weight of the squared norm of all parameters")

    def make(self, groups: Groups, lr: float) -> torch.optim.Optimizer:
        return AdamW(groups, lr=lr, **self.model_dump())


OPTIMISER = AdamWOptions
