"""The network without fission, as large as the three-slice one, for comparisons on equal terms.

Each modality's latent is as wide as the redundant and unique slices together, so that an encoder fits agents of
every type; the hidden layer of the fusion takes up what is left, so that the parameter counts agree (within 2 %,
a test says). Every modality also has a linear head of its own: it is the prediction of an agent with one
modality, and what Harmony trains in its first stage.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.slices import Component
from parse_p2p.core.types import Kind, Modality
from parse_p2p.models.base import (
    Encoders,
    InputShapes,
    Latents,
    ModelOptions,
    Network,
    Outputs,
    count,
    key_of,
    module_dict,
    trainable,
)
from parse_p2p.models.fission import Fission, Options, sizes
from parse_p2p.models.fusion import Mlp
from parse_p2p.models.parameter_buffer import Parts


class Monolithic(Network):
    """One latent per modality; one head on all of them where there are several.

    Of samples that lack a modality the heads of the others say what they are.
    """

    reads_some = True

    def __init__(self, shapes: InputShapes, classes: int, options: ModelOptions, encoders: Encoders) -> None:
        super().__init__(shapes, options, encoders)
        own = options.read(Options)
        redundant, unique, _ = sizes(own.latent, own.split)
        size = redundant + unique
        if not size:
            raise ConfigError("model.split gives the monolithic network no width: leave some to redundant or unique")
        self.rows = module_dict({m: nn.Linear(self.features[m], size) for m in self.modalities})
        self.heads = module_dict({m: nn.Linear(size, classes) for m in self.modalities})
        self.fusion: Mlp | None = None
        if len(self.modalities) > 1:
            with torch.device("meta"):  # no memory is taken, and no trunk made again
                whole = Fission(shapes, classes, options, encoders)
            budget = count(whole) - count(self)
            hidden = _hidden(budget, len(self.modalities) * size, classes)
            self.fusion = Mlp(len(self.modalities), size, hidden, classes)

    def forward(self, inputs: Mapping[Modality, Tensor]) -> Outputs:
        there = [m for m in self.modalities if m in inputs]
        return self.read({m: {Kind.JOINT: self.rows[key_of(m)](self.trunks[key_of(m)](inputs[m]))} for m in there})

    def read(self, latents: Latents) -> Outputs:
        there = [m for m in self.modalities if m in latents]
        views = {f"unimodal.{m}": self.heads[key_of(m)](latents[m][Kind.JOINT]) for m in there}
        if self.fusion is None or len(there) < len(self.modalities):
            return Outputs(views, latents, views)
        joint = self.fusion([latents[m][Kind.JOINT] for m in there])
        return Outputs({"joint": joint}, latents, views)

    def parts(self) -> Parts:
        parts: list[tuple[Component, dict[str, nn.Parameter]]] = []
        for m in self.modalities:
            architecture = self.architectures[m]
            parts.append((Component("trunk", m, Kind.JOINT, architecture), trainable(self.trunks[key_of(m)])))
            parts.append((Component("rows.joint", m, Kind.JOINT, architecture), trainable(self.rows[key_of(m)])))
            parts.append((Component("head.unimodal", m), trainable(self.heads[key_of(m)])))
        if self.fusion is not None:
            parts.append((Component("head.joint"), trainable(self.fusion)))
        return [part for part in parts if part[1]]


def _hidden(budget: int, inputs: int, classes: int) -> int:
    """The hidden width whose parameters come nearest to the budget."""
    hidden = round((budget - classes) / (inputs + 1 + classes))
    if hidden < 1:
        raise ConfigError("model.split leaves the monolithic network no fusion of equal size: give synergy some width")
    return hidden


NETWORK = Monolithic
