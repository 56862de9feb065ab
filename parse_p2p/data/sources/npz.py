"""One ``.npz`` file, written by ``numpy.savez(path, audio=..., motion=..., y=...)``.

One array per modality, ``y`` the class of each sample and, if wanted, ``groups`` its natural client, see ``arrays.py``.
Pickled objects are never loaded.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, is_zipfile
from zlib import error as BadStream

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from parse_p2p.core.errors import ConfigError
from parse_p2p.data.base import Dataset
from parse_p2p.data.sources.arrays import ArrayOptions, from_arrays
from parse_p2p.data.tasks.source import Origin


class Options(ArrayOptions):
    """Where the arrays are, and what they are."""

    path: Path = Field(description="the .npz file; ~ is the home directory")


def recognises(path: Path) -> bool:
    """Whether this is the path of such a file, by its name."""
    return path.suffix.lower() == ".npz"


def open(options: Options, seed: int) -> Dataset:
    """Inputs as float32 with channels first; named after the file. The seed is not used.

    Raises ConfigError, naming the file and the array, for anything a model could not learn from.
    """
    path = options.path.expanduser()
    return from_arrays(_read(path), path, options)


def _read(path: Path) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        raise ConfigError(f"data file {path} does not exist; correct the path or save the arrays there")
    if not is_zipfile(path):
        raise ConfigError(f"data file {path} is not an .npz archive; write it with numpy.savez")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: _member(path, file, name) for name in file.files}
    except (OSError, ValueError, BadZipFile) as error:  # what is_zipfile takes for one may be none for numpy
        raise ConfigError(f"data file {path} cannot be read ({error}); write it with numpy.savez") from None


def _member(path: Path, file: Mapping[str, Any], name: str) -> NDArray[Any]:
    try:
        return np.asarray(file[name])
    except (OSError, ValueError, EOFError, RuntimeError, MemoryError, BadZipFile, BadStream) as error:
        wrong = f"cannot be read ({error})"
        raise Origin(path).fault(name, wrong, "save plain numbers with numpy.savez") from error
