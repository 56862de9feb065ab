"""What a metric is: numbers by name, of what an agent's model says of its test samples.

Metrics are those of torchmetrics, which is imported when the first is asked for: some seconds and 100 MB. Where some
classes have no test sample an agent has no number for them, and its means are over the classes that have one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from types import ModuleType

from torch import Tensor
from torch.nn.functional import one_hot

from parse_p2p.core.errors import ConfigError


@dataclass(frozen=True)
class Predictions:
    """What a model says of N samples: ``probabilities`` (N, C) of the classes, called ``names``; ``targets`` (N,).

    Of labels the ``probabilities`` are of each by itself, of regression they are the numbers, and the ``targets`` of
    both are (N, C).
    """

    probabilities: Tensor
    targets: Tensor
    names: tuple[str, ...]

    @cached_property
    def present(self) -> list[int]:
        """The classes that have a sample, or labels, ascending."""
        if self.targets.ndim == 2:
            return [k for k, there in enumerate((self.targets > 0).any(0).tolist()) if there]
        return sorted(set(self.targets.tolist()))

    def indicators(self) -> Tensor:
        """Which sample is of which class, or has which label: int64 (N, C) of 0 and 1."""
        if self.targets.ndim == 2:
            return self.targets.long()
        return one_hot(self.targets, len(self.names))


Metric = Callable[[Predictions], Mapping[str, float]]
"""A plug-in is a file in this folder that has such a function as ``METRIC``; what it leaves out is not known."""


CLASSES = ("classification",)


def suits(*tasks: str) -> Callable[[Metric], Metric]:
    """Marks a metric that is for other tasks than classification."""

    def marked(metric: Metric) -> Metric:
        metric.tasks = tasks  # type: ignore[attr-defined]
        return metric

    return marked


def tasks_of(metric: Metric) -> tuple[str, ...]:
    """The names of the tasks that a metric is for."""
    found: tuple[str, ...] = getattr(metric, "tasks", CLASSES)
    return found


def check() -> None:
    """Raise ConfigError where torchmetrics is not installed."""
    if find_spec("torchmetrics") is None:
        raise ConfigError("metrics need the package torchmetrics: pip install 'parse-p2p[metrics]'")


def library() -> ModuleType:
    """The functions of torchmetrics for classes. Raises ConfigError where it is not installed."""
    check()
    import torchmetrics.functional.classification as found

    return found


def for_numbers() -> ModuleType:
    """The functions of torchmetrics for regression. Raises ConfigError where it is not installed."""
    check()
    import torchmetrics.functional as found

    return found


def by_class(name: str, predictions: Predictions) -> dict[int, float]:
    """A metric of torchmetrics that has a number for each class, of those that have a sample."""
    found = getattr(library(), name)(
        predictions.probabilities,
        predictions.targets,
        num_classes=len(predictions.names),
        average="none",
        validate_args=False,
    )
    return {each: float(found[each]) for each in predictions.present}
