"""What a model is asked about: arrays of anybody, so each is checked before a network reads it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from parse_p2p.core.errors import ConfigError, nearest
from parse_p2p.core.types import Modality
from parse_p2p.data.base import Present
from parse_p2p.data.schema import ModalitySchema

Given = NDArray[Any] | Tensor


def checked(
    inputs: Mapping[str, Given],
    modalities: Mapping[Modality, ModalitySchema],
    present: Mapping[str, Given] | None = None,
) -> tuple[dict[Modality, Tensor], Present]:
    """The inputs as float32 on the CPU, each (N, *shape), with as many rows, and which rows have them.

    ``present[m]`` says which rows have a modality, bool (N,), where not all have it; what stands in the others is not
    read. Raises ConfigError, naming the modality, for what is none, has another shape, is no number or not finite.
    """
    if not isinstance(inputs, Mapping) or not inputs:
        some = next(iter(modalities))
        raise ConfigError(f"inputs: give arrays by modality, as {{{some!r}: x}}; the model has {', '.join(modalities)}")
    found = {}
    for name, given in inputs.items():
        if name not in modalities:
            raise ConfigError(f"inputs: the model has no modality {name!r}: {nearest(str(name), modalities)}")
        found[Modality(name)] = _numbers(name, given, modalities[Modality(name)])
    _refuse_unequal({m: len(x) for m, x in found.items()})
    there = {Modality(name): _flags(name, given, found) for name, given in (present or {}).items()}
    if there and len(there) == len(found) and not bool(torch.stack(list(there.values())).any(0).all()):
        raise ConfigError("present: a row has none of the modalities; leave it out")
    for m, flags in there.items():
        found[m] = torch.where(flags.view(-1, *[1] * (found[m].ndim - 1)), found[m], 0.0)
    for m, x in found.items():
        if not bool(x.isfinite().all()):
            raise ConfigError(
                f"inputs: {m!r} holds values that are NaN or infinite in float32; fill or drop those rows"
            )
    return {m: found[m] for m in modalities if m in found}, there


def _numbers(name: str, given: Given, wanted: ModalitySchema) -> Tensor:
    x = torch.from_numpy(_native(name, given)) if isinstance(given, np.ndarray) else given
    if not isinstance(x, Tensor) or x.is_complex():
        what = x.dtype if isinstance(x, Tensor) else type(given).__name__
        raise ConfigError(f"inputs: {name!r} is {what}; give a numpy array or a tensor of numbers")
    if tuple(x.shape[1:]) != wanted.shape or x.ndim != len(wanted.shape) + 1:
        one = " (of one sample, x[None])" if tuple(x.shape) == wanted.shape else ""
        shape = ", ".join(map(str, wanted.shape))
        raise ConfigError(f"inputs: {name!r} has the shape {list(x.shape)}; give [rows, {shape}]{one}: {wanted}")
    return x.detach().to("cpu", torch.float32, copy=True)  # a network may change what it is given


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
        raise ConfigError(f"inputs: {name!r} is {given.dtype}; give numbers")
    with np.errstate(over="ignore"):
        return np.array(given, np.float32, order="C")


def _refuse_unequal(rows: Mapping[Modality, int]) -> None:
    first = next(iter(rows))
    for m, count in rows.items():
        if count != rows[first]:
            raise ConfigError(f"inputs: {first!r} has {rows[first]} rows and {m!r} has {count}; give as many of each")
