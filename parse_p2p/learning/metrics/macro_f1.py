"""The mean over the classes of F1, the harmonic mean of precision and recall of each."""

from collections.abc import Mapping
from statistics import fmean

from parse_p2p.learning.metrics.base import Predictions, by_class


def METRIC(predictions: Predictions) -> Mapping[str, float]:
    """Of the classes that have a test sample; samples wrongly taken for another still lower those they are of."""
    return {"macro-f1": fmean(by_class("multiclass_f1_score", predictions).values())}
