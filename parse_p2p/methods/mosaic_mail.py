"""What FedMosaic's mail may hold: names with shapes, which both ends work out from a size alone."""

from collections.abc import Mapping

import torch

from parse_p2p.errors import SpecMismatch
from parse_p2p.methods.base import Check
from parse_p2p.methods.mosaic_setup import Size
from parse_p2p.models.adapters import Adapters, slots
from parse_p2p.models.backbone import EXPANSION, MAPS
from parse_p2p.names import PeerId, TensorMap
from parse_p2p.parcel import Fact, Parcel

WIDEST, DEEPEST = 1024, 64  # a backbone above this is not trained for anyone

Shapes = Mapping[str, tuple[int, ...]]


def adapter_shapes(model: Adapters, size: Size, lora: bool) -> Shapes:
    """The adapters of a network of this size, with the rank and the blocks of ``model``."""
    (width, depth), rank = size, model.options.rank
    there = slots(depth, model.options.blocks)
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


def size_in(sender: PeerId, meta: Mapping[str, Fact], least: int = 1) -> Size:
    """Width and depth as facts of a parcel. Raises SpecMismatch for what no backbone has."""
    width, depth = meta.get("width"), meta.get("depth")
    if type(width) is int and type(depth) is int and least <= width <= WIDEST and 1 <= depth <= DEEPEST:
        return width, depth
    raise SpecMismatch(f"{sender} has a backbone of {width!r} by {depth!r}, which cannot be")


def greeting(model: Adapters) -> Check:
    """Refuse a hello without a size that adapters of my rank fit, or that does not say what it has."""

    def check(sender: PeerId, parcel: Parcel) -> None:
        size_in(sender, parcel.meta, model.options.rank)
        if type(parcel.meta.get("ready")) is not bool or parcel.tensors:
            raise SpecMismatch(f"the hello of {sender} does not say whether it has its backbone, or says more")

    return check


def from_coordinator(model: Adapters) -> Check:
    """Refuse what is no adapter of mine, and what I begin with unless it is whole."""

    def check(sender: PeerId, parcel: Parcel) -> None:
        first = first_shapes(model, size_in(sender, parcel.meta)) if "width" in parcel.meta else {}
        fit(sender, parcel.tensors, first, adapter_shapes(model, model.dimensions, lora=True))

    return check


def fit(sender: PeerId, tensors: TensorMap, needed: Shapes, allowed: Shapes) -> None:
    """Refuse tensors unless all that are ``needed`` are there, none is neither that nor ``allowed``, and all are right.

    Raises SpecMismatch for a name, a shape, a type or a value.
    """
    known = {**needed, **allowed}
    if odd := sorted((tensors.keys() - known.keys()) | (needed.keys() - tensors.keys())):
        raise SpecMismatch(f"mail from {sender} and what it should hold differ in {', '.join(odd[:3])}")
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != known[name] or not tensor.is_floating_point():
            raise SpecMismatch(
                f"{name} from {sender} has shape {tuple(tensor.shape)} and type {tensor.dtype}, "
                f"not {known[name]} floating-point numbers"
            )
        if not bool(tensor.isfinite().all()):
            raise SpecMismatch(f"{name} from {sender} holds a value that is not a finite number")
