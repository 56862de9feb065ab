"""A folder of images and recordings, with a table of them or with one folder per class.

The table has a line per sample: its class, perhaps its group, and the path of a file for each modality. Without one,
the files of a single modality lie in subfolders that are called as their classes.
"""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from io import StringIO
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from parse_p2p.core.errors import ConfigError, nearest
from parse_p2p.core.types import Modality, is_number
from parse_p2p.data.base import Dataset
from parse_p2p.data.lazy import LazyInput, pieces
from parse_p2p.data.sources.arrays import (
    GROUPS,
    LAZY,
    Values,
    numbered_groups,
    official_test,
    sample_weights,
    with_gaps,
)
from parse_p2p.data.sources.decoding import AudioOptions, Encoded, ImageOptions, MediaOptions, decoded
from parse_p2p.data.tasks.source import Name, Origin, TargetOptions

File = Callable[[], Encoded]
"""Reads a file."""

TABLE = "metadata.csv"
IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
AUDIO = {".wav", ".flac", ".ogg", ".mp3"}


class Options(TargetOptions, MediaOptions):
    """Where the files are, and what they become."""

    path: Path = Field(description="the folder; ~ is the home directory")
    table: str = Field(TABLE, description="the CSV file in it with a line per sample, whose cells are paths in it")
    group: Name = Field(GROUPS, description="the column of the natural client of each sample, if anything")
    lazy: bool = Field(False, description=LAZY)


def recognises(path: Path) -> bool:
    """Whether this is a folder with such a table, or with images or recordings in subfolders, and no other kind's."""
    try:
        if any(file.suffix in (".npy", ".parquet") for file in path.iterdir()):
            return False
        files = (file for folder in _visible(path) if folder.is_dir() for file in folder.iterdir())
        return (path / TABLE).is_file() or any(file.suffix.lower() in IMAGES | AUDIO for file in files)
    except (OSError, ValueError):
        return False


def open(options: Options, seed: int) -> Dataset:
    """The samples in the order of the table, or of the names of classes and files; named after the folder.

    The seed is not used. Raises ConfigError, naming file and line, for anything a model could not learn from.
    """
    path = options.path.expanduser()
    if not path.is_dir():
        raise ConfigError(f"data folder {path} does not exist; correct the path or save the files there")
    if not options.encoded:
        raise ConfigError(
            f"neither data.images nor data.audio says what the files of {path} are: write such as "
            "images: {photo: {size: [64, 64]}}"
        )
    return _of_table(path, options) if _has_table(path, options) else _of_folders(path, options)


# with a table


@dataclass(frozen=True)
class _Table:
    """The cells below the names of the columns, and the line of each row."""

    path: Path
    names: Sequence[str]
    rows: Sequence[Sequence[str]]
    lines: Sequence[int]

    def column(self, name: str, gaps: bool = False) -> list[str]:
        """Its cells. Raises ConfigError where there is no such column, or one is empty and there are to be no gaps."""
        if name not in self.names:
            raise ConfigError(f"there is no column {name!r} in {self.path}; {nearest(name, self.names)}")
        cells = [row[self.names.index(name)] for row in self.rows]
        for cell, line in zip(cells, self.lines, strict=True):
            if not gaps and not cell.strip():
                wrong = f"has an empty cell in line {line}"
                raise Origin(self.path, noun="column").fault(name, wrong, "fill it or leave out the row")
        return cells


def _has_table(path: Path, options: Options) -> bool:
    """Whether there is one, or an option that is of no use without."""
    named = [
        options.table != TABLE,
        options.group != GROUPS,
        *options.beside,
        *(each.column for each in options.encoded.values()),
    ]
    return (path / options.table).exists() or any(named)


def _of_table(path: Path, options: Options) -> Dataset:
    table = _read(path / options.table)
    origin, task = Origin(table.path, ", ".join(options.targets), "column"), options.solved
    columns = {name: _numbers(origin, table, name) if task.numbers else _text(table.column(name))
               for name in options.targets}  # fmt: skip
    targets, classes = task.read(origin, columns, options)
    has_groups = options.group != GROUPS or GROUPS in table.names
    cells = table.column(options.group) if has_groups else []
    groups = numbered_groups(origin, _text(cells), options.group, len(targets)) if has_groups else None
    inputs, missing = {}, {}
    for m, each in options.encoded.items():
        files = list(zip(table.column(each.column or m, gaps=True), table.lines, strict=True))
        paths = [
            partial(_file, path, cell, f"{cell!r} in line {line} of {table.path}") if cell.strip() else None
            for cell, line in files
        ]
        inputs[m] = _inputs(paths, each, options.lazy)
        missing[m] = np.array([not cell.strip() for cell, _ in files])
    weights = None if options.weight is None else _weights(origin, table, options.weight)
    official, column = None, options.official
    if column is not None:
        official = official_test(origin, _text(table.column(column)), column, len(targets))
    found = with_gaps(origin, inputs, missing, targets, classes, groups, task)
    return replace(found, name=path.name, weights=weights, official=official)


def _weights(origin: Origin, table: _Table, name: str) -> Tensor:
    weights = _numbers(origin, table, name, "a number from 0")
    return sample_weights(origin, weights, name, len(weights))


def _numbers(origin: Origin, table: _Table, name: str, wanted: str = "numbers, such as 1.5") -> NDArray[Any]:
    cells = table.column(name)
    for cell, line in zip(cells, table.lines, strict=True):
        if not is_number(cell):
            raise origin.fault(name, f"has the text {cell!r} in line {line}", f"give {wanted}")
    return np.array(list(map(float, cells)))


def _read(path: Path) -> _Table:
    reader = csv.reader(StringIO(_decoded(path), newline=""), strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise ConfigError(f"line {reader.line_num} of {path} cannot be read as CSV ({error}); correct it") from None
    if len(rows) < 2:
        raise ConfigError(f"data file {path} has no rows; give at least one below the names of the columns")
    names = rows[0][1]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"column {twice[0]!r} stands twice in {path}; give each column a name of its own")
    for line, row in rows:
        if len(row) != len(names):
            raise ConfigError(
                f"line {line} of {path} has {len(row)} cells, but its first line {len(names)}; give every line as many"
            )
    return _Table(path, names, [row for _, row in rows[1:]], [line for line, _ in rows[1:]])


def _decoded(path: Path) -> str:
    data = _file(path.parent, path.name, f"data file {path}").data
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"line {line} of {path} is not UTF-8; save it in UTF-8") from None


def _text(cells: Sequence[str]) -> NDArray[Any]:
    return np.array(cells, dtype=object)


def _file(folder: Path, name: str, where: str) -> Encoded:
    inside = PureWindowsPath(name)  # to which a slash divides too
    if inside.anchor or ".." in inside.parts:
        raise ConfigError(f"{where} leads out of the folder; give a path from {folder} on, without ..")
    try:
        file = Encoded((folder / name).read_bytes(), where)
    except FileNotFoundError:
        raise ConfigError(f"{where} does not exist in {folder}; save it there, or correct its name") from None
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise ConfigError(f"{where} cannot be read ({said}); give the path of a file") from None
    file.refuse_pointer()
    return file


def _inputs(files: Sequence[File | None], options: ImageOptions | AudioOptions, lazy: bool) -> Values:
    """What the files hold, (N, ...), NaN of those that are missing. Raises ConfigError for the first that is broken."""
    reader = MediaReader(files, options)
    if not lazy:
        return reader.read(np.arange(len(files)))
    found = LazyInput.of(reader)
    for _ in pieces(found):  # so that what is broken is found now
        pass
    return found


class MediaReader:
    """Decodes files when they are asked for. Raises ConfigError in ``read`` for one that changed since it was read."""

    def __init__(self, files: Sequence[File | None], options: ImageOptions | AudioOptions) -> None:
        self.shape = (len(files), *options.shape)
        self._files, self._options = files, options
        self._digests: dict[int, bytes] = {}

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return decoded(map(self._encoded, rows.tolist()), len(rows), self._options)

    def _encoded(self, row: int) -> Encoded | None:
        read = self._files[row]
        if read is None:
            return None
        file = read()
        digest = blake2b(file.data, digest_size=8).digest()
        if self._digests.setdefault(row, digest) != digest:
            raise file.fault("was written to since it was opened", "put it back; a run goes on with --resume")
        return file


# with a folder per class


def _of_folders(path: Path, options: Options) -> Dataset:
    if len(options.encoded) > 1:
        names = ", ".join(options.encoded)
        raise ConfigError(f"there is no {TABLE} in {path} that says which files of {names} belong together; write one")
    [(m, each)] = options.encoded.items()
    folders = [folder for folder in _visible(path) if folder.is_dir()]
    if not folders:
        raise ConfigError(f"data folder {path} has neither {TABLE} nor subfolders; save one folder of files per class")
    files = [file for folder in folders for file in _files(folder, m, options)]
    origin, task = Origin(path, ", ".join(options.targets), "target"), options.solved
    if not task.one_class:
        raise ConfigError(
            f"data.task: the folders of {path} are called as classes, and {task.name} is of none: write a {TABLE} with "
            "the targets"
        )
    folders_of = {name: _text([file.parent.name for file in files]) for name in options.targets}
    targets, classes = task.read(origin, folders_of, options)
    values = _inputs([partial(_file, file.parent, file.name, f"file {file}") for file in files], each, options.lazy)
    x = values if isinstance(values, LazyInput) else torch.from_numpy(values)
    return Dataset(path.name, {m: x}, targets, len(classes), labels=classes)


def _files(folder: Path, modality: Modality, options: Options) -> Iterator[Path]:
    """The files of a class. Raises ConfigError where there are none, or one that is none of the modality."""
    files = _visible(folder)
    if not files:
        raise ConfigError(f"folder {folder} holds no files; delete it, and give data.classes where it is a class")
    suffixes = IMAGES if modality in options.images else AUDIO
    for file in files:
        if file.suffix.lower() not in suffixes or file.is_dir():
            what = "image" if modality in options.images else "recording"
            raise ConfigError(f"{file} is no {what}; remove it, or give a file in {', '.join(sorted(suffixes))}")
        yield file


def _visible(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if not file.name.startswith("."))
