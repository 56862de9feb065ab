"""How the copies of one slice become one: what every mixer promises, and what several of them do.

A mixer changes ``mine``, (D,) floats, in place; ``theirs`` are the copies that came, by neighbour, of the same shape.
None depends on which message came first, and equal copies stay equal to the last bit. ``weighted`` alone keeps the sum
of a slice over its holders; the others give that up to bear neighbours that lie. Each works on one slice at a time, so
what they promise holds for each slice among the neighbours of its own overlay.
"""

from collections.abc import Mapping

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from parse_p2p.core.types import PeerId


class Mixer(BaseModel):
    """A mixer and its options: a plug-in is a file in this folder whose ``MIXER`` is a class derived from this one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def mix(self, mine: Tensor, theirs: Mapping[PeerId, Tensor], weights: Mapping[PeerId, float]) -> None:
        """Change ``mine`` in place; ``weights`` are those of the overlay, of at least all who are in ``theirs``."""
        raise NotImplementedError


class ByzantineMixer(Mixer):
    """One that bears a given number of lies."""

    byzantine: int = Field(1, ge=0, description="how many copies of a slice may be lies")


def middle_mean(mine: Tensor, theirs: Mapping[PeerId, Tensor], drop: int) -> None:
    """Per coordinate the mean of what is left of all copies without the ``drop`` largest and ``drop`` smallest.

    Summed in double from the smallest on; held between the extremes of what is left, so that rounding does not leave
    them and equal copies stay as they are.
    """
    copies = torch.stack([mine, *(theirs[peer].to(mine) for peer in sorted(theirs))])
    kept = copies.sort(dim=0).values[drop : len(copies) - drop]
    mine.copy_(kept.mean(0, dtype=torch.float64).to(mine.dtype).clamp(kept[0], kept[-1]))


def norm(difference: Tensor) -> float:
    """The L2 norm, summed in double."""
    return float(torch.linalg.vector_norm(difference, dtype=torch.float64))
