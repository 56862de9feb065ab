"""One class for each sample: int64 (N,), from 0; cross-entropy in nats; the score is the accuracy."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from parse_p2p.core.errors import ConfigError, nearest
from parse_p2p.data.tasks.base import Reduction, Samples, Task, count, listed
from parse_p2p.data.tasks.source import LARGEST_NUMBER, Origin, TargetOptions, as_name

MOST_DIGITS = 20
MANY_CLASSES = 1000
FEW_OF_A_CLASS = 10
UNEVEN = 0.9
"""Share of the samples that are of one class."""


class Classification(Task):
    """Which of several classes a sample is of."""

    name = "classification"
    score = "accuracy"
    key = "accuracy"
    loss_name = "cross-entropy"
    loss_key = "cross_entropy"
    unit = " nats"
    figure = "accuracy"
    figures = "class"
    one_class = True
    numbers = False

    @classmethod
    def of(cls, names: Sequence[str], scales: Mapping[str, Any]) -> Self:
        if len(names) < 2:
            raise ValueError("classes: name two or more, in the order of the network's outputs")
        return super().of(names, scales)

    def read(
        self, origin: Origin, columns: Mapping[str, NDArray[Any]], options: TargetOptions
    ) -> tuple[Tensor, tuple[str, ...]]:
        if options.outputs:
            raise ConfigError("data.outputs: a class is no number; say data.task: regression, or leave it out")
        if len(columns) > 1:
            raise ConfigError(
                f"data.target names {len(columns)} {origin.noun}s, and a class stands in one: say data.task: "
                "multi-label where they are 0 or 1, or regression where they are numbers to predict"
            )
        [(name, values)] = columns.items()
        return numbered_classes(origin, name, values, options)

    def converted(self, targets: Tensor) -> Tensor:
        return targets.long()

    def wrong(self, targets: Tensor, outputs: int) -> str:
        if targets.ndim != 1 or targets.is_floating_point():
            return f"targets {targets.dtype} {list(targets.shape)}, which are int64 (N,) for classification"
        outside = len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < outputs
        return f"targets outside 0 to {outputs - 1}" if outside else ""

    def needed(self, targets: Tensor, names: Sequence[str]) -> list[str]:
        """The names of the classes that there are."""
        return [names[k] for k in sorted(set(targets.tolist()))]

    def ordered(self, targets: Tensor, given: Sequence[str], names: Sequence[str]) -> Tensor:
        number = {name: k for k, name in enumerate(names)}
        return torch.tensor([number.get(name, -1) for name in given])[targets]

    def strata(self, targets: Tensor) -> Tensor:
        return targets

    def loss(self, outputs: Tensor, targets: Tensor, reduction: Reduction = "mean") -> Tensor:
        return cross_entropy(outputs, targets, reduction=reduction)

    def errors(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """1 where another class is said than the sample's, else 0."""
        return (outputs.argmax(1) != targets).double()

    def said(self, outputs: Tensor) -> Tensor:
        return outputs.softmax(1)

    def scored(self, data: Samples, outputs: Tensor, rows: Tensor) -> float:
        return float(data.chances(outputs.argmax(1))[rows].mean())

    def details(self, data: Samples, outputs: Tensor, names: Sequence[str]) -> dict[str, dict[str, float]]:
        """The rows of each class that there are, and the accuracy on those."""
        right, found = data.chances(outputs.argmax(1)), {}
        for k in sorted(set(data.targets.tolist())):
            mine = right[data.targets == k]
            found[names[k]] = {"rows": len(mine), "accuracy": float(mine.mean())}
        return found

    def named(self, said: Tensor, names: Sequence[str]) -> list[Any]:
        """The likeliest class."""
        return [names[k] for k in said.argmax(1).tolist()]

    def heading(self) -> tuple[str, ...]:
        return "class", "rows", "share"

    def rows(self, targets: Tensor, names: Sequence[str]) -> list[tuple[str, ...]]:
        counted = zip(names, torch.bincount(targets, minlength=len(names)).tolist(), strict=True)
        return [(name, str(rows), f"{rows / len(targets):.1%}") for name, rows in counted]

    def more(self, rows: Sequence[tuple[str, ...]], samples: int) -> tuple[str, ...]:
        left = sum(int(row[1]) for row in rows)
        return f"{len(rows)} more", str(left), f"{left / samples:.1%}"

    def odd(self, targets: Tensor, names: Sequence[str]) -> Iterator[str]:
        counts = dict(zip(names, torch.bincount(targets, minlength=len(names)).tolist(), strict=True))
        if single := [each for each, rows in counts.items() if rows == 1]:
            which = count(len(single), "class has", "classes have")
            yield f"{which} one row, which cannot be tested ({listed(single)})"
        if few := [each for each, rows in counts.items() if 1 < rows < FEW_OF_A_CLASS]:
            yield f"{count(len(few), 'class has', 'classes have')} fewer than {FEW_OF_A_CLASS} rows ({listed(few)})"
        largest = max(counts, key=lambda each: counts[each])
        if (share := counts[largest] / len(targets)) > UNEVEN:
            yield f"{share:.1%} of the rows are of the class {largest!r}: to say so always is as accurate"


TASK = Classification
CLASSIFICATION = Classification()


def class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names of classes, each once, by number where all are numbers and else by text."""
    distinct = set(names)
    numbers = all(name.isdecimal() for name in distinct)
    # by length and text, and not by value: Python reads no number of thousands of digits
    bare = {name: name.lstrip("0") if numbers else "" for name in distinct}
    return tuple(sorted(distinct, key=lambda name: (len(bare[name]), bare[name], name)))


# reading them


def numbered_classes(
    origin: Origin, name: str, y: NDArray[Any], options: TargetOptions
) -> tuple[Tensor, tuple[str, ...]]:
    """The class of each sample as a number, and the names of the classes. Raises ConfigError for what is no class."""
    refuse_unless_labels(origin, name, y, _other_tasks(y))
    distinct, at = np.unique(y, return_inverse=True)
    labels = _decoded(origin, name, distinct)
    if options.classes is None:
        _refuse_markers(origin, name, [label for label in labels if label not in options.labels])
    named = [options.labels.get(label, label) for label in labels]
    classes = _found(origin, name, named, len(y)) if options.classes is None else _given(origin, name, named, options)
    number = {each: k for k, each in enumerate(classes)}
    return torch.tensor([number[each] for each in named])[torch.from_numpy(at)], classes


def refuse_unless_labels(origin: Origin, name: str, array: NDArray[Any], otherwise: str = "") -> None:
    """Raise ConfigError for what is no label of each sample; ``otherwise`` is what else it may be meant as."""
    text = array.dtype.kind == "O" and all(isinstance(each, str) for each in array.flat)
    if array.ndim != 1 or not (text or array.dtype.kind in "iubUST"):
        wrong = f"is {array.dtype} with {array.ndim} axes"
        raise origin.fault(
            name, wrong, f"give whole numbers or text on one axis, such as {name}.astype('int64'){otherwise}"
        )
    if array.size == 0:
        raise origin.fault(name, "is empty", "give at least one sample")


def _other_tasks(array: NDArray[Any]) -> str:
    """Which other task such targets may be of."""
    if array.ndim == 2 and array.dtype.kind in "iub":
        return ", or say data.task: multi-label where each is 0 or 1, or regression where they are numbers to predict"
    return ", or say data.task: regression where it is a number to predict" if array.dtype.kind in "fiu" else ""


def _decoded(origin: Origin, name: str, distinct: NDArray[Any]) -> list[str]:
    """The labels as text: whole numbers in decimal, truth values ``false`` and ``true``, bytes as UTF-8."""
    try:
        return [each.decode() if isinstance(each, bytes) else str(as_name(each)) for each in distinct.tolist()]
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


def _given(origin: Origin, name: str, named: Sequence[str], options: TargetOptions) -> tuple[str, ...]:
    """The classes that the options name. Raises ConfigError for a label that is none of them."""
    many = options.classes if isinstance(options.classes, int) else None
    classes = tuple(map(str, range(many))) if many else options.classes
    assert isinstance(classes, tuple)
    for each in sorted({*named} - {*classes}):
        known = f"they are 0 to {many - 1}, so renumber, or name them all there" if many else nearest(each, classes)
        raise origin.fault(name, f"has the label {each!r}, which is none of data.classes", known)
    return classes
