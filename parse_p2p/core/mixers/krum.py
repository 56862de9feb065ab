"""The one copy that is nearest to the others."""

import math
from collections.abc import Mapping

from torch import Tensor

from parse_p2p.core.mixers.base import ByzantineMixer, norm
from parse_p2p.core.mixers.trimmed_mean import TrimmedMean
from parse_p2p.core.types import PeerId


class Krum(ByzantineMixer):
    """Take the copy that is nearest to its n − b − 2 nearest others, of n copies, mine among them (arXiv 1703.02757).

    Nearest is by the sum of squared L2 distances over one slice; of equals it is mine, then the first by name. The
    weights are not used. Fewer than the 2b + 3 copies that the paper asks for are mixed by ``TrimmedMean`` with the
    same b, which is ``byzantine``: how many copies may be lies.
    """

    def mix(self, mine: Tensor, theirs: Mapping[PeerId, Tensor], weights: Mapping[PeerId, float]) -> None:
        copies = [mine.clone(), *(theirs[peer].to(mine) for peer in sorted(theirs))]
        if len(copies) < 2 * self.byzantine + 3:
            TrimmedMean(byzantine=self.byzantine).mix(mine, theirs, weights)
            return
        squares = [[norm(one - other) ** 2 for other in copies] for one in copies]
        # one more than n − b − 2, for each is nearest to itself, at 0
        scores = [math.fsum(sorted(row)[: len(copies) - self.byzantine - 1]) for row in squares]
        mine.copy_(copies[scores.index(min(scores))])


MIXER = Krum
