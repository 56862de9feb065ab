"""The network of FedCMI (arXiv 2401.00894): a self-projector and an infiltration projector for every modality.

Per modality m a trunk E_m, a self-projector SP_m and an infiltration projector IP_m, both linear from the trunk's
width to d, and one linear classifier C_m that reads both: h = E_m(x), s_m = SP_m(h), i_m = IP_m(h), and the two
views of the modality are C_m(s_m) and C_m(i_m). One linear fusion head F reads the concatenation of one slot of
width d for each modality *of the run*, so that it is the same layer on every agent. A slot holds s_m; the slot of
a modality that the agent lacks holds the mean of the infiltration features of those it has, which for two
modalities is the paper's F([s_a ; i_a]). (The mean is this package's reading for three and more.) Which module
the paper's shared classifier is was reconstructed from the first author's code: one for each modality.
"""

from collections.abc import Collection, Iterable, Mapping

import torch
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
from parse_p2p.models.parameter_buffer import Parts

Options = LatentOptions


class Infiltration(Network):
    """See the module's docstring. ``inputs[m]``: (B, *shape of m).

    The latent of a modality is ``[s_m ; i_m]``, shape (B, 2·d) with d = ``model.latent``. ``slots`` are the
    modalities of the run, sorted: the order in which F reads them. A modality that a sample lacks is filled in as one
    that the agent lacks.
    """

    reads_some = True

    def __init__(self, shapes: InputShapes, classes: int, options: ModelOptions, encoders: Encoders) -> None:
        super().__init__(shapes, options, encoders)
        self.slots = tuple(sorted({*map(Modality, options.modalities), *self.modalities}))
        size = options.read(Options).latent
        self.selves = module_dict({m: nn.Linear(self.features[m], size) for m in self.modalities})
        self.infiltrations = module_dict({m: nn.Linear(self.features[m], size) for m in self.modalities})
        self.classifiers = module_dict({m: nn.Linear(size, classes) for m in self.modalities})
        self.fusion = nn.Linear(len(self.slots) * size, classes)

    def forward(self, inputs: Mapping[Modality, Tensor]) -> Outputs:
        return self.read({m: {Kind.JOINT: self._latent(m, inputs[m])} for m in self.modalities if m in inputs})

    def _latent(self, modality: Modality, x: Tensor) -> Tensor:
        key = key_of(modality)
        features = self.trunks[key](x)
        return torch.cat([self.selves[key](features), self.infiltrations[key](features)], dim=1)

    def read(self, latents: Latents) -> Outputs:
        there = [m for m in self.modalities if m in latents]
        views = {f"unimodal.{m}": self._classified(m, own(latents[m][Kind.JOINT])) for m in there}
        return Outputs({"joint": self.fused(latents, there)}, latents, views)

    def fused(self, latents: Latents, present: Collection[Modality], fill: bool = True) -> Tensor:
        """What F says, (B, C), of the modalities ``present`` alone, at least one of those in ``latents``.

        Every other slot holds the mean of their infiltration features, or zeros without ``fill``.
        """
        chosen = {m: latents[m][Kind.JOINT] for m in self.slots if m in present}
        missing = _mean(infiltrated(z) for z in chosen.values())
        if not fill:
            missing = torch.zeros_like(missing)
        slots = [own(chosen[m]) if m in chosen else missing for m in self.slots]
        logits: Tensor = self.fusion(torch.cat(slots, dim=1))
        return logits

    def infiltration(self, outputs: Outputs) -> dict[Modality, Tensor]:
        """The logits C_m(i_m) of every modality, (B, C): the students of FedCMI's distillation."""
        return {m: self._classified(m, infiltrated(outputs.latents[m][Kind.JOINT])) for m in self.modalities}

    def _classified(self, modality: Modality, feature: Tensor) -> Tensor:
        logits: Tensor = self.classifiers[key_of(modality)](feature)
        return logits

    def parts(self) -> Parts:
        parts: list[tuple[Component, dict[str, nn.Parameter]]] = []
        for m in self.modalities:
            key, architecture = key_of(m), self.architectures[m]
            parts.append((Component("trunk", m, Kind.JOINT, architecture), trainable(self.trunks[key])))
            for part, modules in (("self", self.selves), ("infiltration", self.infiltrations)):
                parts.append((Component(f"projector.{part}", m, Kind.JOINT, architecture), trainable(modules[key])))
            parts.append((Component("head.unimodal", m), trainable(self.classifiers[key])))
        parts.append((Component("head.fusion"), trainable(self.fusion)))
        return [part for part in parts if part[1]]


def own(latent: Tensor) -> Tensor:
    """s_m of a latent ``[s_m ; i_m]``: (B, 2·d) → (B, d)."""
    return latent.chunk(2, dim=1)[0]


def infiltrated(latent: Tensor) -> Tensor:
    """i_m of a latent ``[s_m ; i_m]``: (B, 2·d) → (B, d)."""
    return latent.chunk(2, dim=1)[1]


def _mean(features: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(features)).mean(0)


NETWORK = Infiltration
