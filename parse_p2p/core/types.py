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
Metrics = Mapping[str, float]


class Role(StrEnum):
    """What an agent is in a method: an equal among peers, or a client of the one that coordinates."""

    PEER = "peer"
    CLIENT = "client"
    COORDINATOR = "coordinator"


class Kind(StrEnum):
    """Which part of the information a slice is meant to carry; a label for the ledger and for codecs."""

    REDUNDANT = "redundant"
    UNIQUE = "unique"
    SYNERGISTIC = "synergistic"
    JOINT = "joint"  # trunks and monolithic parts, which carry all three
