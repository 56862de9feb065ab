"""What one agent hands to another: named tensors and a few small facts."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from parse_p2p.names import TensorMap

Fact = str | int | float | bool | list[float] | list[str]


@dataclass(frozen=True)
class Parcel:
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
