"""The expected calibration error: how far the highest probability is from the accuracy (arXiv 1706.04599)."""

from collections.abc import Mapping

from parse_p2p.learning.metrics.base import Predictions, library

BINS = 15


def METRIC(predictions: Predictions) -> Mapping[str, float]:
    """From 0 to 1: the mean over the samples of that distance, which is taken in 15 bins of equal width."""
    found = library().multiclass_calibration_error(
        predictions.probabilities,
        predictions.targets,
        num_classes=len(predictions.names),
        n_bins=BINS,
        validate_args=False,
    )
    return {"calibration-error": float(found)}
