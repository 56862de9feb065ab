"""An agent at a round's boundary, as plain arrays in one ``.npz``: no pickle, and never half a file."""

import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from parse_p2p.core.errors import ConfigError

UNREADABLE = (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, RuntimeError, MemoryError,
              zipfile.BadZipFile, zlib.error)  # fmt: skip
"""What numpy raises for a file that is no archive of plain arrays."""

FORMAT = "round-{:06d}.npz"


def save(folder: Path, round: int, state: Mapping[str, Tensor], keep: int) -> Path:
    """Write the state with which ``round`` begins, and delete all but the newest ``keep``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FORMAT.format(round)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, **{name: tensor.numpy() for name, tensor in state.items()})  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    for old in sorted(rounds(folder))[:-keep]:
        (folder / FORMAT.format(old)).unlink(missing_ok=True)
    return path


def rounds(folder: Path) -> list[int]:
    """The rounds for which there is a checkpoint, ascending."""
    numbers = (path.stem.removeprefix("round-") for path in folder.glob("round-*.npz"))
    return sorted(int(number) for number in numbers if number.isdecimal())


def load(folder: Path, round: int) -> dict[str, Tensor]:
    """The state with which ``round`` begins. Raises ConfigError for a file that is missing or broken."""
    path = folder / FORMAT.format(round)
    try:
        return read_arrays(path)
    except UNREADABLE as error:
        reason = f"checkpoint {path} cannot be read ({error})"
        raise ConfigError(f"{reason}: delete it and resume from the one before") from None


def read_arrays(path: Path) -> dict[str, Tensor]:
    """The plain arrays of an ``.npz``. Raises one of UNREADABLE."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        if any(each.compress_type != zipfile.ZIP_STORED for each in arrays.zip.infolist()):
            raise ValueError("it is compressed, and may be of any size")
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
