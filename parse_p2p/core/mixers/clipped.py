"""Mixing by the weights of the overlay, each step to a neighbour shortened: no neighbour moves a slice far."""

from collections.abc import Mapping

from pydantic import Field
from torch import Tensor

from parse_p2p.core.mixers.base import Mixer, norm
from parse_p2p.core.types import PeerId


class Clipped(Mixer):
    """``x_i += Σ_j W_ij clip(x_j − x_i)``, each difference shortened to the norm ``clip`` (arXiv 2202.01545).

    That radius is an L2 norm over one slice. A neighbour moves the slice by W_ij · radius at most, whatever it sends,
    and with any number of neighbours; where no difference is longer than the radius this is ``weighted``.
    """

    clip: float = Field(1.0, gt=0, allow_inf_nan=False, description="clipped: longest step to a neighbour's slice")

    def mix(self, mine: Tensor, theirs: Mapping[PeerId, Tensor], weights: Mapping[PeerId, float]) -> None:
        before = mine.clone()
        for peer in sorted(theirs):
            difference = theirs[peer].to(mine) - before
            length = norm(difference)
            shortened = self.clip / length if length > self.clip else 1.0
            mine.add_(difference, alpha=weights[peer] * shortened)


MIXER = Clipped
