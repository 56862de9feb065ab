"""A folder with one ``.npy`` file per modality, ``y.npy`` and, if wanted, ``groups.npy``.

What lies in it is what lies in an ``.npz``, see ``arrays.py``. Pickled objects are never loaded.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from parse_p2p.core.errors import ConfigError
from parse_p2p.data.base import Dataset
from parse_p2p.data.sources.arrays import ArrayOptions, from_arrays
from parse_p2p.data.tasks.source import Origin


class Options(ArrayOptions):
    """Where the arrays are, and what they are."""

    path: Path = Field(description="the folder of the .npy files; ~ is the home directory")


def recognises(path: Path) -> bool:
    """Whether this is a folder with such files."""
    try:
        return any(path.glob("*.npy"))
    except (OSError, ValueError):
        return False


def open(options: Options, seed: int) -> Dataset:
    """Inputs as float32 with channels first; named after the folder. The seed is not used.

    Raises ConfigError, naming the folder and the array, for anything a model could not learn from.
    """
    path = options.path.expanduser()
    if not path.is_dir():
        raise ConfigError(f"data folder {path} does not exist; correct the path or save the .npy files there")
    arrays = {file.stem: _array(path, file) for file in sorted(path.glob("*.npy"))}
    if not arrays:
        raise ConfigError(f"data folder {path} has no .npy file; save one per modality, and the classes as y.npy")
    return from_arrays(arrays, path, options)


def _array(path: Path, file: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        wrong = f"cannot be read ({error})"
        raise Origin(path).fault(file.stem, wrong, "save plain numbers with numpy.save") from error
    return array
