"""What a model is asked about: arrays of anybody, or texts, so each is checked before a network reads it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from parse_p2p.core.errors import ConfigError, nearest
from parse_p2p.core.types import Modality
from parse_p2p.data.base import Present
from parse_p2p.data.kinds import Tokens
from parse_p2p.data.schema import ModalitySchema
from parse_p2p.data.sources.tokens import as_objects, holds_text, is_text, refuse_beyond
from parse_p2p.data.tokenizer import Tokenizer

Given = NDArray[Any] | Tensor | Sequence[str]

NO_TOKENIZERS: Mapping[Modality, Tokenizer] = {}


def checked(
    inputs: Mapping[str, Given],
    modalities: Mapping[Modality, ModalitySchema],
    present: Mapping[str, Given] | None = None,
    tokenizers: Mapping[Modality, Tokenizer] = NO_TOKENIZERS,
) -> tuple[dict[Modality, Tensor], Present]:
    """The inputs on the CPU, each (N, *shape), with as many rows, and which rows have them.

    They are float32, of tokens int64: ids, or N texts where the tokenizer is known. ``present[m]`` says which rows have
    a modality, bool (N,), where not all have it; what stands in the others is not read. Raises ConfigError, naming the
    modality, for what is none, has another shape, is no number or not finite.
    """
    if not isinstance(inputs, Mapping) or not inputs:
        some = next(iter(modalities))
        raise ConfigError(f"inputs: give arrays by modality, as {{{some!r}: x}}; the model has {', '.join(modalities)}")
    found = {}
    for name, given in inputs.items():
        if name not in modalities:
            raise ConfigError(f"inputs: the model has no modality {name!r}: {nearest(str(name), modalities)}")
        wanted = modalities[Modality(name)]
        if wanted.kind != "tokens":
            found[Modality(name)] = _numbers(name, given, wanted)
            continue
        if not hasattr(given, "__len__") or isinstance(given, str) or getattr(given, "ndim", 1) == 0:
            raise ConfigError(
                f"inputs: {name!r} is {type(given).__name__}; give a list of texts, or ids by row: {wanted}"
            )
        has = _has(given, (present or {}).get(name))
        found[Modality(name)] = _ids(name, given, wanted, tokenizers.get(Modality(name)), has)
    _refuse_unequal({m: len(x) for m, x in found.items()})
    there = {Modality(name): _flags(name, given, found) for name, given in (present or {}).items()}
    if there and len(there) == len(found) and not bool(torch.stack(list(there.values())).any(0).all()):
        raise ConfigError("present: a row has none of the modalities; leave it out")
    for m, flags in there.items():
        nothing = modalities[m].padding or 0
        found[m] = torch.where(flags.view(-1, *[1] * (found[m].ndim - 1)), found[m], nothing)
    for m, x in found.items():
        if not bool(x.isfinite().all()):
            raise ConfigError(
                f"inputs: {m!r} holds values that are NaN or infinite in float32; fill or drop those rows"
            )
    return {m: found[m] for m in modalities if m in found}, there


def _numbers(name: str, given: Given, wanted: ModalitySchema) -> Tensor:
    x: Any = torch.from_numpy(_native(name, given)) if isinstance(given, np.ndarray) else given
    if not isinstance(x, Tensor) or x.is_complex():
        what = x.dtype if isinstance(x, Tensor) else type(given).__name__
        raise ConfigError(f"inputs: {name!r} is {what}; give a numpy array or a tensor of numbers")
    if tuple(x.shape[1:]) != wanted.shape or x.ndim != len(wanted.shape) + 1:
        one = " (of one sample, x[None])" if tuple(x.shape) == wanted.shape else ""
        shape = ", ".join(map(str, wanted.shape))
        raise ConfigError(f"inputs: {name!r} has the shape {list(x.shape)}; give [rows, {shape}]{one}: {wanted}")
    return x.detach().to("cpu", torch.float32, copy=True)  # a network may change what it is given


def _array(given: Given) -> NDArray[Any]:
    if isinstance(given, Tensor):
        return given.detach().cpu().numpy()
    if isinstance(given, list | tuple) and any(isinstance(each, str) for each in given):
        return as_objects(given)  # numpy would take a number for a text, and give all the room of the longest
    return np.asarray(given)


def _has(given: Given, flags: Given | None) -> NDArray[np.bool_]:
    """Which rows are said to have something, all where nothing is said or what is said does not fit."""
    said = None if flags is None else np.asarray(flags)
    fits = said is not None and said.dtype == np.bool_ and said.shape == (len(given),)
    return said if said is not None and fits else np.ones(len(given), bool)


def _ids(
    name: str, given: Given, wanted: ModalitySchema, tokenizer: Tokenizer | None, has: NDArray[np.bool_]
) -> Tensor:
    """Ids (N, length) of what is given as such, or of texts; what stands in rows that have nothing is not read."""
    assert wanted.vocabulary is not None and wanted.padding is not None

    def fault(row: int, wrong: str, remedy: str) -> ConfigError:
        return ConfigError(f"inputs: {name!r} {wrong} in row {row}, from 0; {remedy}")

    try:
        array = _array(given)
    except ValueError:
        remedy = "fill or cut them to one length, or give texts"
        raise ConfigError(f"inputs: the rows of {name!r} have different lengths; {remedy}: {wanted}") from None
    if is_text(array):
        if tokenizer is None:
            which = (
                f"the tokenizer {wanted.tokenizer} is not kept beside the model"
                if wanted.tokenizer
                else "no tokenizer is known"
            )
            raise ConfigError(f"inputs: {name!r} holds texts, and {which}; give ids: {wanted}")
        texts = [None if not there else str(text or "") for text, there in zip(array.tolist(), has, strict=True)]
        return torch.from_numpy(tokenizer.encoded(texts, wanted.shape[0], wanted.padding, fault)[0])
    if array.dtype == object and any(isinstance(each, str) for each in array.flat):
        raise ConfigError(f"inputs: {name!r} holds texts and something else; give one text for each row")
    if array.dtype.kind not in "iu" or array.shape[1:] != wanted.shape or array.ndim != 2:
        raise ConfigError(
            f"inputs: {name!r} is {array.dtype} of shape {list(array.shape)}; give ids as whole numbers "
            f"[rows, {wanted.shape[0]}]{', or texts' if tokenizer else ''}: {wanted}"
        )
    kind, rows = Tokens(wanted.vocabulary, wanted.padding), np.flatnonzero(has)
    refuse_beyond(array[rows], kind, lambda row, wrong, remedy: fault(int(rows[row]), wrong, remedy))
    for row in np.flatnonzero((array == kind.padding).all(1) & has).tolist():
        raise fault(row, "has nothing but padding", "leave it out, or say with present that the row lacks it")
    found = np.full(array.shape, kind.padding, np.int64)
    found[rows] = array[rows]
    return torch.from_numpy(found)


def _flags(name: str, given: Given, inputs: Mapping[Modality, Tensor]) -> Tensor:
    """Which rows have a modality, bool (N,)."""
    if name not in inputs:
        raise ConfigError(f"present: there are no inputs of {name!r}: {nearest(str(name), inputs)}")
    flags, rows = given if isinstance(given, Tensor) else np.asarray(given), len(inputs[Modality(name)])
    if flags.dtype not in (torch.bool, np.bool_) or tuple(flags.shape) != (rows,):
        shape = list(flags.shape)
        raise ConfigError(f"present: {name!r} is {flags.dtype} of shape {shape}; give true or false for each row")
    return torch.as_tensor(flags).cpu()


def _native(name: str, given: NDArray[Any]) -> NDArray[Any]:
    """The array in a type that torch knows: data sets are float32 too when they are scaled."""
    if given.dtype.kind not in "fiub":
        wrong = "holds texts" if holds_text(given.ravel().tolist()) else f"is {given.dtype}"
        raise ConfigError(f"inputs: {name!r} {wrong}; give numbers")
    with np.errstate(over="ignore"):
        return np.array(given, np.float32, order="C")


def _refuse_unequal(rows: Mapping[Modality, int]) -> None:
    first = next(iter(rows))
    for m, count in rows.items():
        if count != rows[first]:
            raise ConfigError(f"inputs: {first!r} has {rows[first]} rows and {m!r} has {count}; give as many of each")
