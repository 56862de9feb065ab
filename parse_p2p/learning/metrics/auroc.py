"""The area under the ROC curve, each class against all others or each label, as a mean over them."""

from collections.abc import Mapping
from statistics import fmean

from parse_p2p.learning.metrics.base import Predictions, library, suits


@suits("classification", "multi-label")
def METRIC(predictions: Predictions) -> Mapping[str, float]:
    """Of the classes or labels that some test samples have and others lack; of none where there is none."""
    there = predictions.indicators()
    varying = [each for each in predictions.present if not bool(there[:, each].all())]
    if not varying:
        return {}
    areas = [float(library().binary_auroc(predictions.probabilities[:, each], there[:, each])) for each in varying]
    return {"auroc": fmean(areas)}
