"""Every sample, for ever: memory grows with what arrives."""

from typing import Literal

import torch
from torch import Tensor

from parse_p2p.data.keeping.base import Keeping


class All(Keeping):
    """Keep all."""

    kind: Literal["all"] = "all"

    def kept(self, held: int, seen: int, count: int, draw: torch.Generator) -> Tensor:
        return torch.arange(held + count)


KEEPING = All
