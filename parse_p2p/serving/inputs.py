"""What a model is asked about: arrays of anybody, so each is checked before a network reads it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from parse_p2p.core.errors import ConfigError, nearest
from parse_p2p.core.types import Modality
from parse_p2p.data.schema import ModalitySchema

Given = NDArray[Any] | Tensor


def checked(inputs: Mapping[str, Given], modalities: Mapping[Modality, ModalitySchema]) -> dict[Modality, Tensor]:
    """The inputs as float32 on the CPU, each (N, *shape), with as many rows.

    Raises ConfigError, naming the modality, for what is none, has another shape, is no number or not finite.
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
    return {m: found[m] for m in modalities if m in found}


def _numbers(name: str, given: Given, wanted: ModalitySchema) -> Tensor:
    x = torch.from_numpy(_native(name, given)) if isinstance(given, np.ndarray) else given
    if not isinstance(x, Tensor) or x.is_complex():
        what = x.dtype if isinstance(x, Tensor) else type(given).__name__
        raise ConfigError(f"inputs: {name!r} is {what}; give a numpy array or a tensor of numbers")
    if tuple(x.shape[1:]) != wanted.shape or x.ndim != len(wanted.shape) + 1:
        one = " (of one sample, x[None])" if tuple(x.shape) == wanted.shape else ""
        shape = ", ".join(map(str, wanted.shape))
        raise ConfigError(f"inputs: {name!r} has the shape {list(x.shape)}; give [rows, {shape}]{one}: {wanted}")
    numbers = x.detach().to("cpu", torch.float32)
    if not bool(numbers.isfinite().all()):
        raise ConfigError(f"inputs: {name!r} holds values that are NaN or infinite in float32; fill or drop those rows")
    return numbers


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
