"""A row per agent that may be computed by that agent alone: the same graph gives everyone the same matrix.

Every rule takes an undirected graph of n nodes and returns W, float64 of shape (n, n), in the graph's node
order: symmetric, non-negative, rows and columns summing to 1, zero where there is no edge. Then mixing
keeps the mean over the agents and contracts to it. A node without neighbours keeps what it has: W[i, i] = 1.
"""

from collections.abc import Callable, Mapping

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from parse_p2p.core.errors import ConfigError
from parse_p2p.topology.spectrum import connected_components, slem

Matrix = NDArray[np.float64]

GIVEN = "given"
ROUNDING = 1e-9

STEPS = 300
FIRST_STEP, SHRINK = 0.2, 0.98  # the last step is 5e-4 of a weight: SLEM within 1e-3 of the optimum in tests
TIED = 1e-9  # eigenvalues this close count as one


def metropolis(graph: nx.Graph) -> Matrix:
    """1/(1 + max(d_i, d_j)) on every edge (Metropolis-Hastings; Xiao and Boyd 2004, section 4.2)."""
    edges = _edges(graph)
    degree = edges.sum(axis=1)
    return _with_self(edges / (1 + np.maximum.outer(degree, degree)))


def uniform(graph: nx.Graph) -> Matrix:
    """1/(1 + the largest degree) on every edge, the rest at self (maximum-degree weights).

    Not the plain mean 1/(1 + d_i) over one's neighbourhood: unless all degrees are equal that matrix is not
    symmetric, and the network agrees on an average in which agent i counts in proportion to 1 + d_i.
    """
    edges = _edges(graph)
    return _with_self(edges / (1 + edges.sum(axis=1).max(initial=0)))


def fastest_mixing(graph: nx.Graph) -> Matrix:
    """The weights of (nearly) least SLEM (Boyd, Diaconis and Xiao 2004), for each connected component by itself.

    Projected subgradient from Metropolis, the best iterate kept, so it is never worse than Metropolis.
    Nothing is drawn; hosts whose linear algebra rounds differently may still differ in the last digits.
    """
    edges, weights = _edges(graph), metropolis(graph)
    for component in connected_components(graph):
        rows = [i for i, node in enumerate(graph) if node in component]
        block = np.ix_(rows, rows)
        weights[block] = _fastest(edges[block], weights[block])
    return weights


def given(graph: nx.Graph) -> Matrix:
    """The ``weight`` of every edge, or Metropolis weights for a graph some of whose edges have none.

    Such are the graphs that are laid for a slice's holders where the run's graph falls apart among them.
    """
    if any(weight is None for _, _, weight in graph.edges(data="weight")):
        return metropolis(graph)
    matrix: Matrix = nx.to_numpy_array(graph, weight="weight")
    np.fill_diagonal(matrix, 0)
    return _with_self(matrix)


def refuse_odd(source: str, graph: nx.Graph) -> None:
    """Raise ConfigError, naming ``source``, for weights of edges by which nobody can mix."""
    for a, b, weight in graph.edges(data="weight"):
        if weight is None or not 0 <= weight <= 1:
            raise ConfigError(f"{source}: the edge {a}-{b} has the weight {weight}; give one from 0 to 1")
    for node, total in graph.degree(weight="weight"):
        if total > 1 + ROUNDING:
            raise ConfigError(f"{source}: the weights of the edges at {node} sum to {total:g}; make it 1 at most")


WEIGHTS: Mapping[str, Callable[[nx.Graph], Matrix]] = {
    "metropolis": metropolis,
    "uniform": uniform,
    "fastest-mixing": fastest_mixing,
    GIVEN: given,
}


def _edges(graph: nx.Graph) -> Matrix:
    """1 where there is an edge to another node, else 0."""
    matrix: Matrix = nx.to_numpy_array(graph, weight=None)
    np.fill_diagonal(matrix, 0)
    return matrix


def _with_self(off: Matrix) -> Matrix:
    """What an agent does not give to neighbours it keeps; rounding must not leave it less than nothing."""
    off = (off + off.T) / 2  # symmetric to the last bit
    return off + np.diag(np.maximum(1 - off.sum(axis=1), 0))


def _fastest(edges: Matrix, start: Matrix) -> Matrix:
    best, least = start, slem(start)
    off = start * edges
    for k in range(STEPS):
        down = _descent(_with_self(off), edges)
        off = _feasible(off + FIRST_STEP * SHRINK**k * down, edges)
        now = slem(_with_self(off))
        if now < least:
            best, least = _with_self(off), now
    return best


def _descent(weights: Matrix, edges: Matrix) -> Matrix:
    """A direction that lowers the SLEM, largest entry 1, shape (n, n), zero off the edges (section 3.1).

    More weight on edge (i, j) moves the eigenvalue of eigenvector u by −(u_i − u_j)². The mean over all tied
    eigenvectors is a subgradient too, and unlike any one of them it keeps the symmetry of a regular graph.
    """
    values, vectors = np.linalg.eigh(weights - 1 / len(weights))
    tied = np.abs(values) >= np.abs(values).max() - TIED
    outer = (vectors * (tied * np.sign(values))) @ vectors.T
    own = np.diag(outer)
    down: Matrix = (np.add.outer(own, own) - outer - outer.T) * edges  # symmetric to the last bit
    return down / max(float(np.abs(down).max()), TIED)


def _feasible(off: Matrix, edges: Matrix) -> Matrix:
    """Near the closest weights that are not negative and leave nobody's own weight below 0.

    Each row that sums to more than 1 asks for its distance to the simplex (Duchi et al. 2008, figure 1); an
    edge gives the larger of what its two ends ask, which keeps the matrix symmetric whatever the node order.
    """
    off = np.maximum(off, 0) * edges
    falling = -np.sort(-off, axis=1)
    excess = (np.cumsum(falling, axis=1) - 1) / np.arange(1, len(off) + 1)
    asked = np.maximum(excess.max(axis=1), 0)
    lowered: Matrix = np.maximum(off - np.maximum.outer(asked, asked), 0) * edges
    return lowered
