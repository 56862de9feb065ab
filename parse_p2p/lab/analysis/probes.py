"""What can be read off a representation: codes for tables of counts, overlap with another one, and labels.

A representation is an array (N, D): N samples, D features.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from parse_p2p.lab.analysis.information import Codes, entropy

if TYPE_CHECKING:
    from sklearn.cluster import KMeans

Features = NDArray[np.float64]

STARTS = 10  # of k-means; the best is kept
FOLDS = 5
DOUBT = 0.01  # share of a probe's word that is given to all classes alike, lest it be infinitely wrong


@contextmanager
def one_thread() -> Iterator[None]:
    """Let numpy and scikit-learn compute on one thread: arrays as small as these wait for each other on more."""
    import sklearn.cluster
    import sklearn.linear_model  # noqa: F401 -- only what is loaded can be limited
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


def codebook(x: Features, k: int, seed: int) -> "KMeans":
    """At most k centres by k-means, the nearest of which is a sample's code (``predict``, (N,) from 0 to k − 1).

    There are fewer centres where there are fewer distinct samples.
    With fewer codes than the relevant information has values, an arbitrary part of it is lost: try several k.
    """
    from sklearn.cluster import KMeans

    k = min(k, len(np.unique(x, axis=0)))
    return KMeans(k, n_init=STARTS, random_state=seed).fit(x)


def correlation(x: Features, y: Features) -> float:
    """Mean squared correlation over all pairs of a feature of x and one of y, 0 to 1; of independent ones 1/N."""
    return float(np.mean((_standard(x).T @ _standard(y) / len(x)) ** 2))


def cka(x: Features, y: Features) -> float:
    """Linear centred kernel alignment, 0 to 1 (Kornblith et al., arXiv 1905.00414).

    It is the same after rotations and a common scale of either. It is not information; a constant has 0 with all.
    """
    x, y = x - x.mean(0), y - y.mean(0)
    size = float(np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    return float(np.linalg.norm(x.T @ y) ** 2 / size) if size > 0 else 0.0


def explained(x: Features, target: Codes) -> float:
    """The share of the variance of x that is variance of the means of classes, 0 to 1."""
    total = float(((x - x.mean(0)) ** 2).sum())
    members = [x[target == label] for label in np.unique(target)]
    between = sum(len(m) * float(((m.mean(0) - x.mean(0)) ** 2).sum()) for m in members)
    return between / total if total > 0 else 0.0


def probe(x: Features, target: Codes, seed: int) -> float:
    """A lower bound of I(x;Y) in bits: H(Y) less the cross-entropy of a linear probe on samples it was not fit on.

    By cross-fitting: each sample is judged by a probe fit on the other folds. Below 0 the probe found nothing.
    Decodability saturates: a trace of a bit is read as well as a bit that fills the representation.
    """
    from sklearn.model_selection import KFold

    classes = np.unique(target)
    if len(classes) < 2 or len(x) < 2 * FOLDS:
        return 0.0
    right = np.searchsorted(classes, target)
    lost = np.empty(len(x))
    for fit, judge in KFold(FOLDS, shuffle=True, random_state=seed).split(x):
        said = _said(x[fit], target[fit], x[judge], classes)
        lost[judge] = -np.log2(said[np.arange(len(judge)), right[judge]])
    return entropy(np.bincount(target).astype(np.float64)) - float(lost.mean())


def _said(x: Features, target: Codes, other: Features, classes: Codes) -> Features:
    """Probabilities (len(other), len(classes)) by logistic regression on standardised features."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    known = np.unique(target)
    said = np.full((len(other), len(classes)), DOUBT / len(classes))
    if len(known) < 2:
        said[:, np.isin(classes, known)] += 1 - DOUBT
        return said
    mean, scale = x.mean(0), np.where(x.std(0) > 0, x.std(0), 1.0)
    model: Any = LogisticRegression(tol=0.01)  # stops early: less sure of itself, and faster
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a probe that is not quite at its best is a bound still
        model.fit((x - mean) / scale, target)
    said[:, np.searchsorted(classes, known)] += (1 - DOUBT) * model.predict_proba((other - mean) / scale)
    return said


def _standard(x: Features) -> Features:
    deviation = x.std(0)
    varies = deviation > 1e-12 * (1 + np.abs(x).max(initial=0))
    standard: Features = (x - x.mean(0)) / np.where(varies, deviation, np.inf)
    return standard
