"""The mean of each coordinate without its extremes."""

from collections.abc import Mapping

from torch import Tensor

from parse_p2p.core.mixers.base import ByzantineMixer, middle_mean
from parse_p2p.core.types import PeerId


def trimmed_mean(
    mine: Tensor, theirs: Mapping[PeerId, Tensor], weights: Mapping[PeerId, float], byzantine: int = 1
) -> None:
    """Per coordinate the mean of all copies, mine among them, less the b largest and the b smallest (arXiv 1803.01498).

    The weights are not used. With up to b liars every coordinate stays between the honest copies. Of 2b copies or
    fewer as many may lie as are honest, so mine stays as it is.
    """
    if len(theirs) + 1 > 2 * byzantine:
        middle_mean(mine, theirs, byzantine)


class TrimmedMean(ByzantineMixer):
    """``trimmed_mean`` without the ``byzantine`` largest and smallest."""

    def mix(self, mine: Tensor, theirs: Mapping[PeerId, Tensor], weights: Mapping[PeerId, float]) -> None:
        trimmed_mean(mine, theirs, weights, self.byzantine)


MIXER = TrimmedMean
