"""The network of the methods that exchange representations: every modality ends in a unit vector of one width.

After FedAFD (arXiv 2603.04890), whose parties may differ in everything but that width d (``model.latent``). Per
modality: a trunk and a last linear layer give ``u = e(x)``, of length one; a copy of the coordinator's encoder,
held fixed, gives ``g = f(x)`` of the same input; gates mix both into ã (its granularity-aware feature fusion), and
the heads read √d ã, whose elements have variance one. Before any encoder came from the coordinator, and in methods
that send none, ã is u. Two discriminators per modality tell local rows from global ones; they too read √d times
them, for on unit rows they learn too slowly to say anything.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

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
    as_buffers,
    initialise,
    key_of,
    module_dict,
    trainable,
)
from parse_p2p.models.encoder import EncoderOptions, features_of, trunk
from parse_p2p.models.fusion import Mlp
from parse_p2p.models.parameter_buffer import Parts

RATIO = 4  # how much narrower the middle of a gate's branch is
SLOPE = 0.2  # of the leaky rectifiers in a discriminator


class Options(LatentOptions):
    """How wide a modality's representation is, and the fusion of several."""

    hidden: int = Field(64, ge=1, description="hidden width of the fusion")


class Gate(nn.Module):
    """Two stages of gates, each in (0, 1)^d: ã lies between a and g in every coordinate.

    Stage s opens by ``M_s(z) = σ(T_s1(z) + T_s2(z))``, with bottlenecks T of their own. The authors' code, imitated
    with ``reuse``, has but one second branch, for both stages. Norms are over features and not over the batch, so
    that a batch may be small.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.first = nn.ModuleList(_bottleneck(size) for _ in range(2))
        self.second = nn.ModuleList(_bottleneck(size) for _ in range(2))

    def forward(self, a: Tensor, g: Tensor, reuse: bool = False) -> Tensor:
        """ã (B, d) of the local rows a and the global rows g, both (B, d)."""
        common = self.first[1]
        open_first = torch.sigmoid(self.first[0](a + g) + common(a + g))
        h = torch.lerp(g, a, open_first)
        open_second = torch.sigmoid(self.second[0](h) + (common if reuse else self.second[1])(h))
        return torch.lerp(g, a, open_second)

    def reset(self, generator: torch.Generator) -> None:
        """First values anew."""
        initialise(self, generator)
        for layer in self.modules():
            if isinstance(layer, nn.LayerNorm):
                layer.reset_parameters()


class Pair(NamedTuple):
    """The discriminators of one modality: against its own global rows, and against another modality's.

    Each gives a logit (B, 1), high for what it takes to be global.
    """

    intra: nn.Module
    cross: nn.Module


class Embedding(Network):
    """See the module's docstring. ``inputs[m]``: (B, *shape of m).

    The buffer ``present`` says whether the coordinator's encoders are there; ``shared`` makes the gates and the
    discriminators of the first modality serve all of them, as in the authors' code. Of samples that lack a modality
    the heads of the others say what they are.
    """

    reads_some = True
    present: Tensor
    shared: Tensor

    def __init__(self, shapes: InputShapes, classes: int, options: ModelOptions, encoders: Encoders) -> None:
        super().__init__(shapes, options, encoders)
        own, each = options.read(Options), self.modalities
        size = own.latent
        self.size = size
        self.rows = module_dict({m: nn.Linear(self.features[m], size) for m in each})
        self.heads = module_dict({m: nn.Linear(size, classes) for m in each})
        self.fusion = Mlp(len(each), size, own.hidden, classes) if len(each) > 1 else None
        self.gates = module_dict({m: Gate(size) for m in each})
        self.intra = module_dict({m: _discriminator(size) for m in each})
        self.cross = module_dict({m: _discriminator(size) for m in each})
        self.coordinators = module_dict({m: as_buffers(_encoder(shapes[m], options.encoder_of(m), size)) for m in each})
        self.register_buffer("present", torch.zeros(()))
        self.register_buffer("shared", torch.zeros(()))

    def forward(self, inputs: Mapping[Modality, Tensor]) -> Outputs:
        return self.read({m: {Kind.JOINT: self._fused(m, inputs[m])} for m in self.modalities if m in inputs})

    def read(self, latents: Latents) -> Outputs:
        features = {m: self.size**0.5 * latents[m][Kind.JOINT] for m in self.modalities if m in latents}
        views = {f"unimodal.{m}": self.heads[key_of(m)](x) for m, x in features.items()}
        if self.fusion is None or len(features) < len(self.modalities):
            return Outputs(views, latents, views)
        return Outputs({"joint": self.fusion(list(features.values()))}, latents, views)

    def parts(self) -> Parts:
        parts: list[tuple[Component, dict[str, nn.Parameter]]] = []
        for m in self.modalities:
            architecture, key = self.architectures[m], key_of(m)
            parts.append((Component("trunk", m, Kind.JOINT, architecture), trainable(self.trunks[key])))
            parts.append((Component("rows.joint", m, Kind.JOINT, architecture), trainable(self.rows[key])))
            parts.append((Component("head.unimodal", m), trainable(self.heads[key])))
            parts.append((Component("gate", m), trainable(self.gates[key])))
            parts.append((Component("discriminator", m), trainable(self.intra[key], self.cross[key])))
        if self.fusion is not None:
            parts.append((Component("head.joint"), trainable(self.fusion)))
        return [part for part in parts if part[1]]

    def embed(self, modality: Modality, inputs: Tensor) -> Tensor:
        """u (B, d): unit rows of my own encoder, before any fusion."""
        return normalize(self.rows[key_of(modality)](self.trunks[key_of(modality)](inputs)))

    @torch.no_grad()
    def embed_globally(self, modality: Modality, inputs: Tensor) -> Tensor:
        """g (B, d): unit rows of the coordinator's encoder as it came last."""
        return normalize(self.coordinators[key_of(modality)](inputs))

    def gate(self, modality: Modality) -> Gate:
        gate: Gate = self.gates[self._serving(modality)]  # type: ignore[assignment]
        return gate

    def discriminators(self, modality: Modality) -> Pair:
        return Pair(self.intra[self._serving(modality)], self.cross[self._serving(modality)])

    def encoder(self, modality: Modality) -> Tensor:
        """A flat copy of my encoder's parameters and buffers, for ``receive`` of a network elsewhere."""
        key = key_of(modality)
        state = _state(nn.ModuleList([self.trunks[key], self.rows[key]]))
        return torch.cat([tensor.flatten().float() for tensor in state])

    def encoder_size(self, modality: Modality) -> int:
        """Elements of a coordinator's encoder."""
        return sum(tensor.numel() for tensor in _state(self.coordinators[key_of(modality)]))

    @torch.no_grad()
    def receive(self, encoders: Mapping[Modality, Tensor]) -> None:
        """Take the coordinator's encoders of all my modalities, each flat with ``encoder_size`` elements."""
        for m in self.modalities:
            state = _state(self.coordinators[key_of(m)])
            stretches = torch.split(encoders[m], [tensor.numel() for tensor in state])
            for tensor, values in zip(state, stretches, strict=True):
                tensor.copy_(values.reshape(tensor.shape))
        self.present.fill_(1)

    def _fused(self, modality: Modality, inputs: Tensor) -> Tensor:
        u = self.embed(modality, inputs)
        if not self.present:
            return u
        return self.gate(modality)(u, self.embed_globally(modality, inputs), bool(self.shared))  # type: ignore[no-any-return]

    def _serving(self, modality: Modality) -> str:
        return key_of(self.modalities[0] if self.shared else modality)


def _encoder(shape: tuple[int, ...], options: EncoderOptions, size: int) -> nn.Sequential:
    encoder = trunk(shape, options)
    return nn.Sequential(encoder, nn.Linear(features_of(encoder, options), size))


def _state(encoder: nn.Module) -> list[Tensor]:
    """All tensors of a trunk and the layer after it, by name: parameters may have become buffers."""
    return [tensor for _, tensor in sorted(encoder.state_dict().items())]


def _bottleneck(size: int) -> nn.Sequential:
    narrow = max(1, size // RATIO)
    return nn.Sequential(
        nn.Linear(size, narrow), nn.LayerNorm(narrow), nn.ReLU(), nn.Linear(narrow, size), nn.LayerNorm(size)
    )


class Stretch(nn.Module):
    """√d times rows (B, d)."""

    def forward(self, rows: Tensor) -> Tensor:
        return math.sqrt(rows.shape[1]) * rows


def _discriminator(size: int) -> nn.Sequential:
    half, quarter = max(1, size // 2), max(1, size // 4)
    return nn.Sequential(
        Stretch(),
        nn.Linear(size, half),
        nn.LeakyReLU(SLOPE),
        nn.Linear(half, quarter),
        nn.LeakyReLU(SLOPE),
        nn.Linear(quarter, 1),
    )


NETWORK = Embedding
