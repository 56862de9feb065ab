"""Any function of torchmetrics as a plug-in, by its dotted name.

Such as ``torchmetrics.functional.classification.multiclass_cohen_kappa``; it is given the probabilities (N, C), the
targets (N,) and ``num_classes``. One that takes ``num_labels`` is for labels, one of ``torchmetrics.functional`` for
``preds`` and ``target`` without either for regression. Whether its result is one number is tried. Where it refuses an
agent's test samples, as R² does a single one, it has no number for that agent.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import torch

from parse_p2p.core.errors import ConfigError, cause
from parse_p2p.learning.metrics.base import Metric, Predictions, suits

TRIAL = Predictions(torch.eye(3) * 0.4 + 0.2, torch.arange(3), ("0", "1", "2"))
TRIALS = {
    "num_classes": ("classification", TRIAL),
    "num_labels": ("multi-label", replace(TRIAL, targets=torch.eye(3))),
    "preds": ("regression", replace(TRIAL, targets=torch.eye(3) + 1)),
}
"""By what a function takes: its task, and what it is tried with."""


@cache
def adapted(found: Any) -> Metric:
    """The metric of this function. Raises ConfigError for what is no such function."""
    name = getattr(found, "__name__", str(found))
    takes = inspect.signature(found).parameters if inspect.isfunction(found) else {}
    how = next((each for each in TRIALS if each in takes), None)
    if how is None:
        raise ConfigError(f"{name!r} is no metric: it has to be a function of predictions, targets and num_classes")
    task, trial = TRIALS[how]
    metric = _metric(name, found, how)
    try:
        metric(trial)
    except Exception as error:
        raise ConfigError(f"{name!r} gives no number for probabilities and targets: {cause(error)}") from None

    def where_possible(predictions: Predictions) -> Mapping[str, float]:
        try:
            return metric(predictions)
        except ValueError:
            return {}

    return suits(task)(where_possible)


def _metric(name: str, function: Callable[..., Any], how: str) -> Metric:
    def metric(predictions: Predictions) -> Mapping[str, float]:
        targets = predictions.targets.long() if how == "num_labels" else predictions.targets
        sizes = {} if how == "preds" else {how: len(predictions.names)}
        return {name: float(function(predictions.probabilities, targets, **sizes))}

    return metric
