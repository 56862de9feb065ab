"""A slice held by some agents is mixed on a graph of its own: ``over(holders)`` is a topology again.

Pure value: who should be there. Who is there right now is the directory's to know.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from parse_p2p.core.errors import ConfigError, nearest
from parse_p2p.core.types import PeerId
from parse_p2p.topology import generators, ring_overlay, spectrum
from parse_p2p.topology.weights import WEIGHTS

OVERLAYS = ("per-slice", "induced", "rings")


@dataclass(frozen=True)
class Topology:
    """An undirected graph of agents with mixing weights.

    The graph must not be changed afterwards. ``family`` lays the same kind of graph over another number of
    nodes, as ``partial(families.build, "ring", args={})`` does; None for a graph given edge by edge.
    Raises ConfigError for an unknown weighting or overlay, and for a graph that gossip cannot use.
    """

    name: str
    graph: nx.Graph
    weighting: str = "metropolis"
    overlay: str = "per-slice"
    family: Callable[[int], nx.Graph] | None = None

    def __post_init__(self) -> None:
        self._known("weighting", self.weighting, WEIGHTS)
        self._known("overlay", self.overlay, OVERLAYS)
        if self.graph.is_directed() or self.graph.is_multigraph():
            raise ConfigError(f"topology {self.name!r} must be undirected, with every edge named once")
        if loops := [a for a, _ in nx.selfloop_edges(self.graph)]:
            raise ConfigError(f"topology {self.name!r} joins {loops[0]!r} to itself; remove that edge")

    @property
    def peers(self) -> tuple[PeerId, ...]:
        """Every agent, in the order of the file."""
        return tuple(self.graph)

    def neighbours(self, me: PeerId) -> tuple[PeerId, ...]:
        """Whom I exchange with, in the order of the file."""
        self._known("peer", me, self.peers)
        mine = self.graph[me]
        return tuple(peer for peer in self.peers if peer in mine)

    def audience(self, me: PeerId) -> tuple[PeerId, ...]:
        """Whom I send to, in the order of the file: my neighbours, for an edge goes both ways."""
        return self.neighbours(me)

    def over(self, holders: Collection[PeerId]) -> "Topology":
        """The topology among the holders of one slice; all of them: this one, unchanged.

        Induced: the edges between holders, which may fall apart. Per-slice ("modality-conditioned overlays",
        arXiv 2601.10012v2): the family laid over the holders in the order of the file; if there is none for
        that number, the induced graph where it is connected, and a ring where it is not. Rings: the edges on which
        agents that find each other by gossip settle, whatever the run's graph.
        """
        for holder in holders:
            self._known("peer", holder, self.peers)
        wanted = frozenset(holders)
        order = [peer for peer in self.peers if peer in wanted]
        if len(order) == len(self.peers) and self.overlay != "rings":
            return self
        return replace(self, graph=self._overlay(order))

    def matrix(self) -> NDArray[np.float64]:
        """Mixing weights, shape (n, n), rows and columns in the order of ``peers``; read-only."""
        return self._matrix

    def weights(self, me: PeerId) -> Mapping[PeerId, float]:
        """The weight of each neighbour; what is left to 1 is mine."""
        index = {peer: i for i, peer in enumerate(self.peers)}
        return {peer: float(self._matrix[index[me], index[peer]]) for peer in self.neighbours(me)}

    def spectral_gap(self) -> float:
        """1 − ρ of the mixing weights; 0 means that some agents never hear of others."""
        return spectrum.spectral_gap(self._matrix)

    def connected_components(self) -> tuple[frozenset[PeerId], ...]:
        """Sets of agents that no edge joins; one set if the topology is connected."""
        return tuple(spectrum.connected_components(self.graph))

    @cached_property
    def _matrix(self) -> NDArray[np.float64]:
        matrix = WEIGHTS[self.weighting](self.graph)
        matrix.setflags(write=False)
        return matrix

    def _overlay(self, order: Sequence[PeerId]) -> nx.Graph:
        if self.overlay == "rings":
            return _on(order, ring_overlay.edges(order))
        induced = _on(order, self.graph.subgraph(order).edges(data=True))
        if self.overlay == "induced":
            return induced
        laid = self._laid(order)
        if laid is not None:
            return laid
        connected = len(order) > 0 and nx.is_connected(induced)
        return induced if connected else _named(generators.ring(len(order)), order)

    def _laid(self, order: Sequence[PeerId]) -> nx.Graph | None:
        """The family over these agents, or None where it does not exist for so many or falls apart."""
        if self.family is None or len(order) < 3:  # one has no edge and two have one, whatever the family
            return None
        try:
            graph = self.family(len(order))
        except ConfigError:
            return None
        return _named(graph, order) if nx.is_connected(graph) else None

    def _known(self, what: str, value: str, known: Collection[str]) -> None:
        if value not in known:
            raise ConfigError(f"topology {self.name!r} has no {what} {value!r}; {nearest(value, known)}")


def _named(graph: nx.Graph, order: Sequence[PeerId]) -> nx.Graph:
    return _on(order, ((order[a], order[b]) for a, b in graph.edges))


def _on(order: Sequence[PeerId], edges: Iterable[tuple[Any, ...]]) -> nx.Graph:
    # built anew: a networkx subgraph may list its nodes in the order of a set, another in every process
    graph = nx.Graph()
    graph.add_nodes_from(order)
    graph.add_edges_from(edges)
    return graph
