"""Trunks of the library timm for images, shape (B, C, H, W), as ``{kind: timm, args: {name: resnet18}}``.

Nothing is fetched: weights come from ``weights``, a file of the model that timm has published or one of its folder.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from parse_p2p.models.encoder import EncoderOptions, library
from parse_p2p.models.weights import read_tensors

FETCHING = ("pretrained", "checkpoint", "cache", "scriptable")
"""How arguments of timm begin that have it fetch or read what was trained."""


class Args(BaseModel):
    """The model, and with it whatever else ``timm.create_model`` takes."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(min_length=1, description="as timm.list_models() has it")

    @model_validator(mode="after")
    def _of_the_library_alone(self) -> Self:
        """Nothing that is fetched, and no file but that of ``weights``."""
        if ":" in self.name:
            raise ValueError(f"{self.name!r} is elsewhere; name a model of timm itself")
        if odd := sorted(key for key in self.model_extra or {} if key.startswith(FETCHING)):
            raise ValueError(f"{odd[0]!r} names what is elsewhere; give weights instead")
        return self


class Trunk(nn.Module):
    """A model of timm without its classifier: (B, C, H, W) → (B, F)."""

    def __init__(self, model: nn.Module, classifiers: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.classifiers = classifiers

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model(x)
        return out

    def read_weights(self, path: Path) -> Mapping[str, Tensor]:
        """The tensors under the names they have here; those of a classifier are left out."""
        return {f"model.{n}": t for n, t in read_tensors(path).items() if not n.startswith(self.classifiers)}


def build(shape: tuple[int, ...], options: EncoderOptions) -> nn.Module:
    """(B, C, H, W) → (B, F), for as many channels as the shape has."""
    timm = library("timm")
    args = Args.model_validate(options.args).model_dump()
    model = timm.create_model(args.pop("name"), pretrained=False, num_classes=0, in_chans=shape[0], **args)
    classifier = model.pretrained_cfg.get("classifier") or ()
    names = (classifier,) if isinstance(classifier, str) else classifier
    return Trunk(model, tuple(f"{name}." for name in names))
