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

from parse_p2p.core.errors import ConfigError


@dataclass(frozen=True)
class Predictions:
    """What a model says of N samples: ``probabilities`` (N, C) of the classes, called ``names``; ``targets`` (N,)."""

    probabilities: Tensor
    targets: Tensor
    names: tuple[str, ...]

    @cached_property
    def present(self) -> list[int]:
        """The classes that have a sample, ascending."""
        return sorted(set(self.targets.tolist()))


Metric = Callable[[Predictions], Mapping[str, float]]
"""A plug-in is a file in this folder that has such a function as ``METRIC``; what it leaves out is not known."""


def check() -> None:
    """Raise ConfigError where torchmetrics is not installed."""
    if find_spec("torchmetrics") is None:
        raise ConfigError("metrics need the package torchmetrics: pip install 'parse-p2p[metrics]'")


def library() -> ModuleType:
    """The functions of torchmetrics for classes. Raises ConfigError where it is not installed."""
    check()
    import torchmetrics.functional.classification as found

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
