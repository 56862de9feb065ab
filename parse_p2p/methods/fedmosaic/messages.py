"""What FedMosaic's messages may hold: names with shapes, which both ends derive from the sizes of the networks."""

import torch

from parse_p2p.core.errors import SpecMismatch
from parse_p2p.core.message import Message, Shapes, check_tensors
from parse_p2p.core.types import PeerId
from parse_p2p.methods.base import Check
from parse_p2p.methods.fedmosaic.setup import Size
from parse_p2p.models.adapters import Adapters, slots
from parse_p2p.models.lora.backbone import EXPANSION, MAPS


def adapter_shapes(model: Adapters, size: Size, lora: bool) -> Shapes:
    """The adapters of a network of this size, with the rank and the blocks of ``model``."""
    (width, depth), rank = size, model.own.rank
    there = slots(depth, model.own.blocks)
    shapes: dict[str, tuple[int, ...]] = {}
    for slot in there:
        shapes |= {f"pq/{slot}/P": (rank, rank), f"pq/{slot}/Q": (rank,)}
    plain = [(layer, role) for layer in range(depth) for role in MAPS if (layer, role) not in there.values()]
    for layer, role in plain if lora else []:
        outer = (width, EXPANSION * width)
        inputs, outputs = outer if role == "in" else outer[::-1]
        shapes |= {f"lora/{layer}.{role}/A": (rank, inputs), f"lora/{layer}.{role}/B": (outputs, rank)}
    return shapes


def first_shapes(model: Adapters, pivot: Size) -> Shapes:
    """All that a network begins with: its backbone, the frames of its slots, and the pivot's backbone."""
    shapes = {f"backbone/{name}": tuple(tensor.shape) for name, tensor in model.base.items()}
    for slot, adapter in model.slots.items():
        shapes |= {f"frame/{slot}/A": tuple(adapter.A.shape), f"frame/{slot}/B": tuple(adapter.B.shape)}
    if pivot != model.dimensions:
        with torch.device("meta"):
            probe = model.sibling(*pivot)
        shapes |= {f"probe/{name}": tuple(tensor.shape) for name, tensor in probe.state_dict().items()}
    return shapes


def greeting(sender: PeerId, message: Message) -> None:
    """Refuse a hello that does not say whether its sender has its backbone, or says more."""
    if type(message.meta.get("ready")) is not bool or message.tensors:
        raise SpecMismatch(f"the hello of {sender} does not say whether it has its backbone, or says more")


def from_coordinator(model: Adapters, pivot: Size) -> Check:
    """Refuse what is no adapter of mine, and what I begin with unless it is whole."""

    def check(sender: PeerId, message: Message) -> None:
        check_tensors(
            sender,
            message,
            first_shapes(model, pivot) if begins(message) else {},
            adapter_shapes(model, model.dimensions, lora=True),
        )

    return check


def begins(message: Message) -> bool:
    """Whether a message holds what a client begins with."""
    return any(name.startswith("backbone/") for name in message.tensors)
