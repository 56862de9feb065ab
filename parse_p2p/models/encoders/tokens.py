"""Convolutions over the embeddings of tokens, ids (B, T), and the largest over time, after Kim (arXiv 1408.5882).

What it gives depends neither on how much padding there is nor on where it stands beside the tokens: embeddings and
layers are 0 there, as beyond the ends, and what comes out of a rectifier is nowhere less.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from parse_p2p.data.kinds import TokenShape
from parse_p2p.models.encoder import EncoderOptions, normalised

WIDE = 3  # tokens that a layer sees at once


class Encoder(nn.Module):
    """Ids (B, T), int64, to (B, width); ``depth`` layers of convolution over their embeddings."""

    def __init__(self, shape: TokenShape, options: EncoderOptions) -> None:
        super().__init__()
        width = options.width
        self.padding = shape.padding
        self.embedding = nn.Embedding(shape.vocabulary, width)
        self.norm = options.norm
        self.layers = nn.ModuleList(nn.Conv1d(width, width, WIDE, padding=WIDE // 2) for _ in range(options.depth))

    @property
    def rectified(self) -> Iterable[nn.Module]:
        """All layers."""
        return self.layers

    def forward(self, ids: Tensor) -> Tensor:
        there = (ids != self.padding).unsqueeze(1)  # (B, 1, T)
        # as large as in transformers (arXiv 1706.03762, section 3.4): first values are by 1/√width smaller
        x = self.embedding(ids).transpose(1, 2) * self.embedding.embedding_dim**0.5 * there
        for k, layer in enumerate(self.layers):
            if k and self.norm == "layer":  # each place by itself: padding, which is 0, stays so
                x = normalised(x, (1,))
            x = torch.relu(layer(x)) * there
        largest = x.amax(2)  # before it is normalised: then numbers are below those of padding
        return largest if self.norm == "none" else normalised(largest, (1,))


def build(shape: tuple[int, ...], options: EncoderOptions) -> nn.Module:
    """(B, length) → (B, width). Raises ValueError for inputs that are no tokens."""
    if not isinstance(shape, TokenShape):
        raise ValueError("they are numbers and no tokens")
    return Encoder(shape, options)
