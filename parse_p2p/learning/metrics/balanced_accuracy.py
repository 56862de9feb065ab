"""The mean over the classes of the accuracy in each: it does not matter how many samples a class has."""

from collections.abc import Mapping
from statistics import fmean

from parse_p2p.learning.metrics.base import Predictions, by_class


def METRIC(predictions: Predictions) -> Mapping[str, float]:
    """Of the classes that have a test sample."""
    return {"balanced-accuracy": fmean(by_class("multiclass_recall", predictions).values())}
