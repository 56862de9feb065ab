"""A folder with one ``.npy`` file per modality, ``y.npy`` and, if wanted, ``groups.npy``.

What lies in it is what lies in an ``.npz``, see ``arrays.py``. Pickled objects are never loaded. Where inputs are to
stay in their files they are read, and not mapped to memory: a mapped file that is cut short ends the process.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from parse_p2p.core.errors import ConfigError
from parse_p2p.data.base import Dataset
from parse_p2p.data.lazy import LazyInput
from parse_p2p.data.sources.arrays import LAZY, ArrayOptions, from_arrays, in_float32
from parse_p2p.data.tasks.source import Origin


class Options(ArrayOptions):
    """Where the arrays are, and what they are."""

    path: Path = Field(description="the folder of the .npy files; ~ is the home directory")
    lazy: bool = Field(False, description=LAZY)


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
    if not options.lazy:
        return from_arrays(arrays, path, options)

    def in_file(name: str, array: NDArray[Any], channels_last: bool, padding: int | None) -> LazyInput:
        return LazyInput.of(NpyReader(path, name, array, channels_last, padding is not None), padding)

    return from_arrays(arrays, path, options, in_file)


class NpyReader:
    """Reads rows of the ``.npy`` file of one array, whose header was read as ``array``; of tokens as ``ids``, int64.

    No file is held open, so that as many agents as one likes may have one each, and a copy in another process reads the
    same. Raises ConfigError where rows do not lie together in it, and in ``read`` where it was cut short, written to or
    replaced, or cannot be read.
    """

    def __init__(self, folder: Path, name: str, array: NDArray[Any], channels_last: bool, ids: bool = False) -> None:
        self._origin, self._name, self._path = Origin(folder), name, (folder / f"{name}.npy").absolute()
        if not isinstance(array, np.memmap) or not array.flags.c_contiguous:
            wrong = "is stored column by column, so that no single sample can be read"
            raise self._origin.fault(name, wrong, "save it after numpy.ascontiguousarray, or leave out data.lazy")
        self._start, self._dtype, self._sample = int(array.offset), array.dtype, array.shape[1:]
        self._last, self._ids = channels_last, ids
        self.shape = (len(array), *np.moveaxis(np.empty((0, *self._sample)), -1 if channels_last else 1, 1).shape[1:])
        with self._opened() as file:
            self._state = _state(file)

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.float32] | NDArray[np.int64]:
        distinct, at = np.unique(rows, return_inverse=True)
        size = int(np.prod(self._sample)) * self._dtype.itemsize
        raw = np.empty((len(distinct), size), np.uint8)
        ends = np.flatnonzero(np.diff(distinct) != 1) + 1
        with self._opened() as file:
            for first, last in pairwise([0, *ends.tolist(), len(distinct)] if len(distinct) else ()):
                self._fill(file, raw[first:last].reshape(-1).data, self._start + int(distinct[first]) * size)
            if _state(file) != self._state:
                raise self._failed("it was written to or replaced since it was opened")
        values = raw.view(self._dtype).reshape(-1, *self._sample)
        found = values if len(distinct) == len(rows) and (at[1:] > at[:-1]).all() else values[at]
        return found.astype(np.int64) if self._ids else in_float32(found, self._last)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """Its descriptor. Raises ConfigError for whatever fails meanwhile."""
        try:
            with self._path.open("rb", buffering=0) as file:
                yield file.fileno()
        except OSError as error:
            raise self._failed(error.strerror or error) from error

    def _fill(self, file: int, buffer: memoryview, offset: int) -> None:
        while buffer:
            count = os.preadv(file, [buffer], offset)
            if not count:
                raise self._failed("it was cut short")
            buffer, offset = buffer[count:], offset + count

    def _failed(self, why: object) -> ConfigError:
        remedy = "put back the file as it was; a run goes on with --resume"
        return self._origin.fault(self._name, f"cannot be read ({why})", remedy)


def _state(file: int) -> tuple[int, int, int]:
    """What changes where a file is written to, or another takes its place."""
    found = os.fstat(file)
    return found.st_ino, found.st_size, found.st_mtime_ns


def _array(path: Path, file: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        wrong = f"cannot be read ({error})"
        raise Origin(path).fault(file.stem, wrong, "save plain numbers with numpy.save") from error
    return array
