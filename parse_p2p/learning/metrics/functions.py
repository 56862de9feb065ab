"""Any function of torchmetrics for classes as a plug-in, by its dotted name.

Such as ``torchmetrics.functional.classification.multiclass_cohen_kappa``; it is given the probabilities (N, C), the
targets (N,) and ``num_classes``. Whether its result is one number is tried.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch

from parse_p2p.core.errors import ConfigError, cause
from parse_p2p.learning.metrics.base import Metric, Predictions

TRIAL = Predictions(torch.eye(3) * 0.4 + 0.2, torch.arange(3), ("0", "1", "2"))


@cache
def adapted(found: Any) -> Metric:
    """The metric of this function. Raises ConfigError for what is no such function."""
    name = getattr(found, "__name__", str(found))
    if not inspect.isfunction(found) or "num_classes" not in inspect.signature(found).parameters:
        raise ConfigError(f"{name!r} is no metric: it has to be a function of predictions, targets and num_classes")
    metric = _metric(name, found)
    try:
        metric(TRIAL)
    except Exception as error:
        raise ConfigError(f"{name!r} gives no number for probabilities and targets: {cause(error)}") from None
    return metric


def _metric(name: str, function: Callable[..., Any]) -> Metric:
    def metric(predictions: Predictions) -> Mapping[str, float]:
        given = (predictions.probabilities, predictions.targets)
        return {name: float(function(*given, num_classes=len(predictions.names)))}

    return metric
