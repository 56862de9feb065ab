"""The median of each coordinate."""

from collections.abc import Mapping

from torch import Tensor

from parse_p2p.core.mixers.base import Mixer, middle_mean
from parse_p2p.core.types import PeerId


class Median(Mixer):
    """Per coordinate the median of all copies, mine among them (arXiv 1803.01498).

    Of an even number it is the mean of the two in the middle. The weights are not used. Every coordinate stays
    between the honest copies while fewer than half of all copies lie; with one neighbour, then, it bears no liar.
    """

    def mix(self, mine: Tensor, theirs: Mapping[PeerId, Tensor], weights: Mapping[PeerId, float]) -> None:
        middle_mean(mine, theirs, len(theirs) // 2)


MIXER = Median
