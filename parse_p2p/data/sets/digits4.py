"""One picture cut into pieces that count as modalities: real data, but "views" made by us, not sensors.

1,797 handwritten digits of 8x8 pixels, 10 classes: UCI Optical Recognition of Handwritten Digits (Alpaydin,
Kaynak, 1998; CC BY 4.0), as shipped with scikit-learn. No further package is needed; no persons are named.
"""

from typing import Literal

import torch
from pydantic import BaseModel, Field

from parse_p2p.core.types import Modality
from parse_p2p.data.base import Dataset

LOW, HIGH, ALL = slice(0, 4), slice(4, 8), slice(0, 8)
VIEWS = {
    "quadrants": {"q00": (LOW, LOW), "q01": (LOW, HIGH), "q10": (HIGH, LOW), "q11": (HIGH, HIGH)},
    "left-right": {"left": (ALL, LOW), "right": (ALL, HIGH)},
    "top-bottom": {"top": (LOW, ALL), "bottom": (HIGH, ALL)},
}


class Options(BaseModel, extra="forbid", frozen=True):
    """How the pictures are cut and laid out."""

    views: Literal["quadrants", "left-right", "top-bottom"] = Field(
        "quadrants", description="the cut: q00, q01, q10, q11 (row, column), or two named halves"
    )
    layout: Literal["vector", "image"] = Field(
        "vector", description="a piece as a vector of pixels, row by row, or as an image with one channel"
    )


def open(options: Options, seed: int) -> Dataset:
    """Pixels from 0 to 1. Quadrants (N,16) or (N,1,4,4); halves (N,32), (N,1,8,4) or (N,1,4,8); N = 1797.

    The seed is not used.
    """
    from sklearn.datasets import load_digits  # which takes a second to import

    digits = load_digits()
    pictures = torch.tensor(digits.images / 16, dtype=torch.float32).unsqueeze(1)
    inputs = {}
    for view, (height, width) in VIEWS[options.views].items():
        piece = pictures[:, :, height, width]
        inputs[Modality(view)] = piece.flatten(1) if options.layout == "vector" else piece.contiguous()
    return Dataset("digits4", inputs, torch.tensor(digits.target, dtype=torch.int64), 10)
