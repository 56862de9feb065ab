"""The network of PmcmFL (arXiv 2312.13508): one fusion for all, in which prototypes stand for missing modalities.

Per modality m a trunk and a last linear layer give a latent z_m of width d. The fusion, an MLP, reads one slot of width
d for each modality *of the run*, so that it is the same on every agent. ``prototypes[m, c]`` is how a sample of class
c looks in modality m on average over all agents: zeros while nobody knows. In training the slot of a modality that is
missing holds the prototype of the sample's own class.

Where the class is to be found, every class is tried: the score of class c is its log-likelihood where the missing slots
hold the prototypes of c. (How prototypes serve a prediction is a reconstruction: the text was not at hand.)
"""

from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from parse_p2p.core.slices import Component
from parse_p2p.core.types import Kind, Modality
from parse_p2p.models.base import (
    Encoders,
    InputShapes,
    LatentOptions,
    Latents,
    ModelOptions,
    Network,
    Outputs,
    key_of,
    module_dict,
    trainable,
)
from parse_p2p.models.fusion import Mlp
from parse_p2p.models.parameter_buffer import Parts


class Options(LatentOptions):
    """How wide a modality's latent is, and the fusion."""

    hidden: int = Field(64, ge=1, description="hidden width of the fusion")


class Prototyped(Network):
    """See the module's docstring. ``slots`` are the modalities of the run, sorted: the order in which it fuses them.

    ``prototypes`` is a buffer (slots, classes, d), so that checkpoints and exported models have it.
    """

    reads_some = True

    prototypes: Tensor

    def __init__(self, shapes: InputShapes, classes: int, options: ModelOptions, encoders: Encoders) -> None:
        super().__init__(shapes, options, encoders)
        own = options.read(Options)
        self.slots = tuple(sorted({*map(Modality, options.modalities), *self.modalities}))
        self.rows = module_dict({m: nn.Linear(self.features[m], own.latent) for m in self.modalities})
        self.fusion = Mlp(len(self.slots), own.latent, own.hidden, classes)
        self.register_buffer("prototypes", torch.zeros(len(self.slots), classes, own.latent))

    def forward(self, inputs: Mapping[Modality, Tensor]) -> Outputs:
        there = [m for m in self.modalities if m in inputs]
        return self.read({m: {Kind.JOINT: self.rows[key_of(m)](self.trunks[key_of(m)](inputs[m]))} for m in there})

    def read(self, latents: Latents) -> Outputs:
        joint = self.fused(latents) if len(latents) == len(self.slots) else self._by_trying(latents)
        return Outputs({"joint": joint}, latents, {"joint": joint})

    def fused(self, latents: Latents, classes: Tensor | None = None) -> Tensor:
        """Logits (B, C), the missing slots filled by the prototypes of ``classes`` (B,), which only they need."""
        return self._filled(latents, self.prototypes if classes is None else self.prototypes[:, classes])

    def _filled(self, latents: Latents, rows: Tensor | Sequence[Tensor]) -> Tensor:
        """Logits (B, C), with ``rows[slot]`` (B, d) in the missing slots."""
        there = [latents[m][Kind.JOINT] if m in latents else rows[slot] for slot, m in enumerate(self.slots)]
        logits: Tensor = self.fusion(there)
        return logits

    def _by_trying(self, latents: Latents) -> Tensor:
        """The log-likelihood of each class where it is taken for the true one, (B, C)."""
        there, scores = next(iter(latents.values()))[Kind.JOINT], []
        for c in range(self.prototypes.shape[1]):
            rows = [each[c].expand_as(there) for each in self.prototypes]  # no number of samples, which no graph has
            scores.append(self._filled(latents, rows).log_softmax(1)[:, c])
        return torch.stack(scores, 1)

    def parts(self) -> Parts:
        parts: list[tuple[Component, dict[str, nn.Parameter]]] = []
        for m in self.modalities:
            architecture = self.architectures[m]
            parts.append((Component("trunk", m, Kind.JOINT, architecture), trainable(self.trunks[key_of(m)])))
            parts.append((Component("rows.joint", m, Kind.JOINT, architecture), trainable(self.rows[key_of(m)])))
        parts.append((Component("head.fusion"), trainable(self.fusion)))
        return [part for part in parts if part[1]]


NETWORK = Prototyped
