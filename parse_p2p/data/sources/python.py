"""Samples that a function or a class of one's own gives: a Dataset, arrays by name, or a torch Dataset.

The items of a torch Dataset, or of any sequence, are ``(inputs, label)`` or mappings that hold the label too. They are
read once.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from parse_p2p.core.errors import ConfigError, P2PError, cause, nearest
from parse_p2p.core.plugins import current_folder, imported
from parse_p2p.core.types import Modality
from parse_p2p.data.base import Dataset
from parse_p2p.data.kinds import Tokens
from parse_p2p.data.lazy import in_memory
from parse_p2p.data.sources import huggingface
from parse_p2p.data.sources.arrays import ArrayOptions, from_arrays, sample_weights
from parse_p2p.data.sources.tokens import as_objects, refuse_beyond
from parse_p2p.data.tasks.source import Origin

Arrays = dict[str, NDArray[Any]]

Item = Mapping[str, NDArray[Any] | None]
"""One sample; None of a modality that it lacks."""

IN_MEMORY = "data"
"""In place of an object's name, where there is none."""


class Options(ArrayOptions):
    """What gives the samples, and what they are."""

    object: str = Field(description="function or class that gives the samples, such as mypackage.data:make")
    arguments: dict[str, Any] = Field({}, description="what it is called with, by name")
    modality: Modality | None = Field(None, description="the name of the input, where items are (tensor, label)")

    @property
    def named_kinds(self) -> set[str]:
        """The names of what holds ids of tokens or texts, of any length."""
        return {*self.tokens, *(each.column or m for m, each in self.text.items())}


def open(options: Options, seed: int) -> Dataset:
    """A Dataset as it is given, anything else as arrays with that name. The seed is not used.

    Raises ConfigError where the object is not there, fails, or gives what is no samples.
    """
    with current_folder():
        function = _found(options.object)
        with _blamed(options), redirect_stdout(sys.stderr):  # what we print may be read by programs
            made = function(**options.arguments)
        return _dataset(made, options)


def samples(source: Any, **options: Any) -> Dataset:
    """What ``parse_p2p.run`` learns from: a Dataset, arrays by name, or a torch Dataset or any sequence of items.

    ``options`` are those of arrays (``task``, ``target``, ``labels``, ``classes``, ``outputs``, ``group``, ``weight``,
    ``layout``, ``text``, ``tokens``, ``embeddings``) and ``modality``, the name of the input where items are
    ``(tensor, label)``; of a data set of the library ``datasets`` those of the source ``huggingface``. Raises
    ConfigError for what is no samples, and pydantic's ValidationError for options that there are not.
    """
    if huggingface.is_one(source):
        where = Path(IN_MEMORY)
        return huggingface.from_columns(source, where, huggingface.Options(path=where, **options))
    return _dataset(source, Options(object=IN_MEMORY, **options))


def _dataset(made: Any, options: Options) -> Dataset:
    if isinstance(made, Dataset):
        return _as_it_is(options, made)
    return from_arrays(_arrays(options, made), options.object, options)


@contextmanager
def _blamed(options: Options, where: str = "") -> Iterator[None]:
    """What their code raises becomes a sentence."""
    try:
        yield
    except P2PError:
        raise
    except (Exception, SystemExit) as error:
        raise _fault(options, f"raised {cause(error)}{where}", "correct it or data.arguments") from error


def _as_it_is(options: Options, made: Dataset) -> Dataset:
    for name, field in ArrayOptions.model_fields.items():
        if getattr(options, name) != field.default:
            raise _fault(options, "gave a Dataset, which is taken as it is", f"leave out data.{name}")
    inputs = {m: x.contiguous() if _are_ids(options, made, m, x) else x.float().contiguous()
              for m, x in made.in_memory().items()}  # fmt: skip
    converted = replace(made, inputs=inputs, targets=made.task.converted(made.targets))
    if made.weights is not None:
        where = Origin(options.object, noun="item")
        converted = replace(converted, weights=sample_weights(where, made.weights.numpy(), "weights", len(made)))
    for m in inputs:
        if bad := int((~in_memory(converted.having(m)).isfinite()).sum()):
            raise _fault(
                options, f"gave {bad} values of {m!r} that are NaN or infinite in float32", "fill or drop them"
            )
    return converted


def _are_ids(options: Options, made: Dataset, modality: Modality, x: Tensor) -> bool:
    """Whether a modality is tokens. Raises ConfigError where one is not in the vocabulary."""
    kind = made.kinds.get(modality)
    if not isinstance(kind, Tokens):
        return False
    refuse_beyond(
        x.numpy(),
        kind,
        lambda row, wrong, remedy: _fault(options, f"gave a Dataset whose {modality!r} {wrong} in row {row}", remedy),
    )
    return True


def _found(dotted: str) -> Any:
    """The object of this name, ``package.module:name`` or with a dot before the name."""
    place, _, name = dotted.rpartition(":" if ":" in dotted else ".")
    try:
        module = imported(place)
    except ModuleNotFoundError:
        raise ConfigError(
            f"data.object: there is no module {place!r} for {dotted!r}, installed or in this folder; write "
            "package.module:name"
        ) from None
    if not hasattr(module, name):
        known = [each for each, value in vars(module).items() if callable(value) and not each.startswith("_")]
        raise ConfigError(f"data.object: the module {place!r} has no {name!r}; {nearest(name, known)}")
    return getattr(module, name)


def _arrays(options: Options, made: Any) -> Arrays:
    if isinstance(made, Mapping):
        named = options.named_kinds
        with _blamed(options):
            return {
                # numpy would take a number among texts for one, and give all texts the room of the longest
                str(name): as_objects(values) if name in named and isinstance(values, list | tuple) else _array(values)
                for name, values in made.items()
            }
    if hasattr(made, "__len__") and hasattr(made, "__getitem__"):
        return _stacked(options, [_item(options, made, i) for i in range(len(made))])
    remedy = "give a Dataset, a mapping of arrays by name, or a torch Dataset with __len__ and __getitem__"
    raise _fault(options, f"gave {_kind(made)}", remedy)


def _array(values: Any) -> NDArray[Any]:
    if not isinstance(values, Tensor):
        return np.asarray(values)
    tensor = values.detach().cpu()
    # numpy has no bfloat16
    return np.asarray(tensor.float() if tensor.is_floating_point() else tensor)


def _item(options: Options, items: Any, i: int) -> Item:
    labels = (*options.targets, options.group, *options.beside)
    with _blamed(options, f" at item {i}"):
        return {
            str(name): None if values is None and name not in labels else _array(values)
            for name, values in _by_name(options, items[i], i).items()
        }


def _by_name(options: Options, item: Any, i: int) -> Mapping[str, Any]:
    """Inputs and label of an item under their names."""
    if isinstance(item, Mapping):
        return item
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise _fault(options, f"gave {_kind(item)} as item {i}", "give (inputs, label) or a mapping with the label")
    inputs, label = item
    if not isinstance(options.target, str):
        wrong = f"gave (inputs, label) as item {i}, and data.target names {len(options.target)}"
        raise _fault(options, wrong, "give mappings that hold each, or one vector as the label")
    if isinstance(inputs, Mapping):
        return {**inputs, options.target: label}
    if options.modality is None:
        wrong = f"gave {_kind(inputs)} without a name before the label of item {i}"
        raise _fault(options, wrong, "name it with data.modality")
    return {options.modality: inputs, options.target: label}


def _stacked(options: Options, items: Sequence[Item]) -> Arrays:
    """One array per name; a number is a vector of one. Raises ConfigError for an item that is not as the first."""
    if not items:
        raise _fault(options, "gave no items", "give at least one")
    for i, item in enumerate(items):
        if item.keys() != items[0].keys():
            names, others = (", ".join(sorted(each)) for each in (item, items[0]))
            remedy = "give the same in each, None where one lacks a modality"
            raise _fault(options, f"gave {names} as item {i}, but {others} as item 0", remedy)
    stacked = {name: _column(options, name, [item[name] for item in items]) for name in items[0]}
    labels = (*options.targets, options.group, *options.beside, *options.named_kinds)
    return {name: each[:, None] if each.ndim == 1 and name not in labels else each for name, each in stacked.items()}


def _column(options: Options, name: str, values: Sequence[NDArray[Any] | None]) -> NDArray[Any]:
    """The values of all items, NaN of those that lack them."""
    if name in options.named_kinds:
        return as_objects(None if each is None else each.tolist() for each in values)
    first, shape = next(((i, each.shape) for i, each in enumerate(values) if each is not None), (0, None))
    if shape is None:
        raise _fault(options, f"gave None for {name!r} in every item", "leave it out")
    for i, each in enumerate(values):
        if each is not None and each.shape != shape:
            wrong = f"gave {name!r} of shape {each.shape} as item {i}, but {shape} as item {first}"
            raise _fault(options, wrong, "cut or pad them to one shape")
    return np.stack([np.full(shape, np.nan, np.float32) if each is None else each for each in values])


def _kind(value: Any) -> str:
    return f"an object of type {type(value).__name__}"


def _fault(options: Options, wrong: str, remedy: str) -> ConfigError:
    who = "data" if options.object == IN_MEMORY else f"data.object: {options.object!r}"
    return ConfigError(f"{who} {wrong}; {remedy}")
