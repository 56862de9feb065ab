"""The only data set that trusts nothing it reads: the arrays are a person's own, so each is checked first.

One ``.npz`` file, written by ``numpy.savez(path, audio=..., motion=..., y=...)``: one array per modality,
under its name, with the sample as first axis; ``y`` the class numbers; and, if wanted, ``groups`` the
natural client of each sample as a number. Pickled objects are never loaded.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, is_zipfile
from zlib import error as BadStream

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import Modality
from parse_p2p.data.base import Dataset

Arrays = dict[str, NDArray[Any]]


class Options(BaseModel, extra="forbid", frozen=True):
    """Where the arrays are."""

    path: Path = Field(description="the .npz file; ~ is the home directory")
    classes: int | None = Field(
        None, ge=2, description="number of classes, where the file lacks some (default: those found in y)"
    )


def recognises(path: Path) -> bool:
    """Whether this is the path of such a file, by its name."""
    return path.suffix.lower() == ".npz"


def open(options: Options, seed: int) -> Dataset:
    """Inputs as float32 in their own shapes; named after the file. The seed is not used.

    Raises ConfigError, naming the file and the array, for anything a model could not learn from.
    """
    path = options.path.expanduser()
    arrays = _read(path)
    if "y" not in arrays:
        raise _fault(path, "y", "is missing", "save the class of each sample under this name")
    targets = _numbers(path, "y", arrays.pop("y"))
    found = arrays.pop("groups", None)
    groups = None if found is None else torch.from_numpy(_numbers(path, "groups", found, len(targets)))
    if not arrays:
        raise ConfigError(f"{path} has no array besides 'y' and 'groups'; add one array per modality")
    inputs = {Modality(name): _input(path, name, array, len(targets)) for name, array in arrays.items()}
    classes = _classes(path, targets, options.classes)
    return Dataset(path.name, inputs, torch.from_numpy(targets), classes, groups)


def _fault(path: Path, array: str, wrong: str, remedy: str) -> ConfigError:
    return ConfigError(f"array {array!r} of {path} {wrong}; {remedy}")


def _read(path: Path) -> Arrays:
    if not path.is_file():
        raise ConfigError(f"data file {path} does not exist; correct the path or save the arrays there")
    if not is_zipfile(path):
        raise ConfigError(f"data file {path} is not an .npz archive; write it with numpy.savez")
    with np.load(path, allow_pickle=False) as file:
        return {name: _member(path, file, name) for name in file.files}


def _member(path: Path, file: Mapping[str, Any], name: str) -> NDArray[Any]:
    try:
        return np.asarray(file[name])
    except (OSError, ValueError, EOFError, RuntimeError, BadZipFile, BadStream) as error:
        raise _fault(path, name, f"cannot be read ({error})", "save plain numbers with numpy.savez") from error


def _counted(path: Path, name: str, array: NDArray[Any], samples: int | None) -> None:
    if array.size == 0:
        raise _fault(path, name, "is empty", "give at least one sample with at least one number")
    if samples is not None and len(array) != samples:
        raise _fault(path, name, f"has {len(array)} rows, but y has {samples}", "give one row per entry of y")


def _numbers(path: Path, name: str, array: NDArray[Any], samples: int | None = None) -> NDArray[np.int64]:
    if array.ndim != 1 or array.dtype.kind not in "iu":
        wrong = f"is {array.dtype} with {array.ndim} axes"
        raise _fault(path, name, wrong, f"give whole numbers on one axis, such as {name}.astype('int64')")
    _counted(path, name, array, samples)
    return array.astype(np.int64)


def _input(path: Path, name: str, array: NDArray[Any], samples: int) -> torch.Tensor:
    if array.dtype.kind not in "fiub" or array.ndim not in (2, 3, 4):
        wrong = f"is {array.dtype} with {array.ndim} axes"
        raise _fault(path, name, wrong, "give numbers as (N,F) vectors, (N,C,T) series or (N,C,H,W) images")
    _counted(path, name, array, samples)
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    if bad := int((~np.isfinite(values)).sum()):
        raise _fault(path, name, f"has {bad} values that are NaN or infinite in float32", "fill or drop them")
    return torch.from_numpy(values)


def _classes(path: Path, targets: NDArray[np.int64], wanted: int | None) -> int:
    """The number of classes; labels must count from 0, and without gaps unless the number is given."""
    found = np.unique(targets)
    classes = wanted or max(len(found), 2)
    if found[0] < 0 or found[-1] >= classes:
        wrong = f"has class numbers from {found[0]} to {found[-1]} for {classes} classes"
        raise _fault(path, "y", wrong, "renumber with numpy.unique(y, return_inverse=True) or set classes")
    return classes
