"""What a task is: what stands for the answer of a sample, how far off a network is, and how that is said and scored.

A file of this folder with such a class as ``TASK`` is a task. Shapes: B samples, N all of a data set, K the outputs
of a network, one for each class, label or number.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, Self

import torch
from numpy.typing import NDArray
from torch import Tensor

from parse_p2p.core.errors import ConfigError
from parse_p2p.data.tasks.source import Origin, TargetOptions

Reduction = Literal["mean", "sum", "none"]

SHOWN = 5
"""How many of many a sentence names."""


class Samples(Protocol):
    """What a score is taken of: a data set."""

    @property
    def targets(self) -> Tensor:
        """As the task says."""

    def chances(self, said: Tensor) -> Tensor:
        """How likely each class is the one said of its sample."""


@dataclass(frozen=True)
class Task:
    """Of every agent of a run. Its words are shown to people; ``key`` stands for the score in tables and JSON.

    ``names`` is the key of a schema and of a source with the names of the outputs, ``one_class`` says that a target is
    a class, which strata, partitions and some losses need; ``numbers`` that targets are read as numbers.
    """

    name: ClassVar[str]
    score: ClassVar[str]
    key: ClassVar[str]
    loss_name: ClassVar[str]
    loss_key: ClassVar[str]
    unit: ClassVar[str] = ""
    one: ClassVar[str] = "class"
    several: ClassVar[str] = "classes"
    figure: ClassVar[str]  # the chief one of ``details``
    figures: ClassVar[str]  # what a table calls outputs that have it beside them
    names: ClassVar[str] = "classes"
    output: ClassVar[str] = "probabilities"
    one_class: ClassVar[bool] = False
    numbers: ClassVar[bool] = True

    @classmethod
    def of(cls, names: Sequence[str], scales: Mapping[str, Any]) -> Self:
        """The task with outputs of these names. Raises ValueError where there are too few, or they are not scaled."""
        if scales:
            raise ValueError(f"targets are numbers to scale by, and those of {cls.name} are none; leave targets out")
        return cls()

    @property
    def loss_shown(self) -> str:
        """What its loss is called where it stands beside figures in the units of the targets."""
        return self.loss_name

    def read(
        self, origin: Origin, columns: Mapping[str, NDArray[Any]], options: TargetOptions
    ) -> tuple[Tensor, tuple[str, ...]]:
        """Targets and the names of the outputs, of arrays that nobody has checked. Raises ConfigError."""
        raise NotImplementedError

    def converted(self, targets: Tensor) -> Tensor:
        """Targets in their type and shape: float32 (N, K)."""
        return targets.float().reshape(len(targets), -1)

    def wrong(self, targets: Tensor, outputs: int) -> str:
        """What targets have that they must not, for a sentence; nothing where all is right."""
        if targets.ndim != 2 or targets.shape[1] != outputs or targets.dtype != torch.float32:
            return f"targets {targets.dtype} {list(targets.shape)}, which are float32 (N, {outputs}) for {self.name}"
        return "" if bool(targets.isfinite().all()) else "targets that are NaN or infinite"

    def needed(self, targets: Tensor, names: Sequence[str]) -> list[str]:
        """The names of the outputs that targets speak of: all."""
        return list(names)

    def ordered(self, targets: Tensor, given: Sequence[str], names: Sequence[str]) -> Tensor:
        """Targets of outputs that are called as ``given``, for outputs in the order of ``names``, which has them."""
        return targets if tuple(given) == tuple(names) else targets[:, [list(given).index(name) for name in names]]

    def strata(self, targets: Tensor) -> Tensor:
        """What a split keeps the shares of, int64 (N,): all alike, so that it is plainly random."""
        return torch.zeros(len(targets), dtype=torch.int64)

    def joined(self, branches: Tensor) -> Tensor:
        """What a network says, (B, K), of what its branches say, (branches, B, K): their sum."""
        return branches.sum(0)

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each sample, (B,)."""
        raise NotImplementedError

    def loss(self, outputs: Tensor, targets: Tensor, reduction: Reduction = "mean") -> Tensor:
        """The loss of outputs (B, K), their mean or sum over the samples () or each (B,)."""
        losses = self.each(outputs, targets)
        if reduction == "none":
            return losses
        return losses.mean() if reduction == "mean" else losses.sum()

    def errors(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """How wrong each sample is, (B,), from 0 to 1, for what looks at errors one by one: loss / (1 + loss)."""
        losses = self.loss(outputs, targets, "none").double()
        return losses / (1 + losses)

    def said(self, outputs: Tensor) -> Tensor:
        """What outputs (B, K) mean to a person, (B, K)."""
        raise NotImplementedError

    def scored(self, data: Samples, outputs: Tensor, rows: Tensor) -> float:
        """The score on some rows; the more, the better, and 1 where all is right."""
        raise NotImplementedError

    def details(self, data: Samples, outputs: Tensor, names: Sequence[str]) -> dict[str, dict[str, float]]:
        """What there is to say of each output by itself, by its name."""
        raise NotImplementedError

    def named(self, said: Tensor, names: Sequence[str]) -> list[Any]:
        """What ``said`` (B, K) comes to for each sample, in words. Raises ConfigError where it is not words."""
        raise NotImplementedError

    def answer(self, said: Tensor, names: Sequence[str]) -> dict[str, Any]:
        """What ``said`` comes to, for JSON."""
        return {self.output: said.tolist(), "labels": self.named(said, names), self.names: list(names)}

    def heading(self) -> tuple[str, ...]:
        """Of the columns of ``rows``, the first being the name."""
        raise NotImplementedError

    def rows(self, targets: Tensor, names: Sequence[str]) -> list[tuple[str, ...]]:
        """What there is of each output in a data set, a row for each."""
        raise NotImplementedError

    def more(self, rows: Sequence[tuple[str, ...]], samples: int) -> tuple[str, ...]:
        """A row in place of some, in a data set of so many samples."""
        return f"{len(rows)} more", *[""] * (len(self.heading()) - 1)

    def odd(self, targets: Tensor, names: Sequence[str]) -> Iterator[str]:
        """What is odd in the targets of at least one sample, each a sentence."""
        raise NotImplementedError


def refuse_other_keys(task: type[Task], options: TargetOptions) -> None:
    """Raise ConfigError for options of a source that mean nothing to a task of numbers."""
    if options.labels:
        raise ConfigError(f"data.labels: for {task.name} targets are numbers, which have no other names; leave it out")
    unused = "outputs" if task.names == "classes" else "classes"
    if getattr(options, unused):
        raise ConfigError(f"data.{unused}: {task.name} has none; name them with data.{task.names}")


def count(number: int, one: str, several: str) -> str:
    """Such as ``1 row`` or ``2 rows``."""
    return f"{number} {one if number == 1 else several}"


def listed(items: Sequence[object]) -> str:
    """The first few of them."""
    return ", ".join(map(repr, items[:SHOWN])) + (", …" if len(items) > SHOWN else "")
