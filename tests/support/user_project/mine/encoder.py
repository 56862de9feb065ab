"""One wide layer with a tanh, for vectors."""

from torch import nn

from parse_p2p.models import EncoderOptions


def build(shape: tuple[int, ...], options: EncoderOptions) -> nn.Module:
    """(B, F) → (B, width)."""
    (features,) = shape
    return nn.Sequential(nn.Linear(features, options.width), nn.Tanh())
