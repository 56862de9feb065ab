"""Graphs whose edges go one way: agents hear from others than they send to.

A drawn graph of one round (``dynamic``) mixes by the mean of one's own and what comes, which keeps no mean. A run's own
graph mixes by push-sum, in equal parts over oneself and whom one sends to, which keeps it (Nedić and Olshevsky 2015,
arXiv 1303.2289; Assran et al. 2019, arXiv 1811.10792).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import networkx as nx
import numpy as np

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import PeerId
from parse_p2p.topology import spectrum
from parse_p2p.topology.graph import Topology
from parse_p2p.topology.weights import Matrix


@dataclass(frozen=True)
class Directed(Topology):
    """Arrows from who sends to who receives, of one round; the weighting is the mean of one's own and what comes.

    Rows of the matrix sum to one, 1/(1 + senders) each. Columns need not: mixing keeps no mean.
    """

    summed: ClassVar[int] = 1
    """The axis of the matrix over which it sums to one."""

    def __post_init__(self) -> None:
        """A directed graph is what it is for."""

    def neighbours(self, me: PeerId) -> tuple[PeerId, ...]:
        """Whom I hear from."""
        self._known("peer", me, self.peers)
        return tuple(peer for peer in self.peers if self.graph.has_edge(peer, me))

    def audience(self, me: PeerId) -> tuple[PeerId, ...]:
        """Whom I send to."""
        self._known("peer", me, self.peers)
        return tuple(peer for peer in self.peers if self.graph.has_edge(me, peer))

    def connected_components(self) -> tuple[frozenset[PeerId], ...]:
        """Sets of agents that no arrow joins, either way."""
        return tuple(spectrum.connected_components(self.graph.to_undirected()))

    @cached_property
    def _matrix(self) -> Matrix:
        heard = nx.to_numpy_array(self.graph, weight=None).T
        matrix: Matrix = (heard + np.eye(len(heard))) / (1 + heard.sum(axis=self.summed, keepdims=True))
        matrix.setflags(write=False)
        return matrix


@dataclass(frozen=True)
class OneWay(Directed):
    """A run's own graph of arrows, whose weights are those of push-sum.

    Columns of the matrix sum to one, 1/(1 + receivers) each: an agent splits what it has in equal parts over itself and
    whom it sends to. Raises ConfigError for an overlay that is laid over edges both ways.
    """

    summed: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if self.overlay == "rings":
            raise ConfigError(
                f"topology {self.name!r} is directed, and the edges of rings go both ways: take per-slice"
            )
        if self.weighting != "metropolis":
            raise ConfigError(
                f"topology {self.name!r} is directed, and is mixed by push-sum in equal parts: leave out weights: "
                f"{self.weighting}"
            )

    def connected_components(self) -> tuple[frozenset[PeerId], ...]:
        """Sets of agents each of which hears of each other, in time."""
        found = map(frozenset, nx.strongly_connected_components(self.graph))
        return tuple(sorted(found, key=lambda component: min(map(self.peers.index, component))))

    def spectral_gap(self) -> float:
        """1 − |λ₂| of the weights, by which all ratios come to the mean; 0 where some never hear of others."""
        return 1 - spectrum.second(self._matrix) if len(self.connected_components()) == 1 else 0.0

    def _overlay(self, order: Sequence[PeerId]) -> nx.DiGraph:
        """The edges between the holders; per-slice a ring of arrows where some of them would not hear of others."""
        graph = nx.DiGraph()
        graph.add_nodes_from(order)
        graph.add_edges_from(edge for edge in self.graph.edges if edge[0] in graph and edge[1] in graph)
        if self.overlay == "induced" or len(order) < 2 or nx.is_strongly_connected(graph):
            return graph
        ring = nx.DiGraph()
        ring.add_nodes_from(order)
        ring.add_edges_from(zip(order, [*order[1:], order[0]], strict=True))
        return ring
