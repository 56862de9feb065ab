"""A frozen backbone with small trainable adapters, part of which fit a network of any size (arXiv 2506.11024).

The depth is cut in blocks, and in the last layer of each block every linear map has a Co-LoRA adapter: a *slot*,
named by the block and the role of the map, ``0.in``, ``0.out``, ``1.in`` … The linear maps of all other layers have an
ordinary LoRA adapter, named by the layer. Backbone, A and B of the slots and all received copies are buffers: they
are neither trained nor shared, and they are in checkpoints. Until a backbone is given, it is a random one, the same
for all networks of a size.
"""

from collections.abc import Iterator, Mapping

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.rng import seeded
from parse_p2p.core.slices import Component
from parse_p2p.models.base import (
    Encoders,
    InputShapes,
    ModelOptions,
    as_buffers,
    initialise,
    key_of,
    module_dict,
    rectified,
)
from parse_p2p.models.lora.backbone import MAPS, Backbone
from parse_p2p.models.lora.colora import Adapter, CoLoRA, LoRA
from parse_p2p.models.parameter_buffer import Parts


class Options(BaseModel):
    """The adapters, and what weighs those that are received."""

    rank: int = Field(6, ge=1, description="rank of the adapters")
    blocks: int = Field(2, ge=1, description="blocks whose last layer has adapters that fit any size")
    gate: str = Field(
        "scalar",
        pattern="^(scalar|input|fixed|local)$",
        description="what weighs received adapters against my own: a number, the input, one half, or mine alone",
    )


def targets(depth: int, blocks: int) -> list[int]:
    """The last layer of each block, counted from 0; the last block takes what does not divide.

    Raises ConfigError unless 1 <= blocks <= depth.
    """
    if not 1 <= blocks <= depth:
        raise ConfigError(f"model.blocks: {depth} layers cannot be cut into {blocks} blocks; give 1 to {depth}")
    step = depth // blocks
    return [block * step - 1 for block in range(1, blocks)] + [depth - 1]


def slots(depth: int, blocks: int) -> dict[str, tuple[int, str]]:
    """Layer and role of each slot; with fewer layers than blocks every layer is a block."""
    ends = enumerate(targets(depth, min(blocks, depth)))
    return {f"{block}.{role}": (layer, role) for block, layer in ends for role in MAPS}


class Adapters(Backbone):
    """See the module's docstring."""

    def __init__(self, shapes: InputShapes, classes: int, options: ModelOptions, encoders: Encoders) -> None:
        super().__init__(shapes, classes, options, encoders)
        generator = seeded("adapters", *self.dimensions)
        self._freeze(generator)
        self.own = options.read(Options)
        self._slots = slots(self.depth, self.own.blocks)
        self._others = {f"{i}.{r}": (i, r) for i, r in self._maps() if (i, r) not in self._slots.values()}
        self.adapters = module_dict({f"{i}.{role}": self._adapter(i, role, generator) for i, role in self._maps()})

    def added(self, layer: int, role: str, x: Tensor) -> Tensor | float:
        out: Tensor = self.adapters[key_of(f"{layer}.{role}")](x)
        return out

    @property
    def slots(self) -> dict[str, CoLoRA]:
        """The adapters that fit any size, by block and role."""
        found = {name: self._at(*where) for name, where in self._slots.items()}
        return {name: adapter for name, adapter in found.items() if isinstance(adapter, CoLoRA)}

    @property
    def others(self) -> dict[str, LoRA]:
        """The adapters of the other layers, by layer and role; they fit networks of this size only."""
        found = {name: self._at(*where) for name, where in self._others.items()}
        return {name: adapter for name, adapter in found.items() if isinstance(adapter, LoRA)}

    @property
    def shared(self) -> dict[str, Adapter]:
        """All adapters under the names they are sent by: ``pq/SLOT`` and ``lora/LAYER.ROLE``."""
        fitting: dict[str, Adapter] = {f"pq/{slot}": adapter for slot, adapter in self.slots.items()}
        return fitting | {f"lora/{where}": adapter for where, adapter in self.others.items()}

    @property
    def base(self) -> dict[str, Tensor]:
        """The tensors of the backbone under their names in ``Backbone``; writing to them changes it."""
        others = ("adapters.", "weighting.")
        return {name: tensor for name, tensor in self.named_buffers() if not name.startswith(others)}

    def parts(self) -> Parts:
        gates = {f"{key}.{name}": p for key, a in self.shared.items() for name, p in a.gate.named_parameters()}
        parts: list[tuple[Component, dict[str, nn.Parameter]]] = [
            (Component("adapter.pq"), _shared(self.slots)),
            (Component("adapter.lora", architecture=self.size), _shared(self.others)),
            (Component("adapter.gate", architecture=self.size), gates),
        ]
        return [part for part in parts if part[1]]

    def _maps(self) -> Iterator[tuple[int, str]]:
        return ((index, role) for index in range(self.depth) for role in MAPS)

    def _at(self, layer: int, role: str) -> Adapter:
        adapter = self.adapters[key_of(f"{layer}.{role}")]
        assert isinstance(adapter, Adapter)
        return adapter

    def _adapter(self, layer: int, role: str, generator: torch.Generator) -> Adapter:
        outputs, inputs = self.weight(layer, role).shape
        kind = CoLoRA if (layer, role) in self._slots.values() else LoRA
        return kind(inputs, outputs, self.own.rank, self.own.gate, generator)

    def _freeze(self, generator: torch.Generator) -> None:
        """Make buffers of all parameters, with random values."""
        initialise(self, generator, self.options.initialisation, rectified(self))
        values = {name: p.detach().clone() for name, p in self.named_parameters()}
        as_buffers(self)
        for name, value in values.items():
            self.get_buffer(name).copy_(value)


def _shared(adapters: Mapping[str, Adapter]) -> dict[str, nn.Parameter]:
    return {f"{key}.{name}": a.get_parameter(name) for key, a in adapters.items() for name in a.names}


NETWORK = Adapters
