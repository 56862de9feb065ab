"""The accuracy in each class, by its name: the share of its test samples that are taken for it (recall)."""

from collections.abc import Mapping

from parse_p2p.learning.metrics.base import Predictions, by_class


def METRIC(predictions: Predictions) -> Mapping[str, float]:
    """Of the classes that have a test sample."""
    found = by_class("multiclass_recall", predictions)
    return {f"accuracy/{predictions.names[each]}": accuracy for each, accuracy in found.items()}
