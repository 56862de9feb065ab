"""The newest samples, in the order in which they came; those of the start are the oldest."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from parse_p2p.data.keeping.base import Keeping


class Window(Keeping):
    """Keep the newest."""

    kind: Literal["window"]
    samples: int = Field(ge=1, description="how many are kept")

    def kept(self, held: int, seen: int, count: int, draw: torch.Generator) -> Tensor:
        return torch.arange(max(0, held + count - self.samples), held + count)


KEEPING = Window
