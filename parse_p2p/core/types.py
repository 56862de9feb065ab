"""The words of the field as types; everything else in the package speaks in them."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, NewType

if TYPE_CHECKING:
    from torch import Tensor

PeerId = NewType("PeerId", str)
"""The name of one agent, unique in a run."""

Modality = NewType("Modality", str)
"""The name of one kind of input, such as ``audio``."""

TensorMap = Mapping[str, "Tensor"]
"""Tensors by name."""

Metrics = Mapping[str, float]
"""What a round measured, by name, such as ``loss``."""


class Role(StrEnum):
    """What an agent is in a method: a peer among equals, a client, or the coordinator of the clients."""

    PEER = "peer"
    CLIENT = "client"
    COORDINATOR = "coordinator"


class Kind(StrEnum):
    """The part of the information about the class that a slice is meant to carry (arXiv 2601.10012).

    Redundant information is in every modality, unique information in one alone, synergistic information only in several
    together; ``JOINT`` is for parts that carry all three, as trunks do.
    """

    REDUNDANT = "redundant"
    UNIQUE = "unique"
    SYNERGISTIC = "synergistic"
    JOINT = "joint"


def is_number(text: str) -> bool:
    """Whether a text is a number as Python writes one."""
    try:
        float(text)
    except ValueError:
        return False
    return True
