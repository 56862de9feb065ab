"""The share of the labels of all samples that are rightly said or not said: high by itself where labels are rare."""

from collections.abc import Mapping

from parse_p2p.learning.metrics.base import Predictions, library, suits


@suits("multi-label")
def METRIC(predictions: Predictions) -> Mapping[str, float]:
    """Of labels that are said where they are more likely than not."""
    found = library().multilabel_accuracy(
        predictions.probabilities, predictions.targets.long(), num_labels=len(predictions.names), average="micro"
    )
    return {"label-accuracy": float(found)}
