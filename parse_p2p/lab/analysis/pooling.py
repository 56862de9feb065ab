"""One estimate for the whole network, without a server: tables of counts, summed by push-sum.

Chance adds to an estimate in proportion to 1/n. Agents that have trained together can use one agent's codebook; then
tables of different samples may be added, and n is that of all of them.
"""

import math

import numpy as np
from numpy.typing import NDArray

from parse_p2p.topology import spectrum
from parse_p2p.topology.graph import Topology

Values = NDArray[np.float64]

CLOSE = 1e-6


def push_sum(topology: Topology, values: Values, rounds: int) -> Values:
    """What each agent takes for the mean of all after some rounds; both (n, …), in the order of ``topology.peers``.

    Every agent holds a mass (value, weight), first (its own, 1), and splits it over its links and itself; the ratio
    tends to the mean (Kempe, Dobra and Gehrke 2003). The shares are the mixing weights, scaled where what an agent
    gives away would not add up to one, as on a graph whose links go one way. No message is lost here.
    """
    given = topology.matrix() / topology.matrix().sum(0)  # column j: how j splits its mass
    mass = np.concatenate([values.reshape(len(values), -1), np.ones((len(values), 1))], axis=1)
    for _ in range(rounds):
        mass = given @ mass
    ratio: Values = mass[:, :-1] / mass[:, -1:]
    return ratio.reshape(values.shape)


def total(topology: Topology, tables: Values) -> tuple[Values, int]:
    """What each agent takes for the sum of all tables, and after how many rounds.

    They end when a millionth of the agents' differences is left. Raises ValueError for a graph in pieces.
    """
    rounds = spectrum.rounds_to(topology.matrix(), CLOSE)
    if not math.isfinite(rounds):
        raise ValueError(f"the agents of {topology.name!r} are not all joined: there is no sum of all")
    return push_sum(topology, tables, math.ceil(rounds)) * len(tables), math.ceil(rounds)
