"""Convolutions for images, shape (B, C, H, W), kept small: positions are read off by one linear layer."""

from itertools import pairwise

from torch import nn

from parse_p2p.models.encoder import EncoderOptions, hidden


def build(shape: tuple[int, ...], options: EncoderOptions) -> nn.Module:
    """(B, C, H, W) → (B, width). Pools by two as long as the picture is at least four pixels a side."""
    channels, height, width = shape
    layers: list[nn.Module] = []
    sizes = [channels] + [max(4, options.width // 4)] * options.depth
    for a, b in pairwise(sizes):
        layers += hidden(nn.Conv2d(a, b, 3, padding=1), options)
        if min(height, width) >= 4:
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
    last = nn.Linear(sizes[-1] * height * width, options.width)
    return nn.Sequential(*layers, nn.Flatten(), *hidden(last, options))
