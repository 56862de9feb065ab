"""The only file that unpickles data, and so reads nothing but the file inside the installed package.

Shoulder exercises recorded by a smartwatch at 50 Hz: 140 recordings, of 10 persons with 7 exercises by either arm. A
natural client is a person. Burns et al., "Shoulder physiotherapy exercise recognition: machine learning the inertial
signals from a smartwatch", arXiv 1802.01489; shipped with seglearn (BSD), which is not imported.
"""

import numpy as np
import torch
from pydantic import BaseModel, Field

from parse_p2p.core.types import Modality
from parse_p2p.data.base import Dataset, packaged_file

REMEDY = "run pip install 'parse-p2p[watch]'"


class Options(BaseModel, extra="forbid", frozen=True):
    """How the recordings are cut."""

    window: int = Field(100, ge=10, le=500, description="steps of 1/50 s in one sample, without overlap")


def open(options: Options, seed: int) -> Dataset:
    """acc and gyro, each (N,3,window), axes x, y, z in the recorder's units; N = 2369 for 100 steps (2 s).

    A group is a person with both arms, called by the number that the recordings give, 1 to 10. Neighbouring windows
    are of one recording, so a random split flatters: testing by group shows the harder question. The seed is not
    used. ConfigError if the file is missing.
    """
    path = packaged_file("seglearn", "data/watch_dataset.npy", REMEDY)
    data = np.load(path, allow_pickle=True).item()
    cut = [_windows(recording, options.window) for recording in data["X"]]
    series = torch.from_numpy(np.concatenate(cut).astype(np.float32))
    counts = [len(windows) for windows in cut]
    return Dataset(
        "watch",
        {Modality("acc"): series[:, :3].contiguous(), Modality("gyro"): series[:, 3:].contiguous()},
        torch.from_numpy(np.repeat(data["y"], counts)).long(),
        classes=len(data["y_labels"]),
        groups=torch.from_numpy(np.repeat(data["subject"], counts)).long(),
        labels=tuple(map(str, data["y_labels"])),
    )


def _windows(recording: np.ndarray, steps: int) -> np.ndarray:
    """(T, 6) to (T // steps, 6, steps); the rest at the end is left out."""
    count = len(recording) // steps
    return recording[: count * steps].reshape(count, steps, 6).transpose(0, 2, 1)
