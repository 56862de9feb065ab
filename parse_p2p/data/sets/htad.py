"""Read from a file inside another package, without importing that package; the default data set.

HTAD, home-task activities from a microphone and a wrist accelerometer: 1,386 samples, 7 activities, no
persons named. Garcia-Ceja et al., "HTAD: a home-tasks activities dataset with wrist-accelerometer and audio
features", MMM 2021: cite it. Open for research and education; commercial use and competitions need written
permission (use digits4 there). The file comes with the package multiviewstacking (MIT).
"""

import csv

import numpy as np
import torch
from pydantic import BaseModel

from parse_p2p.core.types import Modality
from parse_p2p.data.base import Dataset, packaged_file

PREFIXES = {Modality("audio"): "v1_", Modality("motion"): "v2_"}
REMEDY = "run pip install 'multiviewstacking>=0.7.5,<1', or use the data set digits4, which needs nothing"


class Options(BaseModel, extra="forbid", frozen=True):
    """HTAD has no options."""


def open(options: Options, seed: int) -> Dataset:
    """audio (1386,36): mel-frequency cepstral coefficients; motion (1386,16): accelerometer statistics.

    Classes are the activities in alphabetical order. The seed is not used. ConfigError if the file is not
    there.
    """
    path = packaged_file("multiviewstacking", "data/htad.csv", REMEDY)
    with path.open(encoding="latin-1", newline="") as file:
        header, *rows = csv.reader(file)
    label = header.index("class")
    names, targets = np.unique([row[label] for row in rows], return_inverse=True)
    inputs = {m: _columns(rows, header, prefix) for m, prefix in PREFIXES.items()}
    return Dataset("htad", inputs, torch.from_numpy(targets), len(names), labels=tuple(map(str, names)))


def _columns(rows: list[list[str]], header: list[str], prefix: str) -> torch.Tensor:
    places = [i for i, column in enumerate(header) if column.startswith(prefix)]
    return torch.tensor([[float(row[i]) for i in places] for row in rows])
