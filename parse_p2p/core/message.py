"""What one agent hands to another: named tensors and a few small facts."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from parse_p2p.core.errors import SpecMismatch
from parse_p2p.core.types import TensorMap

LARGEST = 1e6  # no parameter of a network that learns, and no standardised input, comes near this

NEWEST = "newest/"
"""How a topic begins under which mail is good, whatever its round, until newer mail of its sender comes.

Under all other topics mail is good in its own round alone.
"""

Shapes = Mapping[str, tuple[int, ...]]

Fact = str | int | float | bool | list[float] | list[str]


@dataclass(frozen=True)
class Message:
    """Tensors by slice name, and facts by name.

    The tensors must not change after the parcel is made: the wire sends their memory as it is.
    """

    tensors: TensorMap = field(default_factory=dict)
    meta: Mapping[str, Fact] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors uncompressed; the wire adds a header."""
        return sum(self.bytes_by_slice().values())

    def bytes_by_slice(self) -> dict[str, int]:
        return {name: tensor.numel() * tensor.element_size() for name, tensor in self.tensors.items()}


def fit(
    sender: str,
    message: Message,
    needed: Shapes,
    allowed: Shapes | None = None,
    dtype: torch.dtype = torch.float32,
    largest: float = LARGEST,
) -> None:
    """Refuse a parcel that lacks a tensor that is ``needed``, or has one that is neither that nor ``allowed``.

    Each must have its shape and hold numbers of type ``dtype``, finite and none beyond ``largest``. Raises
    SpecMismatch, one sentence naming the tensor.
    """
    known = {**needed, **(allowed or {})}
    names = message.tensors.keys()
    if odd := sorted((names - known.keys()) | (needed.keys() - names)):
        raise SpecMismatch(f"mail from {sender} and what was to come differ in {', '.join(odd[:3])}")
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
