"""How the numbers of a slice become bytes and come back."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Codec:
    """How tensors become bytes and come back; a module that has one as ``CODEC`` is a codec.

    ``encode`` takes a float32 CPU tensor (N,) and ``decode(data, N)`` gives it back: exactly if ``lossless``, else with
    an error that must be small beside its norm. What is no finite number must stay so, for the receiver to refuse it.
    ``length(N)`` is the number of bytes N numbers take, 0 for none: a receiver knows from the header how much to
    expect, and refuses more. Both are pure; ``decode`` may keep the buffer it is given alive. (``DOUBLE`` alone is for
    float64.)
    """

    name: str
    lossless: bool
    encode: Callable[[Tensor], memoryview]
    length: Callable[[int], int]
    decode: Callable[[memoryview, int], Tensor]


def tensor_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a CPU tensor of any shape and type, row by row; not copied where it is contiguous."""
    return tensor.reshape(-1).contiguous().view(torch.uint8).numpy().data


DOUBLE = Codec("double", True, tensor_bytes, lambda count: 8 * count,
               lambda data, count: torch.frombuffer(data, dtype=torch.float64, count=count))  # fmt: skip
"""Doubles as they are. No run is set to it, every run knows it."""


def suited(codec: Codec, tensor: Tensor) -> Codec:
    """What a tensor travels by: the run's codec, but a double as it is, for who sends it counts on every bit."""
    return DOUBLE if tensor.dtype == torch.float64 else codec
