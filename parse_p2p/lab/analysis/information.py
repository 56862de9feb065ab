"""Partial information decomposition of tables of counts, in bits.

What two sources X1, X2 say about a target Y falls apart into what either tells (redundant), what one alone tells
(unique) and what shows only in both together (synergistic):

    I(X1,X2;Y) = R + U1 + U2 + S      I(X1;Y) = R + U1      I(X2;Y) = R + U2

One more definition fixes the four; here it is that of Bertschinger et al. (arXiv 1311.2839), also called BROJA. The
measures I_min and MMI cannot tell two unique bits from a redundant and a synergistic one.

A table has shape (k1, k2, C): the counts of X1, X2 and Y; it need not sum to one. All estimates are plug-in.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]
Codes = NDArray[np.int64]

TOLERANCE = 2e-5  # bits between the value reached and what it could be at best
ITERATIONS = 3000  # then the bound may still be some 1e-4, and the value was never seen to be off by 1e-5
SWEEPS = 2  # of Sinkhorn's scaling in an iteration: more gain nothing, as each goes on where the last one stopped
LEAST = 1e-60  # nothing is taken for impossible, lest 0/0 come of what only seemed to be so
SAMPLES_PER_CELL = 20


@dataclass(frozen=True)
class Decomposition:
    """The four atoms, in bits."""

    redundant: float
    unique_1: float
    unique_2: float
    synergistic: float

    @property
    def total(self) -> float:
        """I(X1,X2;Y)."""
        return self.redundant + self.unique_1 + self.unique_2 + self.synergistic

    @property
    def atoms(self) -> tuple[float, float, float, float]:
        return self.redundant, self.unique_1, self.unique_2, self.synergistic


def entropy(counts: NDArray[np.float64]) -> float:
    """H of the distribution that is proportional to an array of counts of any shape."""
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log2(p)).sum())


def mutual_information(counts: NDArray[np.float64]) -> float:
    """I between rows and columns of a table (k, C)."""
    found = entropy(counts.sum(1)) + entropy(counts.sum(0)) - entropy(counts)
    return max(found, 0.0)  # rounding alone takes it below


def count(first: Codes, second: Codes, target: Codes, shape: tuple[int, int, int]) -> Table:
    """How often each (x1, x2, y) occurs among N samples, each given by three numbers from 0."""
    table = np.zeros(shape)
    np.add.at(table, (first, second, target), 1)
    return table


def decompose(table: Table) -> Decomposition:
    """The decomposition of a table. The identities above hold to rounding, and no atom is negative.

    Raises ValueError for an empty table.
    """
    if not table.sum() > 0:
        raise ValueError("a table without counts has no decomposition")
    p = table / table.sum()
    one, two = mutual_information(p.sum(1)), mutual_information(p.sum(0))
    both = mutual_information(p.reshape(-1, p.shape[2]))
    # what the marginals with Y leave open lies between these; the solver is within TOLERANCE of it
    least = min(max(_least_information(p), one, two), one + two, max(both, one, two))
    return Decomposition(one + two - least, least - two, least - one, max(both - least, 0.0))


def _least_information(p: Table) -> float:
    """min I_Q(X1,X2;Y) over the Q that share with P the marginals (x1, y) and (x2, y).

    It is the least KL(Q ‖ r(x1,x2)·p(y)) over Q and r, both from convex sets, so that they are found in turn: for a
    given r each Q(·,·,y) is r scaled to its two marginals (Sinkhorn), for a given Q the best r is Σ_y Q. Scaling is
    never carried to its end but goes on from the factors of the iteration before.

    With factors a, b and g(x1,x2) = Σ_y a·b, no Q has less than I_Q − log2 max g: the bound by which it stops, as in
    the algorithm of Blahut and Arimoto.
    """
    p = p[:, :, p.sum((0, 1)) > 0]
    rows, columns, target = p.sum(1).T, p.sum(0).T, p.sum((0, 1))  # (C, k1), (C, k2), (C,)
    r = np.maximum(np.outer(rows.sum(0), columns.sum(0)), LEAST)
    b = np.ones_like(columns)
    for _ in range(ITERATIONS):
        for _ in range(SWEEPS):
            a = rows / (b @ r.T)
            b = columns / (a @ r)
        growth = a.T @ b
        if math.log2(growth.max()) < TOLERANCE:
            break
        r = np.maximum(r * growth, LEAST)
    a = rows / (b @ r.T)
    q = a[:, :, None] * r * b[:, None, :]
    apart = q.sum(0) * target[:, None, None]
    inside = q > LEAST
    return float((q[inside] * np.log2(q[inside] / apart[inside])).sum())


def null(
    first: Codes, second: Codes, target: Codes, shape: tuple[int, int, int], seed: int, shuffles: int = 5
) -> Decomposition:
    """What is found where there is nothing: the mean over tables with shuffled targets.

    It shows how much chance alone would give at this number of samples. It is not to be subtracted: where codes are
    informative the bias is much smaller than this.
    """
    rng = np.random.default_rng(seed)
    found = [decompose(count(first, second, rng.permutation(target), shape)) for _ in range(shuffles)]
    return mean(found)


def mean(found: Sequence[Decomposition]) -> Decomposition:
    """Atom by atom."""
    return Decomposition(*(float(x) for x in np.mean([each.atoms for each in found], axis=0)))


def needed(k: int, classes: int) -> int:
    """Samples from which on chance alone adds less than about 0.03 bit of synergy, with k codes for each source.

    With fewer, (k² − 1)(C − 1)/(2 n ln 2) bits are found between independent codes and classes, nearly all of it as
    synergy.
    """
    return SAMPLES_PER_CELL * k * k * classes
