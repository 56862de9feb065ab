"""How the numbers of a slice become bytes and come back."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Codec:
    """A pair of inverses (exact if ``lossless``) on flat float32 tensors; ``DOUBLE`` alone is for float64.

    ``length(count)`` is the number of bytes that ``count`` numbers take: a receiver knows from the header how
    much to expect, and refuses more. ``decode`` may keep the buffer it is given alive.
    """

    name: str
    lossless: bool
    encode: Callable[[Tensor], memoryview]
    length: Callable[[int], int]
    decode: Callable[[memoryview, int], Tensor]


def memory(tensor: Tensor) -> memoryview:
    """The memory of a contiguous CPU tensor as bytes, not copied."""
    return tensor.reshape(-1).contiguous().view(torch.uint8).numpy().data


DOUBLE = Codec("double", True, memory, lambda count: 8 * count,
               lambda data, count: torch.frombuffer(data, dtype=torch.float64, count=count))  # fmt: skip
"""Doubles as they are. No run is set to it, every run knows it."""


def suited(codec: Codec, tensor: Tensor) -> Codec:
    """What a tensor travels by: the run's codec, but a double as it is, for who sends it counts on every bit."""
    return DOUBLE if tensor.dtype == torch.float64 else codec
