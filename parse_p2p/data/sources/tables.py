"""Columns of tables become a data set: some of them are a modality each, one is the class.

Tables are pyarrow's, which is asked for only where one is opened. Every sentence names the file, the column and, of a
cell, its place.
"""

import importlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from parse_p2p.core.errors import ConfigError, nearest
from parse_p2p.core.plugin_options import refused
from parse_p2p.core.types import Modality, is_number
from parse_p2p.data.base import Dataset
from parse_p2p.data.kinds import Tokens
from parse_p2p.data.lazy import LazyInput
from parse_p2p.data.sources.arrays import (
    Values,
    lacks_all,
    lacks_tokens,
    numbered_groups,
    official_test,
    sample_weights,
    with_gaps,
)
from parse_p2p.data.sources.tokens import KindOptions
from parse_p2p.data.tasks.source import NAME, Name, Origin, TargetOptions
from parse_p2p.data.tokenizer import Fault

WHOLE = {"bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}
FLOATS = {"halffloat", "float", "double"}
TEXT = {"string", "large_string", "string_view"}
"""As pyarrow names its types."""

SHOWN = 20
"""How many columns a sentence lists."""


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


Columns = Annotated[
    tuple[Name, ...], BeforeValidator(_as_list), WithJsonSchema({"anyOf": [NAME, {"type": "array", "items": NAME}]})
]


class TableOptions(TargetOptions, KindOptions):
    """Which columns are what."""

    path: Path = Field(description="the file; ~ is the home directory")
    group: Name | None = Field(None, description="the column of the natural client of each sample")
    columns: dict[Modality, Columns] = Field(
        {},
        description="the columns of each modality but for texts: names, a pattern such as v1_*, or a column of lists",
    )
    shape: dict[Modality, Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1, max_length=3)]] = (
        Field({}, description="the shape of a sample where its columns are no vector, such as [channels, steps]")
    )

    @model_validator(mode="after")
    def _of_modalities(self) -> Self:
        for m in self.shape:
            if m not in self.columns:
                raise refused("shape", f"{m!r} has no columns; {nearest(m, self.columns)}")
        for m in self.text:
            if m in self.columns:
                raise refused("columns", f"{m!r} is in text too; name its column there")
        for m in self.tokens:
            if m in self.shape:
                raise refused("shape", f"{m!r} is tokens, whose shape is their length; leave it out")
        return self

    @property
    def inputs(self) -> dict[Modality, Columns]:
        """The columns of each modality, which is called as its column where it is tokens or texts and not named."""
        texts = {m: (each.column or str(m),) for m, each in self.text.items()}
        return {m: (str(m),) for m in self.tokens} | self.columns | texts


@dataclass(frozen=True)
class Part:
    """One file's table; ``lines`` are the numbers of its rows in the file, where it has lines."""

    path: Path
    table: Any
    lines: Sequence[int] | None = None

    def fault(self, column: str, wrong: str, remedy: str) -> ConfigError:
        """What is wrong with a column, and what would be right."""
        return Origin(self.path, noun="column").fault(column, wrong, remedy)

    def at(self, row: int) -> str:
        """Where a row is, for sentences."""
        return f"row {row + 1}" if self.lines is None else f"line {self.lines[row]}"


def pyarrow(module: str, kind: str) -> Any:
    """A module of pyarrow. Raises ConfigError where it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        raise ConfigError(f"{kind} needs the package pyarrow: pip install 'parse-p2p[tables]'") from None


def from_parts(parts: Iterable[Part], path: Path, options: TableOptions) -> Dataset:
    """The rows of all parts, one after another, named after the path.

    Raises ConfigError, naming file, column and cell, for anything a model could not learn from.
    """
    parts = [part for part in parts if len(part.table)]
    if not parts:
        raise ConfigError(f"data file {path} has no rows; give at least one below the names of the columns")
    origin, task = Origin(path, ", ".join(options.targets), "column"), options.solved
    read = _target_numbers if task.numbers else _labels
    targets, classes = task.read(origin, {name: read(parts, name) for name in options.targets}, options)
    group = options.group
    groups = None if group is None else numbered_groups(origin, _labels(parts, group), group, len(targets))
    weights = None
    if options.weight is not None:
        values = np.concatenate([_numbers(part, options.weight) for part in parts])
        weights = sample_weights(
            origin, values.squeeze(1) if values.shape[1] == 1 else values, options.weight, len(values)
        )
    official, name = None, options.official
    if name is not None:
        official = official_test(origin, _labels(parts, name), name, len(targets))
    inputs: dict[Modality, Values] = {m: _input(parts, m, options) for m in options.columns if m not in options.tokens}
    missing = {m: lacks_all(x) for m, x in inputs.items() if not isinstance(x, LazyInput)}
    kinds = dict[Modality, Tokens]()
    for m in (*options.text, *options.tokens):
        inputs[m], kinds[m] = _texts(parts, m, options) if m in options.text else _ids(parts, m, options)
        missing[m] = lacks_tokens(inputs[m], kinds[m])
    found = with_gaps(origin, inputs, missing, targets, classes, groups, task, kinds)
    kinds_of_all = options.kinds(kinds, {m: found.shape(m) for m in found.inputs})
    return replace(found, weights=weights, official=official, kinds=kinds_of_all)


# which columns


def needed(path: Path, names: Sequence[str], options: TableOptions) -> list[str]:
    """All columns that are asked for, each once. Raises ConfigError for one that is not there, or twice."""
    if twice := sorted(name for name, times in Counter(names).items() if times > 1):
        raise ConfigError(f"column {twice[0]!r} stands twice in {path}; give each column a name of its own")
    labels = _label_columns(options)
    if twice := sorted({name for name in labels if labels.count(name) > 1}):
        raise ConfigError(
            f"data names the column {twice[0]!r} twice, as target, group, weight or official; correct one of them"
        )
    for name in labels:
        if name not in names:
            key = next((key for key in ("group", "weight", "official") if getattr(options, key) == name), "target")
            near = _near(name, names)
            raise ConfigError(f"there is no column {name!r} in {path}: say which it is with data.{key}; {near}")
    if not options.inputs:
        left = [name for name in names if name not in labels]
        raise ConfigError(
            f"data.columns does not say which columns of {path} are inputs; besides {' and '.join(labels)} it has "
            f"{_listed(left)}: write such as columns: {{features: [{', '.join(left[:2])}]}}"
        )
    inputs = [name for m in options.inputs for name in _chosen(path, names, m, options)]
    return list(dict.fromkeys([*labels, *inputs]))


def _label_columns(options: TableOptions) -> list[str]:
    return [*options.targets, *([] if options.group is None else [options.group]), *options.beside]


def _chosen(path: Path, names: Sequence[str], modality: Modality, options: TableOptions) -> list[str]:
    """The columns of a modality: of a pattern in the order of the file, and never a class, a group or the like."""
    inputs = dict.fromkeys(name for name in names if name not in _label_columns(options))
    wanted, found = options.inputs[modality], []
    for each in wanted:
        patterned = modality not in options.text and each not in inputs
        matching = [name for name in inputs if (fnmatchcase(name, each) if patterned else name == each)]
        if not matching:
            key = "columns" if modality in options.columns else "text" if modality in options.text else "tokens"
            raise ConfigError(
                f"data.{key}: there is no input column {each!r} in {path} for {modality!r}; {_near(each, [*inputs])}"
            )
        found += matching
    return found


def _near(name: str, names: Sequence[str]) -> str:
    """The nearest names: of a wide table all would be too many."""
    return nearest(name, names if len(names) <= SHOWN else get_close_matches(name, names, SHOWN) or names[:SHOWN])


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


# what is in them


def _column(part: Part, name: str) -> Any:
    """The values of a column, none of them shared."""
    column = part.table.column(name).combine_chunks()
    return column.dictionary_decode() if str(column.type).startswith("dictionary") else column


def _labels(parts: Sequence[Part], name: str) -> NDArray[Any]:
    return np.concatenate([_labels_of(part, name) for part in parts])


def _labels_of(part: Part, name: str) -> NDArray[Any]:
    column = _column(part, name)
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise part.fault(name, f"has an empty cell in {part.at(row)}", "fill it or leave out the row")
    kind = str(column.type)
    if kind in TEXT:
        return np.array(column.to_pylist(), dtype=object)
    if kind not in WHOLE:
        other = ", or say data.task: regression where it is a number to predict" if kind in FLOATS else ""
        raise part.fault(name, f"is {kind}", f"give whole numbers or text{other}")
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _target_numbers(parts: Sequence[Part], name: str) -> NDArray[Any]:
    """The numbers of a column, (N,), or (N, length) of one of lists. Raises ConfigError where one is missing."""
    blocks = [_numbers(part, name) for part in parts]
    for part, block in zip(parts, blocks, strict=True):
        for row in np.flatnonzero(~np.isfinite(block).all(1)).tolist():
            wrong = f"has a target that is empty, NaN or infinite in float32 in {part.at(row)}"
            raise part.fault(name, wrong, "leave out the row: what is not known cannot be learnt from")
        if block.shape[1] != blocks[0].shape[1]:
            wrong = f"has {block.shape[1]} numbers per row, but {blocks[0].shape[1]} in {parts[0].path.name}"
            raise part.fault(name, wrong, "give all files as many")
    found = np.concatenate(blocks)
    lists = "list" in str(_column(parts[0], name).type).partition("<")[0]
    return found if lists else found[:, 0]


def _input(parts: Sequence[Part], modality: Modality, options: TableOptions) -> NDArray[np.float32]:
    """(N, features) or the shape that is asked for."""
    blocks = _widened([_block(part, modality, options) for part in parts])
    for part, block in zip(parts, blocks, strict=True):
        if (there := block.shape[1]) != (first := blocks[0].shape[1]):
            raise ConfigError(
                f"{modality!r} has {there} numbers per row in {part.path}, but {first} in {parts[0].path.name}; give "
                "all files the same columns"
            )
    values = np.concatenate(blocks)
    shape = options.shape.get(modality, values.shape[1:])
    if math.prod(shape) != values.shape[1]:
        raise ConfigError(
            f"data.shape: {modality!r} has {values.shape[1]} numbers per row in {parts[0].path}, and {list(shape)} "
            f"takes {math.prod(shape)}; correct it or data.columns"
        )
    return values.reshape(-1, *shape)


def _texts(parts: Sequence[Part], modality: Modality, options: TableOptions) -> tuple[Values, Tokens]:
    """The ids of a column of texts."""
    [name], texts = options.inputs[modality], list[str | None]()
    for part in parts:
        if name not in part.table.column_names:
            _chosen(part.path, part.table.column_names, modality, options)  # which says what there is
        column = _column(part, name)
        if str(column.type) not in TEXT and column.null_count < len(column):
            raise part.fault(name, f"is {column.type} and no text", "name a column of texts in data.text")
        texts += column.to_pylist()
    return options.text[modality].read(modality, texts, _placed(parts, name))


def _ids(parts: Sequence[Part], modality: Modality, options: TableOptions) -> tuple[Values, Tokens]:
    """The ids of a column of lists, or of columns side by side."""
    rows, chosen = list[list[int] | None](), options.tokens[modality]
    kind, name = chosen.kind(modality), ", ".join(options.inputs[modality])
    fault = _placed(parts, name)
    for part in parts:
        names = _chosen(part.path, part.table.column_names, modality, options)
        for each in zip(*(_cells(part, name) for name in names), strict=True):
            ids = [id for cell in each for id in (cell if isinstance(cell, list) else [cell])]
            there = [id for id in ids if id is not None]
            if there and len(there) < len(ids):
                raise fault(len(rows), "has a value that is empty", "fill it with the id of padding")
            rows.append(there or None)
    return chosen.read(rows, kind, fault)


def _cells(part: Part, name: str) -> list[Any]:
    """Whole numbers or lists of them."""
    column = _column(part, name)
    inside = column.type.value_type if "list" in str(column.type).partition("<")[0] else column.type
    if str(inside) not in WHOLE - {"bool"} and column.null_count < len(column):
        raise part.fault(name, f"is {column.type}", "give whole numbers or lists of them, the ids of tokens")
    cells: list[Any] = column.to_pylist()
    return cells


def _placed(parts: Sequence[Part], name: str) -> Fault:
    """Sentences on a row of all parts together."""

    def fault(row: int, wrong: str, remedy: str) -> ConfigError:
        for part in parts:
            if row < len(part.table):
                return part.fault(name, f"{wrong} in {part.at(row)}", remedy)
            row -= len(part.table)
        raise IndexError(row)

    return fault


def _widened(blocks: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Blocks without a value, of which nothing says how wide they are, as wide as the first that has one."""
    width = next((block.shape[1] for block in blocks if not lacks_all(block).all()), blocks[0].shape[1])
    return [np.full((len(b), width), np.nan, np.float32) if lacks_all(b).all() else b for b in blocks]


def _block(part: Part, modality: Modality, options: TableOptions) -> NDArray[np.float32]:
    """(N, features) of the columns of a modality, side by side; a row that lacks all of them is NaN."""
    names = _chosen(part.path, part.table.column_names, modality, options)
    columns = {name: _numbers(part, name) for name in names}
    missing = np.all([np.isnan(numbers).all(1) for numbers in columns.values()], axis=0)
    for name, numbers in columns.items():
        for row in np.flatnonzero(~np.isfinite(numbers).all(1) & ~missing).tolist():
            wrong = f"has a value that is empty, NaN or infinite in float32 in {part.at(row)}"
            raise part.fault(name, wrong, f"fill it, leave out the row, or empty all its cells of {modality!r}")
    return np.concatenate(list(columns.values()), axis=1)


def _numbers(part: Part, name: str) -> NDArray[np.float32]:
    """(N, 1) of a column of numbers, (N, length) of one of lists; of an empty cell NaN."""
    column = _column(part, name)
    if column.null_count == len(column):  # which are of no type
        return np.full((len(column), 1), np.nan, np.float32)
    filled = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    values = _flat(part, name, column.drop_null(), filled)
    if str(values.type) not in WHOLE | FLOATS:
        raise _no_numbers(part, name, values, filled)
    with np.errstate(over="ignore"):
        given = np.array(values.to_numpy(zero_copy_only=False), np.float32).reshape(len(filled), -1)
    numbers = np.full((len(column), given.shape[1]), np.nan, np.float32)
    numbers[filled] = given
    return numbers


def _flat(part: Part, name: str, column: Any, rows: NDArray[np.int64]) -> Any:
    """The values of all lists, one after another; anything else as it is. Raises ConfigError where lengths differ.

    ``rows`` are the numbers of the cells in the table.
    """
    if "list" not in str(column.type).partition("<")[0]:
        return column
    if hasattr(column, "value_lengths"):
        lengths = column.value_lengths().to_numpy()
        for at in np.flatnonzero(lengths != lengths[0]).tolist() if len(lengths) else ():
            wrong = f"has lists of {lengths[0]} numbers, but of {lengths[at]} in {part.at(int(rows[at]))}"
            raise part.fault(name, wrong, "cut or pad them to one length")
    values = column.flatten()
    if not len(values):
        raise part.fault(name, "has empty lists", "give at least one number")
    return values


def _no_numbers(part: Part, name: str, values: Any, rows: NDArray[np.int64]) -> ConfigError:
    if str(values.type) not in TEXT:
        return part.fault(name, f"is {values.type}", "give whole numbers, floats or booleans")
    texts = values.to_pylist()
    at = next((at for at, text in enumerate(texts) if not is_number(text)), 0)
    return part.fault(
        name, f"has the text {texts[at]!r} in {part.at(int(rows[at]))}", "give numbers, such as 1.5, or data.text"
    )
