"""The mean of each coordinate without its extremes."""

from collections.abc import Mapping

from torch import Tensor

from parse_p2p.core.mixers.base import ByzantineMixer, middle_mean
from parse_p2p.core.types import PeerId


class TrimmedMean(ByzantineMixer):
    """Per coordinate the mean of all copies, mine among them, less the b largest and the b smallest (arXiv 1803.01498).

    The weights are not used, and b is ``byzantine``. With up to b liars every coordinate stays between the honest
    copies. Of 2b copies or fewer as many may lie as are honest, so mine stays as it is.
    """

    def mix(self, mine: Tensor, theirs: Mapping[PeerId, Tensor], weights: Mapping[PeerId, float]) -> None:
        if len(theirs) + 1 > 2 * self.byzantine:
            middle_mean(mine, theirs, self.byzantine)


MIXER = TrimmedMean
