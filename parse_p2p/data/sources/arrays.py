"""Arrays of a person's own become a data set: nothing in them is trusted, so each is checked first.

One array per modality, under its name, with the sample as first axis; the class of each sample; and, if wanted, the
natural client of each. Every sentence names the place, the array and what would be right.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema
from torch import Tensor

from parse_p2p.core.errors import ConfigError, DataWarning, nearest
from parse_p2p.core.plugin_options import sentence
from parse_p2p.core.types import Modality
from parse_p2p.data.base import Dataset, class_order
from parse_p2p.data.lazy import Input, LazyInput, pieces

GROUPS = "groups"
LARGEST_NUMBER = 10**6
"""Of a class that is named by its number: beyond are wrapped -1 and other marks of what has no class."""

MOST_DIGITS = 20
MANY_CLASSES = 1000
PIXELS = (1, 3, 4)
"""How many channels pictures have."""


def _as_name(value: Any) -> Any:
    """What YAML reads as a number or a truth value, as labels are called."""
    return str(value).lower() if isinstance(value, int) else value


def _as_classes(value: Any) -> Any:
    """Their number, or their names."""
    names = tuple(map(_as_name, value)) if isinstance(value, list | tuple) else ()
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise sentence(f"the class {twice[0]!r} stands here twice; name each once")
    number = isinstance(value, int) and not isinstance(value, bool) and 1 < value <= LARGEST_NUMBER
    if value is not None and not number and not (len(names) > 1 and all(isinstance(name, str) for name in names)):
        raise sentence(f"give how many classes there are, 2 to {LARGEST_NUMBER}, or a list of their names")
    return names or value


NAME = {"type": ["string", "integer", "boolean"]}
Name = Annotated[str, BeforeValidator(_as_name), WithJsonSchema(NAME)]
Classes = Annotated[
    int | tuple[str, ...] | None,
    BeforeValidator(_as_classes),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 2}, {"type": "array", "items": NAME, "minItems": 2}]}),
]


Values = NDArray[np.float32] | LazyInput
"""The inputs of one modality (N, ...), channels first."""

LAZY = (
    "leave the inputs in their files and read each batch when it is needed, for sets larger than memory: the same "
    "results, in more time"
)


class LabelOptions(BaseModel, extra="forbid", frozen=True):
    """What the classes are, and how the file calls them."""

    target: Name = Field("y", description="the name of what holds the class of each sample")
    labels: dict[Name, Name] = Field({}, description="the class that a label of the file means, where not itself")
    classes: Classes = Field(
        None, description="the names of all classes, or their number where they are 0, 1, … (default: those found)"
    )
    weight: Name | None = Field(
        None, description="the name of what holds how much each sample counts in the loss (default: all alike)"
    )


class ArrayOptions(LabelOptions):
    """What the arrays are."""

    group: Name = Field(GROUPS, description="the name of what holds the natural client of each sample, if anything")
    layout: dict[Modality, Literal["channels-first", "channels-last"]] = Field(
        {}, description="where the channels of a series or an image are, where its shape does not tell"
    )


@dataclass(frozen=True)
class Origin:
    """Where values come from, and what they are called there."""

    where: Path | str
    target: str = "y"
    noun: str = "array"

    @property
    def name(self) -> str:
        """That of the data set."""
        return Path(self.where).name

    def fault(self, name: str, wrong: str, remedy: str) -> ConfigError:
        """What is wrong with one of them, and what would be right."""
        return ConfigError(f"{self.noun} {name!r} of {self.where} {wrong}; {remedy}")


def in_float32(array: NDArray[Any], channels_last: bool) -> NDArray[np.float32]:
    """A copy (N, ...) with channels first."""
    # even of what is right already: torch wants to own it, and a file mapped to memory is read here
    with np.errstate(over="ignore"):
        return np.array(np.moveaxis(array, -1, 1) if channels_last else array, np.float32, order="C")


def from_arrays(
    arrays: Mapping[str, NDArray[Any]],
    where: Path | str,
    options: ArrayOptions,
    hold: Callable[[str, NDArray[Any], bool], Values] | None = None,
) -> Dataset:
    """Inputs as contiguous float32 with channels first, targets numbered by the classes' names.

    ``hold(name, array, channels_last)`` makes inputs of an array that looks right, by default a copy; their values are
    checked then. Raises ConfigError, naming the place and the array, for anything a model could not learn from.
    """
    origin, left = Origin(where, options.target), dict(arrays)
    if options.target not in left:
        raise origin.fault(options.target, "is missing", "save the class of each sample under this name")
    targets, classes = numbered_classes(origin, left.pop(options.target), options)
    groups = _groups(origin, left.pop(options.group, None), options.group, len(targets))
    weights = None
    if options.weight is not None:
        if options.weight not in left:
            raise origin.fault(options.weight, "is missing", f"correct data.weight; {nearest(options.weight, left)}")
        weights = sample_weights(origin, left.pop(options.weight), options.weight, len(targets))
    if not left:
        raise ConfigError(
            f"{where} has no array besides {options.target!r} and {options.group!r}; add one array per modality"
        )
    _refuse_layouts(origin, left, options.layout)
    inputs = {}
    for m, array in left.items():
        last = _is_channels_last(origin, m, array, len(targets), options.layout)
        inputs[Modality(m)] = in_float32(array, last) if hold is None else hold(m, array, last)
    missing = {m: _missing(origin, m, values) for m, values in inputs.items()}
    return replace(with_gaps(origin, inputs, missing, targets, classes, groups), weights=weights)


# classes and groups


def numbered_classes(origin: Origin, y: NDArray[Any], options: LabelOptions) -> tuple[Tensor, tuple[str, ...]]:
    """The class of each sample as a number, and the names of the classes. Raises ConfigError for what is no class."""
    name = options.target
    _refuse_unless_labels(origin, name, y)
    distinct, at = np.unique(y, return_inverse=True)
    labels = _decoded(origin, name, distinct)
    if options.classes is None:
        _refuse_markers(origin, name, [label for label in labels if label not in options.labels])
    named = [options.labels.get(label, label) for label in labels]
    classes = _found(origin, name, named, len(y)) if options.classes is None else _given(origin, named, options)
    number = {each: k for k, each in enumerate(classes)}
    return torch.tensor([number[each] for each in named])[torch.from_numpy(at)], classes


def numbered_groups(origin: Origin, groups: NDArray[Any], name: str, samples: int) -> Tensor:
    """The natural client of each sample: its number as it is, or that of its name in sorted order."""
    _refuse_unless_labels(origin, name, groups)
    _refuse_other_length(origin, name, groups, samples)
    numbers = groups if groups.dtype.kind in "iu" else np.unique(groups, return_inverse=True)[1]
    return torch.from_numpy(numbers.astype(np.int64))


def sample_weights(origin: Origin, values: NDArray[Any], name: str, samples: int) -> Tensor:
    """How much each sample counts, float32 (N,). Raises ConfigError for what is no number from 0."""
    if values.dtype.kind not in "fiub" or values.ndim != 1:
        raise origin.fault(name, f"is {values.dtype} with {values.ndim} axes", "give one number from 0 for each sample")
    _refuse_other_length(origin, name, values, samples)
    with np.errstate(over="ignore"):
        weights = values.astype(np.float32)
    for row in np.flatnonzero(~(np.isfinite(weights) & (weights >= 0))).tolist():
        raise origin.fault(name, f"has the weight {values[row]} in row {row}, from 0", "give a number from 0")
    return torch.from_numpy(weights)


def _groups(origin: Origin, groups: NDArray[Any] | None, name: str, samples: int) -> Tensor | None:
    if groups is None and name != GROUPS:
        raise origin.fault(name, "is missing", "correct data.group, or leave it out where there are no groups")
    return None if groups is None else numbered_groups(origin, groups, name, samples)


def _refuse_unless_labels(origin: Origin, name: str, array: NDArray[Any]) -> None:
    text = array.dtype.kind == "O" and all(isinstance(each, str) for each in array.flat)
    if array.ndim != 1 or not (text or array.dtype.kind in "iubUST"):
        wrong = f"is {array.dtype} with {array.ndim} axes"
        raise origin.fault(name, wrong, f"give whole numbers or text on one axis, such as {name}.astype('int64')")
    if array.size == 0:
        raise origin.fault(name, "is empty", "give at least one sample")


def _decoded(origin: Origin, name: str, distinct: NDArray[Any]) -> list[str]:
    """The labels as text: whole numbers in decimal, truth values ``false`` and ``true``, bytes as UTF-8."""
    try:
        return [each.decode() if isinstance(each, bytes) else str(_as_name(each)) for each in distinct.tolist()]
    except UnicodeDecodeError as error:
        raise origin.fault(name, f"has the label {error.object!r}", "write labels in UTF-8") from None


def _refuse_markers(origin: Origin, name: str, labels: Sequence[str]) -> None:
    """Labels that rather say that there is no class."""
    for label in labels:
        if not label.strip() or _is_marker(label):
            raise origin.fault(
                name,
                f"has the label {label!r}, as where there is no class",
                f"leave out those rows, or say which class it is, such as data.labels: {{{label!r}: other}}",
            )


def _is_marker(label: str) -> bool:
    """Whether it is a whole number that is no number of a class."""
    digits = label.removeprefix("-")
    # very many digits are more than Python reads
    return digits.isdecimal() and (digits != label or len(digits) > MOST_DIGITS or int(label) > LARGEST_NUMBER)


def _found(origin: Origin, name: str, named: Sequence[str], rows: int) -> tuple[str, ...]:
    """The classes that are there, in order: by number where all are numbers."""
    distinct = set(named)
    if len(distinct) > MANY_CLASSES and 2 * len(distinct) > rows:
        wrong = f"has {len(distinct)} distinct labels in {rows} rows: is it a class?"
        raise origin.fault(name, wrong, "name what holds the class with data.target")
    return class_order(distinct)


def _given(origin: Origin, named: Sequence[str], options: LabelOptions) -> tuple[str, ...]:
    """The classes that the options name. Raises ConfigError for a label that is none of them."""
    count = options.classes if isinstance(options.classes, int) else None
    classes = tuple(map(str, range(count))) if count else options.classes
    assert isinstance(classes, tuple)
    for each in sorted({*named} - {*classes}):
        known = f"they are 0 to {count - 1}, so renumber, or name them all there" if count else nearest(each, classes)
        raise origin.fault(options.target, f"has the label {each!r}, which is none of data.classes", known)
    return classes


# inputs


def with_gaps(
    origin: Origin, inputs: Mapping[Modality, Values], missing: Mapping[Modality, NDArray[np.bool_]],
    targets: Tensor, classes: tuple[str, ...], groups: Tensor | None,
) -> Dataset:  # fmt: skip
    """The data set of checked values; ``missing`` (N,) says of each modality which samples lack it, and is noted.

    Raises ConfigError for a sample that lacks all modalities, and for a modality that no sample has.
    """
    present = {}
    for m, lacks in missing.items():
        if lacks.all():
            raise origin.fault(m, "has no values at all", "leave it out")
        if count := int(lacks.sum()):
            said = f"{count} of {len(lacks)} samples of {origin.where} lack {m!r}, and serve with what else they have"
            warnings.warn(said, DataWarning, stacklevel=2)
            present[m] = torch.from_numpy(~lacks)
    for row in np.flatnonzero(np.all(list(missing.values()), axis=0)).tolist():
        raise ConfigError(f"row {row} of {origin.where}, from 0, has no value of any modality; leave it out")
    filled = {m: _zero_where(lacks, inputs[m]) for m, lacks in missing.items()}
    return Dataset(origin.name, filled, targets, len(classes), groups, labels=classes, present=present)


def _zero_where(lacks: NDArray[np.bool_], values: Values) -> Input:
    if isinstance(values, LazyInput):
        return replace(values, missing=torch.from_numpy(lacks)) if lacks.any() else values
    values[lacks] = 0.0
    return torch.from_numpy(values)


def _is_channels_last(
    origin: Origin, name: str, array: NDArray[Any], samples: int, layout: Mapping[Modality, str]
) -> bool:
    """Whether channels are the last axis of an array. Raises ConfigError for one of another type, shape or length."""
    if array.dtype.kind not in "fiub" or array.ndim not in (2, 3, 4):
        wrong = f"is {array.dtype} with {array.ndim} axes"
        raise origin.fault(name, wrong, "give numbers as (N,F) vectors, (N,C,T) series or (N,C,H,W) images")
    if array.size == 0:
        raise origin.fault(name, "is empty", "give at least one sample with at least one number")
    _refuse_other_length(origin, name, array, samples)
    return (layout.get(Modality(name)) or _plain_layout(origin, name, array.shape)) == "channels-last"


def _refuse_other_length(origin: Origin, name: str, array: NDArray[Any], samples: int) -> None:
    if len(array) != samples:
        wrong = f"has {len(array)} rows, but {origin.target} has {samples}"
        raise origin.fault(name, wrong, f"give one row per entry of {origin.target}")


def _plain_layout(origin: Origin, name: str, shape: tuple[int, ...]) -> str:
    """The layout that a shape tells: of a picture by its colours, of a series because it is longer than wide."""
    if len(shape) == 3 and shape[1] > shape[2]:
        said = (
            f"array {name!r} of {origin.where} has shape {shape} and is read as {shape[1]} channels of {shape[2]} "
            f"steps: if it is {shape[1]} steps of {shape[2]} channels, say data.layout: {{{name}: channels-last}}, "
            "else channels-first"
        )
        warnings.warn(said, DataWarning, stacklevel=2)
    last = len(shape) == 4 and shape[3] in PIXELS and shape[1] not in PIXELS
    return "channels-last" if last else "channels-first"


def _refuse_layouts(origin: Origin, inputs: Mapping[str, NDArray[Any]], layout: Mapping[Modality, str]) -> None:
    for m in layout:
        if m not in inputs:
            raise ConfigError(f"data.layout: {origin.where} has no array {m!r}; {nearest(m, inputs)}")
        if inputs[m].ndim == 2:
            raise origin.fault(m, "has no channels: it is vectors (N,F)", "leave it out of data.layout")


def lacks_all(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The samples of (N, ...) that are NaN as a whole, (N,)."""
    return np.asarray(np.isnan(values).reshape(len(values), -1).all(1))


def _missing(origin: Origin, name: str, inputs: Values) -> NDArray[np.bool_]:
    """The samples that are NaN as a whole, (N,). Raises ConfigError for those that are so in part."""
    found, bad = [], 0
    for values in (piece.numpy() for piece in pieces(inputs)) if isinstance(inputs, LazyInput) else [inputs]:
        missing = lacks_all(values)
        bad += int(np.count_nonzero(~np.isfinite(values[~missing])))
        found.append(missing)
    if bad:
        wrong = f"has {bad} values that are NaN or infinite in float32"
        raise origin.fault(name, wrong, "fill or drop them, or make the whole sample NaN where it lacks this modality")
    return np.concatenate(found)
