"""How fast mixing agrees is one number, the SLEM ρ: each round shrinks the distance to the mean by ρ or more.

‖X_t − X̄‖_F ≤ ρ^t ‖X_0 − X̄‖_F for a doubly stochastic W (Xiao and Boyd 2004, section 2).
"""

import math
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from parse_p2p.core.errors import ConfigError

ROUNDING = 1e-12  # an SLEM this near 0 or 1 is 0 or 1


def slem(matrix: NDArray[np.float64]) -> float:
    """ρ = ‖W − 11ᵀ/n‖₂ of a doubly stochastic (n, n) matrix, in [0, 1]; 1 if the graph is in pieces."""
    n = len(matrix)
    return float(np.linalg.norm(matrix - 1 / n, 2)) if n > 1 else 0.0


def spectral_gap(matrix: NDArray[np.float64]) -> float:
    """1 − ρ."""
    return 1 - slem(matrix)


def second(matrix: NDArray[np.float64]) -> float:
    """The size of the second largest eigenvalue of an (n, n) matrix whose columns, or rows, sum to one, in [0, 1]."""
    return float(np.sort(np.abs(np.linalg.eigvals(matrix)))[-2]) if len(matrix) > 1 else 0.0


def rounds_to(matrix: NDArray[np.float64], epsilon: float) -> float:
    """Rounds until disagreement is at most ``epsilon`` of what it was: ln ε/ln ρ, at least 1, not rounded.

    Infinite where ρ = 1. ConfigError unless 0 < epsilon < 1.
    """
    if not 0 < epsilon < 1:
        raise ConfigError(f"epsilon must lie between 0 and 1, not {epsilon}")
    return rounds_at(slem(matrix), epsilon)


def rounds_at(rho: float, epsilon: float) -> float:
    """Likewise of rounds each of which leaves ρ of a disagreement."""
    if rho < ROUNDING:
        return 1.0
    return math.inf if rho > 1 - ROUNDING else max(1.0, math.log(epsilon) / math.log(rho))


def exchanges_to(graph: nx.Graph, epsilon: float) -> float:
    """Exchanges of push-sum in equal parts until all its ratios have come to within ``epsilon``, not rounded.

    Each agent splits what it has over itself and its neighbours, a random walk P whose stationary distribution π
    follows from the degrees, with |(Pᵏ)ᵢⱼ/πᵢ − 1| ≤ λᵏ/min π (Levin, Peres and Wilmer 2009, section 12.2): that is at
    most ``epsilon`` then. 0 for one agent, infinite if the graph is in pieces.
    """
    if len(graph) < 2:
        return 0.0
    shares = 1 / (1 + np.array([degree for _, degree in graph.degree]))
    steps = nx.to_numpy_array(graph, weight=None) + np.eye(len(graph))
    values = np.linalg.eigvalsh(np.sqrt(np.outer(shares, shares)) * steps)
    slowest = max(abs(float(values[0])), float(values[-2]))
    if slowest < ROUNDING:
        return 1.0
    least = 1 / shares.max() / (1 / shares).sum()
    return math.inf if slowest > 1 - ROUNDING else max(1.0, math.log(epsilon * least) / math.log(slowest))


def connected_components(graph: nx.Graph) -> list[frozenset[Any]]:
    """The connected components, in the order of their first nodes."""
    return [frozenset(component) for component in nx.connected_components(graph)]
