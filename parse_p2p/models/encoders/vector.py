"""A multilayer perceptron for vectors of features, shape (B, F)."""

from itertools import pairwise

from torch import nn

from parse_p2p.models.encoder import EncoderOptions, hidden


def build(shape: tuple[int, ...], options: EncoderOptions) -> nn.Module:
    """(B, F) → (B, width)."""
    sizes = [shape[0]] + [options.width] * options.depth
    return nn.Sequential(*(layer for a, b in pairwise(sizes) for layer in hidden(nn.Linear(a, b), options)))
