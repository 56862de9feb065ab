"""How the synergistic slices of several modalities become logits.

A fusion that is additive over the modalities cannot represent XOR: its margin satisfies
f(0,0) + f(1,1) = f(0,1) + f(1,0). So all operators here but ``sum``, kept for the ablation, are not additive.
Each takes a list of M tensors (B, d) and gives logits (B, C).
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from parse_p2p.core.errors import ConfigError, nearest


class Mlp(nn.Module):
    """Concatenate, then one hidden layer. Its size depends on the number of modalities."""

    def __init__(self, modalities: int, size: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(modalities * size, hidden), nn.ReLU(), nn.Linear(hidden, classes))

    def forward(self, slices: Sequence[Tensor]) -> Tensor:
        out: Tensor = self.layers(torch.cat(list(slices), dim=1))
        return out


class Product(nn.Module):
    """Hadamard product, then a linear head: the same parameters for any set of modalities."""

    def __init__(self, modalities: int, size: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(size, classes)

    def forward(self, slices: Sequence[Tensor]) -> Tensor:
        out: Tensor = self.head(torch.stack(list(slices)).prod(0))
        return out


class Bilinear(nn.Module):
    """Low-rank bilinear pooling: project each slice, multiply those of every subset of two or more, read out.

    What is left of Π (1 + f_m) without 1 + Σ f_m: the terms on two modalities or more, as those of higher order in a
    functional analysis of variance (arXiv 2502.15215). What one modality says alone, and how frequent classes are, is
    for the other branches, which more agents share; this one would learn it from the few agents of its type alone.
    """

    def __init__(self, modalities: int, size: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.factors = nn.ModuleList(nn.Linear(size, hidden) for _ in range(modalities))
        self.head = nn.Linear(hidden, classes, bias=False)

    def forward(self, slices: Sequence[Tensor]) -> Tensor:
        alone, *others = [f(z) for f, z in zip(self.factors, slices, strict=True)]
        together = torch.zeros_like(alone)
        for factor in others:  # not by the difference, which is not zero where it should be
            together = together * (1 + factor) + alone * factor
            alone = alone + factor
        out: Tensor = self.head(together)
        return out


class Gated(nn.Module):
    """Each slice is let through by a gate that sees all of them."""

    def __init__(self, modalities: int, size: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.gate = nn.Linear(modalities * size, modalities * size)
        self.head = nn.Linear(modalities * size, classes)

    def forward(self, slices: Sequence[Tensor]) -> Tensor:
        joined = torch.cat(list(slices), dim=1)
        out: Tensor = self.head(joined * torch.sigmoid(self.gate(joined)))
        return out


class Sum(nn.Module):
    """Add, then a linear head: cannot represent synergy, by the argument above."""

    def __init__(self, modalities: int, size: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(size, classes)

    def forward(self, slices: Sequence[Tensor]) -> Tensor:
        out: Tensor = self.head(torch.stack(list(slices)).sum(0))
        return out


FUSIONS: Mapping[str, Callable[[int, int, int, int], nn.Module]] = {
    "mlp": Mlp,
    "product": Product,
    "bilinear": Bilinear,
    "gated": Gated,
    "sum": Sum,
}


def build(name: str, modalities: int, size: int, hidden: int, classes: int) -> nn.Module:
    """The fusion of that name. Raises ConfigError."""
    if name not in FUSIONS:
        raise ConfigError(f"there is no fusion {name!r}: {nearest(name, FUSIONS)}")
    return FUSIONS[name](modalities, size, hidden, classes)
