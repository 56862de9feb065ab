"""Graphs that change from round to round, drawn by every agent for itself from the run's seed and the round.

No server deals the pairs: the names of those that hold a slice enter the draw, so that slices with the same holders
have the same graph and all others one of their own. Every graph has Metropolis weights (1/2 in a matching, 1/(1 + k)
in a k-regular graph): symmetric and doubly stochastic whatever was drawn, so mixing keeps the mean in every round.
"""

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Literal

import networkx as nx
import torch
from pydantic import BaseModel, ConfigDict, Field

from parse_p2p.draws import seeded
from parse_p2p.topology.graph import Topology

Edges = list[tuple[int, int]]
"""Pairs of places in ``Topology.peers``."""


class VaryingOptions(BaseModel):
    """How the graph of every slice changes from round to round.

    ``matching``, ``one-peer-exponential`` and ``regular`` join any of a slice's holders, whatever the run's graph;
    ``failing`` keeps to that graph.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["matching", "one-peer-exponential", "regular", "failing"] = Field(
        description="what is drawn every round"
    )
    degree: int = Field(4, ge=2, description="neighbours in a round of regular; fewer where there are no such graphs")
    probability: float = Field(0.2, ge=0, le=1, description="with which each edge fails in a round of failing")

    @property
    def keeps_to_graph(self) -> bool:
        """Whether agents exchange along the edges of the run's graph alone."""
        return self.kind == "failing"


def drawn(base: Topology, options: VaryingOptions, seed: int, round: int) -> Topology:
    """The topology of one round among the agents of ``base``, the overlay of one slice.

    A function of its arguments alone, the same in every process.
    """
    names = (seed, "varying", options.kind, round, *base.peers)
    edges = KINDS[options.kind](base, options, round, seeded(*names))
    graph = nx.Graph()
    graph.add_nodes_from(base.peers)
    graph.add_edges_from((base.peers[a], base.peers[b]) for a, b in edges)
    return Topology(base.name, graph, overlay=base.overlay)


def matching(base: Topology, options: VaryingOptions, round: int, rng: torch.Generator) -> Edges:
    """All in pairs, every such pairing equally likely; of an odd number one is left over."""
    order = torch.randperm(len(base.peers), generator=rng).tolist()
    return list(zip(order[::2], order[1::2], strict=False))


def one_peer_exponential(base: Topology, options: VaryingOptions, round: int, rng: torch.Generator) -> Edges:
    """Agent i with i XOR 2^(t mod log₂ n): exact averaging in log₂ n rounds; n no power of two: a random matching.

    The symmetric member of the family: the one-peer exponential graph itself sends from i to i + 2^(t mod log₂ n)
    (Ying et al. 2021, arXiv 2110.13363) and gets its answer from somebody else.
    """
    n = len(base.peers)
    if n < 2 or n & (n - 1):
        return matching(base, options, round, rng)
    step = 1 << round % (n.bit_length() - 1)
    return [(i, i | step) for i in range(n) if not i & step]


def regular(base: Topology, options: VaryingOptions, round: int, rng: torch.Generator) -> Edges:
    """``degree`` neighbours each, drawn at random; of n agents at most n − 1, and one fewer where n·degree is odd."""
    n = len(base.peers)
    degree = min(options.degree, n - 1)
    degree -= n * degree % 2
    if degree == n - 1:
        return list(combinations(range(n), 2))
    number = int(torch.randint(2**31, (), generator=rng))
    return list(nx.random_regular_graph(degree, n, seed=number).edges)


def failing(base: Topology, options: VaryingOptions, round: int, rng: torch.Generator) -> Edges:
    """The edges of ``base``, each failing by itself."""
    place = {peer: i for i, peer in enumerate(base.peers)}
    # sorted: networkx may list edges in another order in every process
    edges = sorted((min(place[a], place[b]), max(place[a], place[b])) for a, b in base.graph.edges)
    fates = torch.rand(len(edges), generator=rng, dtype=torch.float64).tolist()
    return [edge for edge, fate in zip(edges, fates, strict=True) if fate >= options.probability]


Kind = Callable[[Topology, VaryingOptions, int, torch.Generator], Edges]

KINDS: Mapping[str, Kind] = {
    "matching": matching,
    "one-peer-exponential": one_peer_exponential,
    "regular": regular,
    "failing": failing,
}
