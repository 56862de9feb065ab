"""Some bytes of the message are others."""

from dataclasses import replace

import torch
from pydantic import Field

from parse_p2p.wire.faults.base import ChanceFault, Delivery, below
from parse_p2p.wire.framing import Frames


class Corrupt(ChanceFault):
    """Some bytes of the message are others.

    What no longer parses, or holds a number that cannot be, is refused; what still looks right is not noticed.
    """

    bytes: int = Field(4, ge=1, le=1024, description="how many of them")

    def apply(self, delivery: Delivery, rng: torch.Generator) -> Delivery:
        return replace(delivery, frames=corrupted(delivery.frames, self.bytes, rng))


def corrupted(frames: Frames, count: int, rng: torch.Generator) -> Frames:
    """A copy of a message with ``count`` bytes changed, each in a frame drawn first and at a place drawn in it.

    So a header, small as it is, is hit as often as a tensor. The same byte may be hit more than once.
    """
    changed = [bytearray(frame) for frame in frames]
    full = [frame for frame in changed if frame]
    for _ in range(count if full else 0):
        frame = full[below(len(full), rng)]
        frame[below(len(frame), rng)] ^= 1 + below(255, rng)
    return [memoryview(frame) for frame in changed]


FAULT = Corrupt
