"""Mixing by the weights of the overlay, each step to a neighbour shortened: no neighbour moves a slice far."""

import math
from collections.abc import Mapping

from pydantic import Field
from torch import Tensor

from parse_p2p.core.mixers.base import Mixer, norm
from parse_p2p.core.types import PeerId


def clipped(
    mine: Tensor, theirs: Mapping[PeerId, Tensor], weights: Mapping[PeerId, float], radius: float = math.inf
) -> None:
    """``x_i += Σ_j W_ij clip(x_j − x_i)``, each difference shortened to the norm ``radius`` (arXiv 2202.01545).

    The radius is an L2 norm over one slice. A neighbour moves the slice by W_ij · radius at most, whatever it sends,
    and with any number of neighbours; where no difference is longer than the radius this is ``weighted``.
    """
    before = mine.clone()
    for peer in sorted(theirs):
        difference = theirs[peer].to(mine) - before
        length = norm(difference)
        shortened = radius / length if length > radius else 1.0
        mine.add_(difference, alpha=weights[peer] * shortened)


class Clipped(Mixer):
    """``clipped`` at the radius ``clip``."""

    clip: float = Field(1.0, gt=0, allow_inf_nan=False, description="clipped: longest step to a neighbour's slice")

    def mix(self, mine: Tensor, theirs: Mapping[PeerId, Tensor], weights: Mapping[PeerId, float]) -> None:
        clipped(mine, theirs, weights, self.clip)


MIXER = Clipped
