"""The area under the ROC curve, each class against all others, as a mean over the classes."""

from collections.abc import Mapping
from statistics import fmean

from parse_p2p.learning.metrics.base import Predictions, library


def METRIC(predictions: Predictions) -> Mapping[str, float]:
    """Of the classes that have a test sample; none where all samples are of one class."""
    if len(predictions.present) < 2:
        return {}
    areas = [
        float(library().binary_auroc(predictions.probabilities[:, each], (predictions.targets == each).long()))
        for each in predictions.present
    ]
    return {"auroc": fmean(areas)}
