"""The three-slice network of PARSE (arXiv 2601.10012): feature fission, and a head per slice.

Per modality m a trunk φ_m and one last linear layer whose rows are cut in three blocks, so that each slice of
the latent has parameters of its own: ``z_κ^m = A_κ^m φ_m(x^m) + b_κ^m``. Heads: g_r for the redundant slices of
all modalities, g_u^m for each unique slice, g_s on the fused synergistic slices of agents with two modalities or
more; an agent with one modality has neither A_s nor g_s. The logits are the sum of the branches'.
"""

from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.slices import Component
from parse_p2p.core.types import Kind, Modality
from parse_p2p.models import fusion
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

KINDS = (Kind.REDUNDANT, Kind.UNIQUE, Kind.SYNERGISTIC)


def sizes(latent: int, split: Sequence[int]) -> tuple[int, ...]:
    """Cut ``latent`` by a ratio: floors first, then the rest by the largest fractions, earlier ones first."""
    total = sum(split)
    if total <= 0 or min(split) < 0:
        raise ConfigError(f"a split of {list(split)} has no parts: give three whole numbers, such as [1, 1, 1]")
    floors = [latent * part // total for part in split]
    order = sorted(range(len(split)), key=lambda i: (-(latent * split[i] % total), i))
    for i in order[: latent - sum(floors)]:
        floors[i] += 1
    return tuple(floors)


class Options(LatentOptions):
    """How a latent is split, and what reads its synergistic slices."""

    split: tuple[int, int, int] = Field((1, 1, 1), description="ratio redundant : unique : synergistic")
    fusion: str = Field("bilinear", description="how synergistic slices are fused: bilinear, mlp, product, gated, sum")
    hidden: int = Field(64, ge=1, description="hidden width of the fusion, or rank of the bilinear one")


class Fission(Network):
    """See the module's docstring. ``inputs[m]``: (B, *shape of m).

    Samples that lack a modality have no branch on it and no synergistic one; the redundant branch is the mean over the
    modalities that are there.
    """

    reads_some = True

    def __init__(self, shapes: InputShapes, classes: int, options: ModelOptions, encoders: Encoders) -> None:
        super().__init__(shapes, options, encoders)
        own = options.read(Options)
        widths = zip(KINDS, sizes(own.latent, own.split), strict=True)
        self.widths = {kind: size for kind, size in widths if size and self._has(kind)}
        if not self.widths:
            kind = "+".join(self.modalities)
            raise ConfigError(f"model.split {list(own.split)} leaves no branch to agents with {kind}")
        self.rows = module_dict({m: self._rows(self.features[m]) for m in self.modalities})
        heads = self._heads(classes, own)
        self.branch_names, self.heads = tuple(heads), module_dict(heads)

    def _has(self, kind: Kind) -> bool:
        return kind != Kind.SYNERGISTIC or len(self.modalities) > 1

    def _rows(self, width: int) -> nn.ModuleDict:
        return module_dict({kind: nn.Linear(width, size) for kind, size in self.widths.items()})

    def _heads(self, classes: int, options: Options) -> dict[str, nn.Module]:
        """Heads by the name of their branch."""
        heads: dict[str, nn.Module] = {}
        if (size := self.widths.get(Kind.REDUNDANT)) is not None:
            heads["redundant"] = nn.Linear(size, classes)
        if (size := self.widths.get(Kind.UNIQUE)) is not None:
            heads |= {f"unique.{m}": nn.Linear(size, classes) for m in self.modalities}
        if (size := self.widths.get(Kind.SYNERGISTIC)) is not None:
            heads["synergistic"] = fusion.build(options.fusion, len(self.modalities), size, options.hidden, classes)
        return heads

    def _head(self, branch: str) -> nn.Module:
        return self.heads[key_of(branch)]

    def forward(self, inputs: Mapping[Modality, Tensor]) -> Outputs:
        latents: dict[Modality, dict[Kind, Tensor]] = {}
        for m in filter(inputs.__contains__, self.modalities):
            features = self.trunks[key_of(m)](inputs[m])
            rows = self.rows[key_of(m)]
            latents[m] = {kind: rows[key_of(kind)](features) for kind in self.widths}  # type: ignore[index]
        return self.read(latents)

    def read(self, latents: Latents) -> Outputs:
        branches: dict[str, Tensor] = {}
        views: dict[str, Tensor] = {}
        there = [m for m in self.modalities if m in latents]
        if Kind.REDUNDANT in self.widths:
            said = {f"redundant.{m}": self._head("redundant")(latents[m][Kind.REDUNDANT]) for m in there}
            views |= said
            branches["redundant"] = torch.stack(list(said.values())).mean(0)
        if Kind.UNIQUE in self.widths:
            unique = {f"unique.{m}": self._head(f"unique.{m}")(latents[m][Kind.UNIQUE]) for m in there}
            views |= unique
            branches |= unique
        if Kind.SYNERGISTIC in self.widths and len(there) == len(self.modalities):
            fused = self._head("synergistic")([latents[m][Kind.SYNERGISTIC] for m in there])
            branches["synergistic"] = views["synergistic"] = fused
        if not branches:
            raise ConfigError(f"model.split leaves no branch to samples that have {'+'.join(there)} alone")
        return Outputs(branches, latents, views)

    def parts(self) -> Parts:
        trunks = [
            (Component("trunk", m, Kind.JOINT, self.architectures[m]), trainable(self.trunks[key_of(m)]))
            for m in self.modalities
        ]
        rows = [
            (Component(f"rows.{kind}", m, kind, self.architectures[m]), trainable(self.rows[key_of(m)][key_of(kind)]))  # type: ignore[index]
            for m in self.modalities
            for kind in self.widths
        ]
        return [part for part in (*trunks, *rows, *self._head_parts()) if part[1]]

    def _head_parts(self) -> list[tuple[Component, dict[str, nn.Parameter]]]:
        parts = []
        if Kind.REDUNDANT in self.widths:
            parts.append((Component("head.redundant", None, Kind.REDUNDANT), trainable(self._head("redundant"))))
        if Kind.UNIQUE in self.widths:
            parts += [
                (Component("head.unique", m, Kind.UNIQUE), trainable(self._head(f"unique.{m}")))
                for m in self.modalities
            ]
        if Kind.SYNERGISTIC in self.widths:
            parts.append((Component("head.synergistic", None, Kind.SYNERGISTIC), trainable(self._head("synergistic"))))
        return parts


NETWORK = Fission
