"""The mean absolute error over samples and outputs, in the units of the targets."""

from collections.abc import Mapping

from parse_p2p.learning.metrics.base import Predictions, for_numbers, suits


@suits("regression")
def METRIC(predictions: Predictions) -> Mapping[str, float]:
    """Of all outputs alike, which are to be of one unit."""
    return {"mae": float(for_numbers().mean_absolute_error(predictions.probabilities, predictions.targets))}
