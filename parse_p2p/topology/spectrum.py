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


def rounds_to(matrix: NDArray[np.float64], epsilon: float) -> float:
    """Rounds until disagreement is at most ``epsilon`` of what it was: ln ε/ln ρ, at least 1, not rounded.

    Infinite where ρ = 1. ConfigError unless 0 < epsilon < 1.
    """
    if not 0 < epsilon < 1:
        raise ConfigError(f"epsilon must lie between 0 and 1, not {epsilon}")
    rho = slem(matrix)
    if rho < ROUNDING:
        return 1.0
    return math.inf if rho > 1 - ROUNDING else max(1.0, math.log(epsilon) / math.log(rho))


def connected_components(graph: nx.Graph) -> list[frozenset[Any]]:
    """The connected components, in the order of their first nodes."""
    return [frozenset(component) for component in nx.connected_components(graph)]
