"""LoRA in a trunk of one's own, by the library peft: W x becomes W x + (alpha / rank) B A x, with A and B trained.

Edward Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, arXiv 2106.09685.
"""

import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from parse_p2p.core.errors import ConfigError, nearest

BASE = ".base_layer."  # what peft puts into the names of the tensors of a layer that it adapts
ADAPTERS = re.compile(r"(^|\.)lora_")


class LoraOptions(BaseModel):
    """Adapters in a frozen trunk, which are trained and shared in its place."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(8, ge=1, description="rank of the adapters")
    alpha: float | None = Field(None, gt=0, description="alpha / rank weighs them; none: alpha is the rank")
    targets: tuple[str, ...] = Field((), description="layers by the last parts of their names; none: all linear ones")


def inject(options: LoraOptions, trunk: nn.Module) -> None:
    """Put adapters into a trunk, in place: what they add is zero at first.

    Raises ConfigError where peft is missing, or there is no such layer.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise ConfigError("lora needs the package peft: pip install 'parse-p2p[lora]'") from None
    layers = [name for name, layer in trunk.named_modules() if any(True for _ in layer.parameters(recurse=False))]
    linear = [name for name, layer in trunk.named_modules() if isinstance(layer, nn.Linear)]
    for target in options.targets:
        if not any(f".{name}".endswith(f".{target}") for name in layers):
            raise ConfigError(f"lora.targets: the trunk has no layer {target!r}: {nearest(target, layers)}")
    if not options.targets and not linear:
        raise ConfigError("lora: the trunk has no linear layer: name layers of another type as targets")
    chosen: Any = list(options.targets) or "|".join(map(re.escape, linear))
    config = LoraConfig(r=options.rank, lora_alpha=options.alpha or options.rank, target_modules=chosen)
    inject_adapter_in_model(config, trunk)


def without_adapters(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a module as they were called before adapters were put in, without theirs."""
    return {name.replace(BASE, "."): tensor for name, tensor in tensors.items() if not ADAPTERS.search(name)}
