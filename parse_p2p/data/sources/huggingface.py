"""A data set saved by ``save_to_disk`` of the library ``datasets``, or one split of several saved together.

Columns are numbers, lists of them, texts, images or recordings. Nothing is fetched, and no code that comes with
data is run.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from parse_p2p.core.errors import ConfigError, cause, nearest
from parse_p2p.core.plugin_options import refused
from parse_p2p.core.types import Modality
from parse_p2p.data.base import Dataset
from parse_p2p.data.sources.arrays import GROUPS, ArrayOptions, from_arrays
from parse_p2p.data.sources.decoding import Encoded, MediaOptions, decoded
from parse_p2p.data.sources.tokens import as_objects, is_text
from parse_p2p.data.tasks.source import Name, Origin, Target

SEVERAL = "dataset_dict.json"
NUMBER = re.compile(r"(u?int|float)\d+|bool")


class Options(ArrayOptions, MediaOptions):
    """Where the data set is, and what its columns are."""

    path: Path = Field(description="the folder given to save_to_disk; ~ is the home directory")
    split: str | None = Field(None, description="which of several splits that were saved together")
    target: Target = Field("label", description="the column of the target of each sample, or several of 0/1 or numbers")
    columns: dict[Modality, Name] = Field(
        {}, description="the columns of numbers or lists (default: all, where there are no images or audio either)"
    )

    @model_validator(mode="after")
    def _of_one_meaning(self) -> Self:
        names = [
            *self.columns,
            *self.encoded,
            *self.text,
            *self.targets,
            self.group,
            *self.beside,
        ]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise refused("columns", f"{twice[0]!r} would be two things; give each modality a name of its own")
        return self


def recognises(path: Path) -> bool:
    """Whether this is a folder that ``save_to_disk`` wrote."""
    try:
        names = {file.name for file in path.iterdir()}
    except (OSError, ValueError):
        return False
    return SEVERAL in names or {"state.json", "dataset_info.json"} <= names


def open(options: Options, seed: int) -> Dataset:
    """Inputs as float32 with channels first; named after the folder. The seed is not used.

    Classes that the data set names are those, all and in their order. Raises ConfigError, naming folder and column, for
    anything a model could not learn from.
    """
    path = options.path.expanduser()
    return from_columns(_loaded(path, options.split), path, options)


def is_one(value: Any) -> bool:
    """Whether this is a data set of that library, in memory."""
    library = sys.modules.get("datasets")
    return library is not None and isinstance(value, library.Dataset)


def from_columns(saved: Any, path: Path, options: Options) -> Dataset:
    """The samples of a data set of that library, which sentences call by its path; as ``open`` gives them."""
    inputs = _inputs(saved, path, options)
    arrays: dict[str, NDArray[Any]] = {
        m: _cells(saved, path, column) if m in options.tokens else _numbers(saved, path, column)
        for m, column in inputs.items()
    }
    for m, text in options.text.items():
        arrays[m] = _texts(saved, path, text.column or m)
    for m, each in options.encoded.items():
        files = _files(saved, path, each.column or m, "Image" if m in options.images else "Audio")
        arrays[m] = decoded(files, len(saved), each)
    labels = {name: _column(saved, path, name) for name in options.targets}
    for name in options.targets if options.solved.numbers else ():
        _refuse_numbered(saved, path, name, options.task)
    if options.group != GROUPS or GROUPS in saved.column_names:
        labels[options.group] = _column(saved, path, options.group)
    for beside in options.beside:
        labels[beside] = _column(saved, path, beside)
    target = options.targets[0]
    names = getattr(saved.features.get(target), "names", None)
    if names is not None and len(options.targets) == 1:
        labels[target] = _named(path, target, labels[target], names)
        every = tuple(dict.fromkeys(options.labels.get(name, name) for name in names))
        options = options.model_copy(update={"classes": options.classes or every})
    named = {m: text.model_copy(update={"column": None}) for m, text in options.text.items()}  # as arrays are
    return from_arrays(arrays | labels, path, options.model_copy(update={"text": named}))


# the folder


def _loaded(path: Path, split: str | None) -> Any:
    try:
        import datasets
    except ModuleNotFoundError:
        raise ConfigError("huggingface needs the package datasets: pip install 'parse-p2p[huggingface]'") from None
    if not recognises(path):
        raise ConfigError(f"{path} is no folder that save_to_disk of datasets wrote; correct the path or save it there")
    for file in path.rglob("*.arrow"):
        with file.open("rb") as start:
            Encoded(start.read(100), f"data file {file}").refuse_pointer()
    try:
        saved = datasets.load_from_disk(str(path.absolute()))
    except Exception as error:  # of several libraries
        raise ConfigError(f"{path} cannot be read as a saved data set ({cause(error)}); save it again") from error
    return _split(path, saved, split) if isinstance(saved, dict) else _whole(path, saved, split)


def _split(path: Path, saved: dict[str, Any], split: str | None) -> Any:
    if split is None:
        raise ConfigError(f"{path} has the splits {', '.join(saved)}; name one with data.split")
    if split not in saved:
        raise ConfigError(f"data.split: {path} has no split {split!r}; {nearest(split, saved)}")
    return saved[split]


def _whole(path: Path, saved: Any, split: str | None) -> Any:
    if split is not None:
        raise ConfigError(f"data.split: {path} is one data set without splits; leave it out")
    return saved


# its columns


def _inputs(saved: Any, path: Path, options: Options) -> dict[Modality, str]:
    """The column of each modality that is numbers or lists."""
    ids = {m: Name(m) for m in options.tokens}
    if options.columns or options.encoded or options.text or ids:
        return ids | options.columns
    found = [name for name in saved.column_names if _is_numbers(saved.features[name])]
    given = (*options.targets, options.group, *options.beside)
    left = {Modality(name): name for name in found if name not in given}
    if not left:
        listed = ", ".join(f"{name} ({type(each).__name__})" for name, each in saved.features.items())
        raise ConfigError(
            f"{path} has no column of numbers or lists besides classes and groups; it has {listed}: say what "
            "texts, images or recordings become with data.text, data.images or data.audio"
        )
    return left


def _is_numbers(feature: Any) -> bool:
    """Whether a column holds numbers, in lists or not, that number no classes."""
    while hasattr(feature, "feature"):
        feature = feature.feature
    return not hasattr(feature, "names") and bool(NUMBER.fullmatch(str(getattr(feature, "dtype", ""))))


def _refuse_numbered(saved: Any, path: Path, name: str, task: str) -> None:
    """Raise ConfigError for a column of numbers of classes, which are neither 0 and 1 nor numbers to predict."""
    feature = saved.features[name]
    while hasattr(feature, "feature"):
        feature = feature.feature
    if hasattr(feature, "names"):
        wrong = f"holds numbers of classes, and data.task is {task}"
        raise _fault(path, name, wrong, "leave out data.task, or give columns of plain numbers")


def _column(saved: Any, path: Path, name: str) -> NDArray[Any]:
    """The values of a column. Raises ConfigError where there is none of this name, or a value is missing."""
    if name not in saved.column_names:
        raise ConfigError(f"there is no column {name!r} in {path}; {nearest(name, saved.column_names)}")
    stored = _stored(saved, name)
    if stored.null_count:
        row = stored.is_null().to_pylist().index(True) + 1
        raise _fault(path, name, f"has no value in row {row}", "fill it or leave out the row")
    values: NDArray[Any] = saved.with_format("numpy", columns=[name])[:][name]
    return values


def _stored(saved: Any, name: str) -> Any:
    """A column as Arrow has it, of the rows that are chosen."""
    return saved.with_format("arrow", columns=[name])[:].column(name)


def _numbers(saved: Any, path: Path, name: str) -> NDArray[Any]:
    """(N, 1) of a column of numbers, (N, ...) of lists; NaN of a row that has none."""
    feature = saved.features.get(name)
    if feature is not None and not _is_numbers(feature):
        wrong = f"is {type(feature).__name__} and not numbers or lists of them"
        raise _fault(path, name, wrong, "name it in data.images or data.audio where it is such")
    filled = np.flatnonzero(_stored(saved, name).is_valid().to_numpy()) if feature is not None else ()
    values = _column(saved.select(filled) if len(filled) < len(saved) else saved, path, name)
    if values.dtype == object:
        raise _fault(path, name, "has lists of several lengths", "cut or pad them to one")
    values = values[:, None] if values.ndim == 1 else values
    if len(values) == len(saved):
        return values
    every = np.full((len(saved), *values.shape[1:]), np.nan, np.float32)
    every[filled] = values
    return every


def _cells(saved: Any, path: Path, name: str) -> NDArray[Any]:
    """Whatever is in each row, (N,): lists of several lengths too, and None where there is nothing."""
    if name not in saved.column_names:
        raise ConfigError(f"there is no column {name!r} in {path}; {nearest(name, saved.column_names)}")
    return as_objects(_stored(saved, name).to_pylist())


def _texts(saved: Any, path: Path, name: str) -> NDArray[Any]:
    found = _cells(saved, path, name)
    if not is_text(found):
        raise _fault(path, name, f"is {type(saved.features[name]).__name__} and no text", "name a column of texts")
    return found


def _files(saved: Any, path: Path, name: str, kind: str) -> Iterator[Encoded | None]:
    """The bytes of a column of images or recordings, which ``datasets`` is not to decode; None where a row has none."""
    feature = saved.features.get(name)
    if feature is not None and type(feature).__name__ != kind:
        raise _fault(path, name, f"is {type(feature).__name__} and not {kind}", "name a column that is")
    if feature is None:
        raise ConfigError(f"there is no column {name!r} in {path}; {nearest(name, saved.column_names)}")
    for row, cell in enumerate(saved.data.column(name), 1):
        value = cell.as_py()
        if value is None:
            yield None
            continue
        data = value.get("bytes")
        if data is None:
            raise _fault(path, name, f"has no bytes in row {row}", "save it where the files it names are")
        yield Encoded(data, f"column {name!r} in row {row} of {path}")


def _named(path: Path, name: str, numbers: NDArray[Any], names: list[str]) -> NDArray[Any]:
    """The name of each class. Raises ConfigError for a number that has none."""
    for row in np.flatnonzero((numbers < 0) | (numbers >= len(names))).tolist():
        wrong = f"has the label {numbers[row]} in row {row + 1}, as where there is no class"
        raise _fault(path, name, wrong, "leave out those rows, or take another split")
    found: NDArray[Any] = np.array(names, dtype=object)[numbers]
    return found


def _fault(path: Path, name: str, wrong: str, remedy: str) -> ConfigError:
    return Origin(path, noun="column").fault(name, wrong, remedy)
