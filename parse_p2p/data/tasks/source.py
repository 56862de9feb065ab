"""What a source says of its targets, and where it has them from: before anybody knows what is in them."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema

from parse_p2p.core import plugins
from parse_p2p.core.errors import ConfigError, DataWarning, nearest
from parse_p2p.core.plugin_options import Named, sentence

LARGEST_NUMBER = 10**6
"""Of a class that is named by its number: beyond are wrapped -1 and other marks of what has no class."""

LOST = 1e-3
"""Of a deviation, by which float32 may round."""


def as_name(value: Any) -> Any:
    """What YAML reads as a number or a truth value, as labels are called."""
    return str(value).lower() if isinstance(value, int) else value


def _as_names(value: Any, what: str) -> tuple[Any, ...]:
    names = tuple(map(as_name, value)) if isinstance(value, list | tuple) else ()
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise sentence(f"the {what} {twice[0]!r} stands here twice; name each once")
    return names


def _as_classes(value: Any) -> Any:
    """Their number, or their names."""
    names = _as_names(value, "class")
    number = isinstance(value, int) and not isinstance(value, bool) and 1 < value <= LARGEST_NUMBER
    if value is not None and not number and not (len(names) > 1 and all(isinstance(name, str) for name in names)):
        raise sentence(f"give how many classes there are, 2 to {LARGEST_NUMBER}, or a list of their names")
    return names or value


def _as_outputs(value: Any) -> Any:
    return _as_names(value if isinstance(value, list | tuple) else [value], "output")


def _as_target(value: Any) -> Any:
    """One name, or several: a list of one is that one."""
    if not isinstance(value, list | tuple):
        return as_name(value)
    names = _as_names(value, "target")
    if not names or not all(isinstance(name, str) for name in names):
        raise sentence("give the name of what holds the target of each sample, or a list of such names")
    return names if len(names) > 1 else names[0]


def _as_task(value: Any) -> Any:
    """A name of the package's own: what anybody exported must not have a module run that it names."""
    if isinstance(value, str) and plugins.ones_own(value):
        raise sentence(f"there is no task {value!r}: {nearest(value, plugins.names(plugins.TASKS))}")
    return value


TaskName = Annotated[str, BeforeValidator(_as_task), Named(plugins.TASKS)]
NAME = {"type": ["string", "integer", "boolean"]}
NAMES = {"type": "array", "items": NAME, "minItems": 1}
Name = Annotated[str, BeforeValidator(as_name), WithJsonSchema(NAME)]
Target = Annotated[str | tuple[str, ...], BeforeValidator(_as_target), WithJsonSchema({"anyOf": [NAME, NAMES]})]
Outputs = Annotated[tuple[str, ...], BeforeValidator(_as_outputs), WithJsonSchema({"anyOf": [NAME, NAMES]})]
Classes = Annotated[
    int | tuple[str, ...] | None,
    BeforeValidator(_as_classes),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 2}, NAMES | {"minItems": 2}]}),
]


class TargetOptions(BaseModel, extra="forbid", frozen=True):
    """What the targets are, and how the file calls them."""

    task: TaskName = Field(
        "classification", description="what a target is: classification, multi-label (0 or 1 of each) or regression"
    )
    target: Target = Field(
        "y", description="the name of what holds the target of each sample; several where they are 0 or 1, or numbers"
    )
    labels: dict[Name, Name] = Field({}, description="the class that a label of the file means, where not itself")
    classes: Classes = Field(
        None, description="the names of all classes, or their number where they are 0, 1, … (default: those found)"
    )
    outputs: Outputs = Field(
        (), description="for regression: what the numbers are called, in order (default: as their columns)"
    )
    weight: Name | None = Field(
        None, description="the name of what holds how much each sample counts in the loss (default: all alike)"
    )
    official: Name | None = Field(
        None,
        description="the name of what says which samples are the official test set, by true, 1 or test: for test: "
        "official of the run",
    )

    @property
    def beside(self) -> tuple[str, ...]:
        """The names of what else is said of samples that is neither an input nor a target."""
        return tuple(name for name in (self.weight, self.official) if name is not None)

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of all that holds targets."""
        return (self.target,) if isinstance(self.target, str) else self.target

    @property
    def solved(self) -> Any:
        """The ``Task``, by nothing but its kind."""
        return plugins.load(plugins.TASKS, self.task)()


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


def numbers(
    origin: Origin, columns: Mapping[str, NDArray[Any]], given: Sequence[str], key: str
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Columns of numbers (N,) or (N, K) side by side, and the names of all: as ``given`` under a key, or their own.

    Raises ConfigError, naming the column, for what is no number or not finite, and for names that are not as many.
    """
    blocks = [_block(origin, name, values, key) for name, values in columns.items()]
    for name, block in zip(columns, blocks, strict=True):
        if len(block) != len(blocks[0]):
            first = next(iter(columns))
            wrong = f"has {len(block)} rows, but {first} has {len(blocks[0])}"
            raise origin.fault(name, wrong, "give one row per sample in each")
    found = np.concatenate(blocks, axis=1)
    own = [each for (name, values), block in zip(columns.items(), blocks, strict=True)
           for each in _names(name, values.ndim, block.shape[1], len(columns) > 1)]  # fmt: skip
    if given and len(given) != len(own):
        raise ConfigError(
            f"data.{key} names {len(given)}, and {origin.where} has {len(own)} for each sample ({', '.join(own[:5])}); "
            "name each"
        )
    return found, tuple(given) or tuple(own)


def _names(column: str, axes: int, width: int, several: bool) -> list[str]:
    """Of what is in a column: its own, or numbers from 0."""
    return [column] if axes == 1 else [f"{column}{k}" if several else str(k) for k in range(width)]


def _block(origin: Origin, name: str, values: NDArray[Any], key: str) -> NDArray[np.float32]:
    if values.dtype.kind not in "fiub" or values.ndim not in (1, 2):
        wrong = f"is {values.dtype} with {values.ndim} axes"
        each = "numbers as (N,) or (N, outputs)" if key == "outputs" else "0 and 1 as (N,) or (N, labels)"
        raise origin.fault(name, wrong, f"give {each}, or leave out data.task where it is a class")
    if values.size == 0:
        raise origin.fault(name, "is empty", "give at least one sample")
    with np.errstate(over="ignore"):
        block = np.array(values, np.float32).reshape(len(values), -1)
    for row in np.flatnonzero(~np.isfinite(block).all(1)).tolist():
        wrong = f"has a target that is NaN or infinite in float32 in row {row}, from 0"
        raise origin.fault(name, wrong, "leave out the row: what is not known cannot be learnt from")
    _warn_of_lost_digits(origin, name, values, block)
    return block


def _warn_of_lost_digits(origin: Origin, name: str, values: NDArray[Any], block: NDArray[np.float32]) -> None:
    """Say so where float32 rounds by more than a thousandth of the deviation, as beside a large offset."""
    exact = values.reshape(len(values), -1).astype(np.float64)
    lost, deviation = np.abs(exact - block).max(0), exact.std(0)
    if ((LOST * deviation < lost) & (np.ptp(exact, 0) > 0)).any():
        said = (
            f"{origin.noun} {name!r} of {origin.where} varies too little for float32 around a mean of "
            f"{exact.mean(0)[int(np.argmax(lost))]:.4g}, and loses digits: subtract a constant first"
        )
        warnings.warn(said, DataWarning, stacklevel=2)
