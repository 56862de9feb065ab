"""A graph whose edges go one way: agents hear from others than they send to."""

from dataclasses import dataclass
from functools import cached_property

import networkx as nx
import numpy as np

from parse_p2p.core.types import PeerId
from parse_p2p.topology import spectrum
from parse_p2p.topology.graph import Topology
from parse_p2p.topology.weights import Matrix


@dataclass(frozen=True)
class Directed(Topology):
    """Arrows from who sends to who receives, of one round; the weighting is the mean of one's own and what comes.

    Rows of the matrix sum to one, 1/(1 + senders) each. Columns need not: mixing keeps no mean.
    """

    def __post_init__(self) -> None:
        """A directed graph is what it is for; it is drawn and not a person's."""

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
        matrix: Matrix = (heard + np.eye(len(heard))) / (1 + heard.sum(axis=1, keepdims=True))
        matrix.setflags(write=False)
        return matrix
