"""How the copies of one slice become one: each mixer is a function of mine, theirs and the weights."""

from collections.abc import Mapping

from torch import Tensor

from parse_p2p.names import PeerId


def weighted(mine: Tensor, theirs: Mapping[PeerId, Tensor], weights: Mapping[PeerId, float]) -> None:
    """Mix in place: ``x_i += Σ_j W_ij (x_j − x_i)`` (Xiao and Boyd 2004).

    The weight of a neighbour that is missing from ``theirs`` stays at home, so the row still sums to one; the
    difference form leaves equal copies equal to the last bit. Neighbours are added in the order of their names,
    so that the result does not depend on which mail came first.
    """
    before = mine.clone()
    for peer in sorted(theirs):
        mine.add_(theirs[peer].to(mine.device) - before, alpha=weights[peer])
