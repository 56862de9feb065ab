"""Two sensors that see the class through noise, for as many persons as are asked for."""

import torch
from pydantic import BaseModel, Field

from parse_p2p import ConfigError, Modality, seeded
from parse_p2p.data import Dataset


class Options(BaseModel, extra="forbid", frozen=True):
    """How much there is of it."""

    samples: int = Field(240, ge=1, description="number of samples")
    persons: int = Field(6, ge=1, description="number of persons they come from")


def open(options: Options, seed: int) -> Dataset:
    """left and right, each (samples, 8)."""
    if options.samples < options.persons:
        raise ConfigError(f"data.samples: {options.samples} samples for {options.persons} persons: give each one")
    targets = torch.arange(options.samples) % 3
    means = torch.randn(3, 8, generator=seeded(seed, "means"))
    inputs = {
        Modality(name): means[targets] + torch.randn(options.samples, 8, generator=seeded(seed, "noise", name))
        for name in ("left", "right")
    }
    return Dataset("sides", inputs, targets, 3, groups=torch.arange(options.samples) % options.persons)
