"""Convolutions over time for series, shape (B, C, T); the mean over time makes any length fit."""

from itertools import pairwise

from torch import nn

from parse_p2p.models.encoder import EncoderOptions, hidden


def build(shape: tuple[int, ...], options: EncoderOptions) -> nn.Module:
    """(B, C, T) → (B, width). Each layer but the first halves the resolution."""
    sizes = [shape[0]] + [options.width] * options.depth
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise(sizes)):
        layers += hidden(nn.Conv1d(a, b, 5, stride=1 if i == 0 else 2, padding=2), options)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten())
