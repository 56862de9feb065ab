"""Trunks of the library torchvision for images, shape (B, 3, H, W), as ``{kind: torchvision, args: {name: resnet18}}``.

Nothing is fetched: weights come from ``weights``, the state dict of the whole model as torchvision publishes it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from parse_p2p.models.encoder import EncoderOptions, library
from parse_p2p.models.weights import read_tensors


class Args(BaseModel):
    """The model, and with it whatever else ``torchvision.models.get_model`` takes."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(min_length=1, description="as torchvision.models.list_models() has it")

    @model_validator(mode="after")
    def _nothing_fetched(self) -> Self:
        if odd := sorted(key for key in self.model_extra or {} if key.startswith(("weights", "pretrained"))):
            raise ValueError(f"{odd[0]!r} would be fetched; give weights of the encoder instead")
        return self


class Trunk(nn.Module):
    """A model of torchvision without its last linear layer: (B, 3, H, W) → (B, F)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        linear = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
        self.classifier = linear[-1] if linear else ""
        if linear:
            parent, _, name = self.classifier.rpartition(".")
            setattr(model.get_submodule(parent), name, nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model(x)
        return out

    def read_weights(self, path: Path) -> Mapping[str, Tensor]:
        """The tensors under the names they have here; those of the layer that is cut off are left out."""
        tensors = read_tensors(path).items()
        return {f"model.{n}": t for n, t in tensors if not (self.classifier and n.startswith(f"{self.classifier}."))}


def build(shape: tuple[int, ...], options: EncoderOptions) -> nn.Module:
    """(B, 3, H, W) → (B, F)."""
    models = library("torchvision").models
    args = Args.model_validate(options.args).model_dump()
    return Trunk(models.get_model(args.pop("name"), weights=None, **args))
