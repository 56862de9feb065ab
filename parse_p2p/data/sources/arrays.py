"""Arrays of a person's own become a data set: nothing in them is trusted, so each is checked first.

One array per modality, under its name, with the sample as first axis; the target of each sample; and, if wanted, the
natural client of each. Every sentence names the place, the array and what would be right.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from parse_p2p.core.errors import ConfigError, DataWarning, nearest
from parse_p2p.core.types import Modality
from parse_p2p.data.base import Dataset
from parse_p2p.data.kinds import Kinds, Tokens, padding_of
from parse_p2p.data.lazy import Input, LazyInput, pieces
from parse_p2p.data.sources.tokens import KindOptions, TokenOptions, is_text, refuse_beyond
from parse_p2p.data.tasks.base import Task
from parse_p2p.data.tasks.classification import refuse_unless_labels
from parse_p2p.data.tasks.source import Name, Origin, TargetOptions

GROUPS = "groups"
TESTED = ["test", "testing", "true", "1"]
KEPT = ["train", "training", "val", "valid", "validation", "dev", "false", "0"]
"""What is said of samples that are the official test set, and of those that are not."""
NO_KINDS: Kinds = {}
PIXELS = (1, 3, 4)
"""How many channels pictures have."""


Values = NDArray[np.float32] | NDArray[np.int64] | LazyInput
"""The inputs of one modality (N, ...), channels first, or the ids of tokens (N, length)."""


class Hold(Protocol):
    """Makes inputs of an array that looks right; ``padding`` is that of tokens, None of all else."""

    def __call__(self, name: str, array: NDArray[Any], channels_last: bool, padding: int | None) -> Values: ...


LAZY = (
    "leave the inputs in their files and read each batch when it is needed, for sets larger than memory: the same "
    "results, in more time"
)


class ArrayOptions(TargetOptions, KindOptions):
    """What the arrays are."""

    group: Name = Field(GROUPS, description="the name of what holds the natural client of each sample, if anything")
    layout: dict[Modality, Literal["channels-first", "channels-last"]] = Field(
        {}, description="where the channels of a series or an image are, where its shape does not tell"
    )


def in_float32(array: NDArray[Any], channels_last: bool) -> NDArray[np.float32]:
    """A copy (N, ...) with channels first."""
    # even of what is right already: torch wants to own it, and a file mapped to memory is read here
    with np.errstate(over="ignore"):
        return np.array(np.moveaxis(array, -1, 1) if channels_last else array, np.float32, order="C")


def from_arrays(
    arrays: Mapping[str, NDArray[Any]],
    where: Path | str,
    options: ArrayOptions,
    hold: Hold | None = None,
) -> Dataset:
    """Inputs as contiguous float32 with channels first, or ids as int64, targets numbered by the classes' names.

    ``hold`` makes inputs of an array that looks right, by default a copy; their values are
    checked then. Raises ConfigError, naming the place and the array, for anything a model could not learn from.
    """
    origin, left = Origin(where, ", ".join(options.targets)), dict(arrays)
    for name in options.targets:
        if name not in left:
            raise origin.fault(name, "is missing", "save the class of each sample under this name")
    targets, classes = options.solved.read(origin, {name: left.pop(name) for name in options.targets}, options)
    groups = _groups(origin, left.pop(options.group, None), options.group, len(targets))
    weights = None
    if options.weight is not None:
        if options.weight not in left:
            raise origin.fault(options.weight, "is missing", f"correct data.weight; {nearest(options.weight, left)}")
        weights = sample_weights(origin, left.pop(options.weight), options.weight, len(targets))
    official = None
    if options.official is not None:
        if options.official not in left:
            near = nearest(options.official, left)
            raise origin.fault(options.official, "is missing", f"correct data.official; {near}")
        official = official_test(origin, left.pop(options.official), options.official, len(targets))
    if not left:
        raise ConfigError(
            f"{where} has no array besides {origin.target!r} and {options.group!r}; add one array per modality"
        )
    ids, kinds = _ids(origin, left, options, len(targets), hold)
    _refuse_layouts(origin, left, options.layout)
    inputs: dict[Modality, Values] = {}
    for m, array in left.items():
        last = _is_channels_last(origin, m, array, len(targets), options.layout)
        inputs[Modality(m)] = in_float32(array, last) if hold is None else hold(m, array, last, None)
    missing = {m: _missing(origin, m, values) for m, values in inputs.items()}
    missing |= {m: lacks_tokens(values, kinds[m]) for m, values in ids.items()}
    found = with_gaps(origin, inputs | ids, missing, targets, classes, groups, options.solved, kinds)
    kinds_of_all = options.kinds(kinds, {m: found.shape(m) for m in found.inputs})
    return replace(found, weights=weights, official=official, kinds=kinds_of_all)


# tokens


def _ids(
    origin: Origin, left: dict[str, NDArray[Any]], options: ArrayOptions, samples: int, hold: Hold | None
) -> tuple[dict[Modality, Values], dict[Modality, Tokens]]:
    """The ids of all modalities of tokens, whose arrays are taken out of those that are left."""
    found, kinds = dict[Modality, Values](), dict[Modality, Tokens]()
    for m, text in options.text.items():
        name = text.column or m
        array = _taken(origin, left, name, f"data.text.{m}", samples)
        if not is_text(array):
            raise origin.fault(name, f"is {array.dtype} with {array.ndim} axes", "give one text for each sample")
        texts = [None if each is None else str(each) for each in array.tolist()]
        found[m], kinds[m] = text.read(m, texts, _by_row(origin, name))
    for m, each in options.tokens.items():
        array = _taken(origin, left, m, f"data.tokens.{m}", samples)
        found[m], kinds[m] = _read_ids(origin, m, array, each, hold)
    if left and (both := sorted(found.keys() & left.keys())):
        raise origin.fault(both[0], "is called as a modality of texts", "give each modality a name of its own")
    return found, kinds


def _taken(origin: Origin, left: dict[str, NDArray[Any]], name: str, key: str, samples: int) -> NDArray[Any]:
    if name not in left:
        raise ConfigError(f"{key}: {origin.where} has no {origin.noun} {name!r}; {nearest(name, left)}")
    _refuse_other_length(origin, name, left[name], samples)
    return left.pop(name)


def _read_ids(
    origin: Origin, name: Modality, array: NDArray[Any], options: TokenOptions, hold: Hold | None
) -> tuple[Values, Tokens]:
    kind, fault = options.kind(name), _by_row(origin, name)
    if array.dtype == object and array.ndim == 1:
        return options.read(array.tolist(), kind, fault)
    if array.dtype.kind not in "iu" or array.ndim != 2 or not array.size:
        wrong = f"is {array.dtype} of shape {array.shape}"
        raise origin.fault(name, wrong, f"give ids as whole numbers (N, length) from 0 to {kind.vocabulary - 1}")
    refuse_beyond(array, kind, fault)
    if options.length not in (None, array.shape[1]):
        if hold is not None:
            wrong = f"has {array.shape[1]} ids per sample, and data.tokens.{name}.length is {options.length}"
            raise origin.fault(name, wrong, "leave length out, or data.lazy")
        return options.read(array.tolist(), kind, fault)
    return np.array(array, np.int64, order="C") if hold is None else hold(name, array, False, kind.padding), kind


def _by_row(origin: Origin, name: str) -> Callable[[int, str, str], ConfigError]:
    return lambda row, wrong, remedy: origin.fault(name, f"{wrong} in row {row}, from 0", remedy)


def lacks_tokens(values: Values, kind: Tokens) -> NDArray[np.bool_]:
    """The samples of ids (N, length) that are padding alone, (N,)."""
    some = pieces(values) if isinstance(values, LazyInput) else [torch.from_numpy(values)]
    return np.concatenate([(piece == kind.padding).all(1).numpy() for piece in some])


# groups, weights, and who is tested


class Groups(NamedTuple):
    """The natural client of each sample, int64 (N,), and what each is called by its number, where by another name."""

    numbers: Tensor
    names: tuple[str, ...] = ()


def numbered_groups(origin: Origin, groups: NDArray[Any], name: str, samples: int) -> Groups:
    """The natural client of each sample: its number as it is, or that of its name in sorted order."""
    refuse_unless_labels(origin, name, groups)
    _refuse_other_length(origin, name, groups, samples)
    if groups.dtype.kind in "iu":
        return Groups(torch.from_numpy(groups.astype(np.int64)))
    names, numbers = np.unique(groups, return_inverse=True)
    texts = (each.decode(errors="replace") if isinstance(each, bytes) else str(each) for each in names.tolist())
    return Groups(torch.from_numpy(numbers.astype(np.int64)), tuple(texts))


def official_test(origin: Origin, values: NDArray[Any], name: str, samples: int) -> Tensor:
    """Which samples are the official test set, bool (N,): by true and false, 1 and 0, or test and train.

    Other texts than test, as of a split to validate with, are for training. Raises ConfigError for what says neither.
    """
    refuse_unless_labels(origin, name, values)
    _refuse_other_length(origin, name, values, samples)
    if values.dtype.kind == "b":
        return torch.from_numpy(values.copy())
    texts = (each.decode(errors="replace") if isinstance(each, bytes) else str(each) for each in values.tolist())
    said = np.array([text.strip().lower() for text in texts])
    for row in np.flatnonzero(~np.isin(said, [*TESTED, *KEPT])).tolist():
        wrong = f"says {values[row]!s} in row {row}, from 0"
        raise origin.fault(name, wrong, "say true, 1 or test of what is tested, and false, 0 or train of all else")
    return torch.from_numpy(np.isin(said, TESTED))


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


def _groups(origin: Origin, groups: NDArray[Any] | None, name: str, samples: int) -> Groups | None:
    if groups is None and name != GROUPS:
        raise origin.fault(name, "is missing", "correct data.group, or leave it out where there are no groups")
    return None if groups is None else numbered_groups(origin, groups, name, samples)


# inputs


def with_gaps(
    origin: Origin, inputs: Mapping[Modality, Values], missing: Mapping[Modality, NDArray[np.bool_]],
    targets: Tensor, classes: tuple[str, ...], groups: Groups | None, task: Task, kinds: Kinds = NO_KINDS,
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
    filled = {m: _zero_where(lacks, inputs[m], padding_of(kinds, m)) for m, lacks in missing.items()}
    numbers, names = groups if groups is not None else (None, ())
    return Dataset(
        origin.name, filled, targets, len(classes), numbers, labels=classes, present=present, task=task, kinds=kinds,
        group_names=names,
    )  # fmt: skip


def _zero_where(lacks: NDArray[np.bool_], values: Values, padding: int | None) -> Input:
    if isinstance(values, LazyInput):
        return replace(values, missing=torch.from_numpy(lacks)) if lacks.any() else values
    values[lacks] = padding or 0
    return torch.from_numpy(values)


def _is_channels_last(
    origin: Origin, name: str, array: NDArray[Any], samples: int, layout: Mapping[Modality, str]
) -> bool:
    """Whether channels are the last axis of an array. Raises ConfigError for one of another type, shape or length."""
    if array.dtype.kind not in "fiub" or array.ndim not in (2, 3, 4):
        wrong = f"is {array.dtype} with {array.ndim} axes"
        texts = is_text(array) and "name it in data.text, or "
        remedy = f"{texts or ''}give numbers as (N,F) vectors, (N,C,T) series or (N,C,H,W) images"
        raise origin.fault(name, wrong, remedy)
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


def lacks_all(values: NDArray[Any]) -> NDArray[np.bool_]:
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
