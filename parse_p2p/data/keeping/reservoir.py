"""A uniform draw from all samples that ever were, those of the start included.

Algorithm R of Vitter 1985 (Random sampling with a reservoir, ACM Transactions on Mathematical Software 11(1)): the
sample number t, from 0, takes a place drawn from t + 1 of them, if that is one of the reservoir's.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from parse_p2p.data.keeping.base import Keeping


class Reservoir(Keeping):
    """Keep a uniform draw from all."""

    kind: Literal["reservoir"]
    samples: int = Field(ge=1, description="how many are kept")

    def kept(self, held: int, seen: int, count: int, draw: torch.Generator) -> Tensor:
        filled = min(count, max(0, self.samples - held))
        places = list(range(held + filled))
        numbers = torch.arange(seen + filled, seen + count, dtype=torch.float64)
        drawn = torch.rand(len(numbers), generator=draw, dtype=torch.float64) * (numbers + 1)
        for at in torch.nonzero(drawn < self.samples).flatten().tolist():
            places[int(drawn[at])] = held + filled + at
        return torch.tensor(places, dtype=torch.int64)


KEEPING = Reservoir
