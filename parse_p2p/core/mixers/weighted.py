"""Mixing by the weights of the overlay, which keeps the sum of a slice over its holders."""

from collections.abc import Mapping

from torch import Tensor

from parse_p2p.core.mixers.base import Mixer
from parse_p2p.core.types import PeerId


def weighted(mine: Tensor, theirs: Mapping[PeerId, Tensor], weights: Mapping[PeerId, float]) -> None:
    """Mix in place: ``x_i += Σ_j W_ij (x_j − x_i)`` (Xiao and Boyd 2004).

    The weight of a neighbour that is missing from ``theirs`` stays at home, so the row still sums to one; the
    difference form leaves equal copies equal to the last bit. Neighbours are added in the order of their names,
    so that the result does not depend on which message came first.
    """
    before = mine.clone()
    for peer in sorted(theirs):
        mine.add_(theirs[peer].to(mine.device) - before, alpha=weights[peer])


class Weighted(Mixer):
    """``weighted``, which needs no options."""

    def mix(self, mine: Tensor, theirs: Mapping[PeerId, Tensor], weights: Mapping[PeerId, float]) -> None:
        weighted(mine, theirs, weights)


MIXER = Weighted
