"""A correction of gradients that makes local steps follow a sum over agents, as SCAFFOLD and gradient tracking have."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

import torch
from torch import Tensor

from parse_p2p.core.slices import Region
from parse_p2p.models.parameter_buffer import ParameterBuffer

K = TypeVar("K")


class Correction:
    """Adds a constant to the gradients of every step, and keeps the mean of what they were before.

    It is the ``adjust`` of ``Learner.train``, so that momentum, clipping and any optimiser see the corrected gradients.
    ``added`` is a change of each region, (region.size,); what is not named is left as it is.
    """

    def __init__(self, buffer: ParameterBuffer, added: Iterable[tuple[Region, Tensor]]) -> None:
        self._added = torch.zeros_like(buffer.grads)
        self._sum = torch.zeros_like(buffer.grads)
        self._steps = 0
        for region, change in added:
            self._added[region.start : region.stop] = change.to(self._added)

    def __call__(self, buffer: ParameterBuffer) -> None:
        """Correct the gradients of one step, in place."""
        self._sum += buffer.grads
        self._steps += 1
        buffer.grads += self._added

    def means(self, regions: Mapping[K, Region]) -> dict[K, Tensor]:
        """The mean of the gradients over the steps, without what was added, on the CPU; zeros before the first step."""
        mean = (self._sum / max(1, self._steps)).cpu()
        return {key: mean[region.start : region.stop].clone() for key, region in regions.items()}
