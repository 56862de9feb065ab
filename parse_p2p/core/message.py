"""What one agent sends to another: named tensors and a few small facts."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from parse_p2p.core.errors import SpecMismatch
from parse_p2p.core.types import TensorMap

LARGEST = 1e6  # no parameter of a network that learns, and no standardised input, comes near this

Shapes = Mapping[str, tuple[int, ...]]
"""The shape of each tensor, by its name."""

Fact = str | int | float | bool | list[float] | list[str]
"""What may stand beside the tensors of a message."""


@dataclass(frozen=True)
class Message:
    """What one agent sends to another: tensors by name, and a few small facts by name.

    Tensors lie on the CPU and are float32, or float64, which no codec touches; of any shape. They must not change after
    the message is made, for the wire sends their memory as it is (``Learner.cut`` copies).
    """

    tensors: TensorMap = field(default_factory=dict)
    meta: Mapping[str, Fact] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors uncompressed; the wire adds a header."""
        return sum(self.bytes_by_slice().values())

    def bytes_by_slice(self) -> dict[str, int]:
        """Bytes of each tensor uncompressed, by its name."""
        return {name: tensor.numel() * tensor.element_size() for name, tensor in self.tensors.items()}


def check_tensors(
    sender: str,
    message: Message,
    needed: Shapes,
    allowed: Shapes | None = None,
    dtype: torch.dtype = torch.float32,
    largest: float = LARGEST,
) -> None:
    """Refuse a message that lacks a tensor that is ``needed``, or has one that is neither that nor ``allowed``.

    Each must have its shape and hold numbers of type ``dtype``, finite and none beyond ``largest`` in size. For an
    exchange's ``check``: raises SpecMismatch, one sentence naming the sender and the tensor.
    """
    known = {**needed, **(allowed or {})}
    names = message.tensors.keys()
    if odd := sorted((names - known.keys()) | (needed.keys() - names)):
        raise SpecMismatch(f"the message from {sender} and what was to come differ in {', '.join(odd[:3])}")
    for name, tensor in message.tensors.items():
        if tuple(tensor.shape) != known[name] or tensor.dtype != dtype:
            raise SpecMismatch(
                f"{name} from {sender} has shape {tuple(tensor.shape)} and type {tensor.dtype}, "
                f"not {known[name]} and {dtype}"
            )
        if not bool(tensor.isfinite().all()):
            raise SpecMismatch(f"{name} from {sender} holds a value that is not a finite number")
        if tensor.numel() and float(tensor.abs().max()) > largest:
            raise SpecMismatch(f"{name} from {sender} holds a value beyond {largest:g}, which no healthy model has")
