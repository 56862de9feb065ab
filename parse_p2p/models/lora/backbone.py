"""The network that adapters sit on: stems, residual layers, one head, the same for every size.

Each modality has a stem, one layer of the encoder that its shape asks for; what the stems of the modalities at hand
say is averaged, so that any subset of them can be read. Then come ``depth`` residual layers
``x + down(relu(up(norm(x))))`` of one width and a head over the classes. Two linear maps a layer can be added to, by
the names of their roles, which are the same in every size: ``in`` (up) and ``out`` (down).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, layer_norm, linear, relu

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.slices import Component
from parse_p2p.core.types import Kind, Modality
from parse_p2p.data.base import Batch
from parse_p2p.models.base import (
    Encoders,
    InputShapes,
    Latents,
    ModelOptions,
    Network,
    Outputs,
    key_of,
    trainable,
)
from parse_p2p.models.encoder import EncoderOptions
from parse_p2p.models.parameter_buffer import Parts

MAPS = {"in": "up", "out": "down"}  # the linear maps of a layer by their roles
EXPANSION = 2  # hidden width of a layer over its width

Addition = Callable[[int, str, Tensor], Tensor | float]
"""What is added to a linear map's output: of the layer's number, the role and the map's input (B, d_i)."""


class Layer(nn.Module):
    """(B, width) → (B, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, EXPANSION * width)
        self.down = nn.Linear(EXPANSION * width, width)

    @property
    def rectified(self) -> list[nn.Module]:
        """The first of the two."""
        return [self.up]

    def forward(self, x: Tensor, index: int, add: Addition) -> Tensor:
        h = layer_norm(x, [self.up.in_features])
        h = relu(self.up(h) + add(index, "in", h))
        out: Tensor = x + self.down(h) + add(index, "out", h)
        return out


class Backbone(Network):
    """Width and depth are those of the agent's encoders; the stems are chosen by the inputs' shapes alone.

    Raises ConfigError for encoders that differ from modality to modality: there is one backbone for all of them.
    """

    reads_some = True

    def __init__(self, shapes: InputShapes, classes: int, options: ModelOptions, encoders: Encoders) -> None:
        encoder = encoders[min(shapes)]
        if odd := sorted(m for m in shapes if encoders[m] != encoder):
            raise ConfigError(
                f"encoders: {odd[0]!r} has an encoder of its own, but the network 'adapters' has one width and depth "
                "for all modalities: set the agent's model.encoder instead"
            )
        if encoder.ones_own:
            raise ConfigError(
                f"the network 'adapters' has layers of its own and no place for the encoder {encoder.kind!r}: "
                "leave kind out"
            )
        self.width, self.depth, self.norm = encoder.width, encoder.depth, encoder.norm
        stem = EncoderOptions(width=self.width, depth=1, norm=self.norm)
        super().__init__(shapes, options, dict.fromkeys(shapes, stem))
        self.shapes, self.classes, self.options = dict(shapes), classes, options
        self.layers = nn.ModuleList([Layer(self.width) for _ in range(self.depth)])
        self.head = nn.Linear(self.width, classes)

    @property
    def dimensions(self) -> tuple[int, int]:
        """Width and depth."""
        return self.width, self.depth

    @property
    def size(self) -> str:
        return f"{self.width}x{self.depth}"

    def sibling(self, width: int, depth: int) -> "Backbone":
        """A backbone of another size for the same inputs and classes."""
        encoder = EncoderOptions(width=width, depth=depth, norm=self.norm)
        return Backbone(self.shapes, self.classes, self.options, dict.fromkeys(self.shapes, encoder))

    def parts(self) -> Parts:
        return [(Component("trunk", architecture=self.size), trainable(self))]

    def forward(self, inputs: Mapping[Modality, Tensor]) -> Outputs:
        """Reads the modalities that are among the inputs; the others count as missing."""
        present = [m for m in self.modalities if m in inputs]
        return self.read({m: {Kind.JOINT: self.trunks[key_of(m)](inputs[m])} for m in present})

    def read(self, latents: Latents) -> Outputs:
        said = {"joint": self.logits([z[Kind.JOINT] for z in latents.values()], self.added)}
        return Outputs(said, latents, said)

    def logits(self, features: Sequence[Tensor], add: Addition) -> Tensor:
        """(B, classes) of the stems' features, each (B, width)."""
        x = torch.stack(list(features)).mean(0)
        for index, layer in enumerate(self.layers):
            x = layer(x, index, add)
        out: Tensor = self.head(layer_norm(x, [self.width]))
        return out

    def weight(self, layer: int, role: str) -> Tensor:
        """W (d_o, d_i) of a linear map."""
        weight = self.get_submodule(f"layers.{layer}.{MAPS[role]}").weight
        assert isinstance(weight, Tensor)
        return weight

    def added(self, layer: int, role: str, x: Tensor) -> Tensor | float:
        """What is added to a linear map's output; a bare backbone adds nothing."""
        return 0.0


@dataclass(frozen=True)
class Tap:
    """What was seen at one linear map y = W x + b for n samples.

    inputs (n, d_i) x; outputs (n, d_o) W x; gradients (n, d_o) of the loss, summed over the samples, in y.
    """

    inputs: Tensor
    outputs: Tensor
    gradients: Tensor


def tapped(backbone: Backbone, batch: Batch) -> dict[tuple[int, str], Tap]:
    """The taps of all linear maps of a bare backbone, by layer and role, with the cross-entropy as the loss."""
    inputs: dict[tuple[int, str], Tensor] = {}
    zeros: dict[tuple[int, str], Tensor] = {}

    def tap(layer: int, role: str, x: Tensor) -> Tensor:
        inputs[layer, role] = x.detach()
        zeros[layer, role] = x.new_zeros(len(x), len(backbone.weight(layer, role))).requires_grad_()
        return zeros[layer, role]

    features = [backbone.trunks[key_of(m)](batch.inputs[m]) for m in backbone.modalities if m in batch.inputs]
    loss = cross_entropy(backbone.logits(features, tap), batch.targets, reduction="sum")
    gradients = torch.autograd.grad(loss, list(zeros.values()))  # the gradient in y is that in what is added to y
    return {
        where: Tap(x, linear(x, backbone.weight(*where)).detach(), gradient)
        for (where, x), gradient in zip(inputs.items(), gradients, strict=True)
    }
