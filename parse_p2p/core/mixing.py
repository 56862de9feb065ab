"""Mixers: how the copies of one slice become one, as functions of mine, theirs and the weights.

A mixer changes ``mine``, (D,) floats, in place; ``theirs`` are the copies that came, by neighbour, of the same shape.
None depends on which message came first, and equal copies stay equal to the last bit. ``weighted`` alone keeps the sum
of a slice over its holders; the others give that up to bear neighbours that lie. Each works on one slice at a time, so
what they promise holds for each slice among the neighbours of its own overlay.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from parse_p2p.core.types import PeerId

Mixer = Callable[[Tensor, Mapping[PeerId, Tensor], Mapping[PeerId, float]], None]
"""Mix ``theirs``, copies of a slice by neighbour, into ``mine``, all (D,), by the neighbours' weights; in place."""

MixerName = Literal["weighted", "clipped", "trimmed-mean", "median", "krum"]


def mixer(name: MixerName, clip: float, byzantine: int) -> Mixer:
    """The mixer of this name; ``clip`` is the radius of ``clipped``, ``byzantine`` the b of the two that have one."""
    known: dict[MixerName, Mixer] = {
        "weighted": weighted,
        "clipped": partial(clipped, radius=clip),
        "trimmed-mean": partial(trimmed_mean, byzantine=byzantine),
        "median": median,
        "krum": partial(krum, byzantine=byzantine),
    }
    return known[name]


def weighted(mine: Tensor, theirs: Mapping[PeerId, Tensor], weights: Mapping[PeerId, float]) -> None:
    """Mix in place by the weights: ``x_i += Σ_j W_ij (x_j − x_i)`` (Xiao and Boyd 2004).

    The weight of a neighbour that is missing from ``theirs`` stays at home, so the row still sums to one; the
    difference form leaves equal copies equal to the last bit. Neighbours are added in the order of their names,
    so that the result does not depend on which message came first.
    """
    before = mine.clone()
    for peer in sorted(theirs):
        mine.add_(theirs[peer].to(mine.device) - before, alpha=weights[peer])


def clipped(
    mine: Tensor, theirs: Mapping[PeerId, Tensor], weights: Mapping[PeerId, float], radius: float = math.inf
) -> None:
    """Mix in place with each difference shortened to the norm ``radius`` (He, Karimireddy and Jaggi, arXiv 2202.01545).

    ``x_i += Σ_j W_ij clip(x_j − x_i)``. The radius is an L2 norm over one slice. A neighbour moves the slice by
    W_ij · radius at most, whatever it sends, and with any number of neighbours; where no difference is longer than the
    radius this is ``weighted``.
    """
    before = mine.clone()
    for peer in sorted(theirs):
        difference = theirs[peer].to(mine) - before
        length = _length(difference)
        shortened = radius / length if length > radius else 1.0
        mine.add_(difference, alpha=weights[peer] * shortened)


def trimmed_mean(
    mine: Tensor, theirs: Mapping[PeerId, Tensor], weights: Mapping[PeerId, float], byzantine: int = 1
) -> None:
    """Take per coordinate the mean of all copies, mine among them, less the b largest and the b smallest.

    By Yin et al., arXiv 1803.01498. The weights are not used. With up to b liars every coordinate stays between the
    honest copies. Of 2b copies or fewer as many may lie as are honest, so mine stays as it is.
    """
    if len(theirs) + 1 > 2 * byzantine:
        _middle(mine, theirs, byzantine)


def median(mine: Tensor, theirs: Mapping[PeerId, Tensor], weights: Mapping[PeerId, float]) -> None:
    """Take per coordinate the median of all copies, mine among them (Yin et al., arXiv 1803.01498).

    Of an even number it is the mean of the two in the middle. The weights are not used. Every coordinate stays
    between the honest copies while fewer than half of all copies lie; with one neighbour, then, it bears no liar.
    """
    _middle(mine, theirs, len(theirs) // 2)


def krum(mine: Tensor, theirs: Mapping[PeerId, Tensor], weights: Mapping[PeerId, float], byzantine: int = 1) -> None:
    """Take the copy that is nearest to its n − b − 2 nearest others, of n copies, mine among them (arXiv 1703.02757).

    Nearest is by the sum of squared L2 distances over one slice; of equals it is mine, then the first by name. The
    weights are not used. Fewer than the 2b + 3 copies that the paper asks for are mixed by ``trimmed_mean`` with the
    same b.
    """
    copies = [mine.clone(), *(theirs[peer].to(mine) for peer in sorted(theirs))]
    if len(copies) < 2 * byzantine + 3:
        trimmed_mean(mine, theirs, weights, byzantine)
        return
    squares = [[_length(one - other) ** 2 for other in copies] for one in copies]
    # one more than n − b − 2, for each is nearest to itself, at 0
    scores = [math.fsum(sorted(row)[: len(copies) - byzantine - 1]) for row in squares]
    mine.copy_(copies[scores.index(min(scores))])


def _middle(mine: Tensor, theirs: Mapping[PeerId, Tensor], drop: int) -> None:
    """Per coordinate the mean of what is left of all copies without the ``drop`` largest and ``drop`` smallest.

    Summed in double from the smallest on; held between the extremes of what is left, so that rounding does not leave
    them and equal copies stay as they are.
    """
    copies = torch.stack([mine, *(theirs[peer].to(mine) for peer in sorted(theirs))])
    kept = copies.sort(dim=0).values[drop : len(copies) - drop]
    mine.copy_(kept.mean(0, dtype=torch.float64).to(mine.dtype).clamp(kept[0], kept[-1]))


def _length(difference: Tensor) -> float:
    """The L2 norm, summed in double."""
    return float(torch.linalg.vector_norm(difference, dtype=torch.float64))
