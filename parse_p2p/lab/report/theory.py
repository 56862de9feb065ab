"""What a run file alone says of a run: who shares what with whom in a round, and how fast mixing must agree.

‖X' − X̄'‖ ≤ ρ ‖X − X̄‖ for one round of mixing with a matrix whose rows sum to one, where ρ is the SLEM of the slice's
overlay (Xiao and Boyd 2004, section 2): the distance to the new mean is no longer than that to the old. Sketches are
linear, so it holds for them as it does for the slices themselves. It holds only where mixing is that matrix and no
more, see ``PLAIN``.
"""

from collections.abc import Iterable
from typing import Any

import networkx as nx

from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.errors import P2PError
from parse_p2p.core.types import PeerId
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.topology.graph import Topology

Edge = tuple[int, int]
"""Positions of two agents in the list of all; of a graph whose edges go one way first who sends."""

Laid = tuple[int, float | None, int]
"""Of a slice in a round: its graph, the ρ of its weights, None where it bounds nothing, and how many hold it."""

DRAWN_BY_FORCES = 100  # agents; more than these are placed on a circle

PLAIN = {"mixer": "weighted", "exchange": "synchronous", "order": "atc", "sigma": 0.0}
"""Options under which a round's mixing is the matrix of its overlay, and the last thing in the round."""


class Theory:
    """The overlays of a run by round; every graph is kept once and spoken of by its number in ``graphs``."""

    def __init__(self, plan: RunPlan, folder: RunFolder) -> None:
        self.plan = plan
        self.graphs: list[list[Edge]] = []
        self._folder = folder
        self._position = {me: i for i, me in enumerate(plan.specs)}
        self._numbers: dict[tuple[Edge, ...], int] = {}
        self._laid: dict[int, tuple[Topology, int, float]] = {}  # the topology is kept so that its id stays its own
        self._rounds: dict[int, dict[str, Laid]] = {}

    def recall(self) -> None:
        """Take in the changes that agents announced; what was derived without them is forgotten."""
        before = self.plan.membership.changes
        self.plan = self._folder.recall(self.plan)
        if self.plan.membership.changes != before:
            self._rounds.clear()

    @property
    def beyond(self) -> str:
        """The options of this run that ρ says nothing of, as the run file has them; empty where it holds."""
        if self.plan.coordinator is not None:
            return ""
        own = {key: getattr(self.plan.options, key, plain) for key, plain in PLAIN.items()}
        return ", ".join(f"options.{key}: {value}" for key, value in own.items() if value != PLAIN[key])

    def round(self, round: int) -> dict[str, Laid]:
        """Of every slice that peers mix in a round."""
        if round not in self._rounds:
            self._rounds[round] = self._derived(round)
        return self._rounds[round]

    def _derived(self, round: int) -> dict[str, Laid]:
        if self.plan.coordinator is not None:
            return {}
        try:
            overlays = self.plan.overlays(round)
        except P2PError:  # changes that were announced may leave a round that cannot be laid out: nothing to compare
            return {}
        measured = self._laid if self.plan.run.varying is None else {}  # what is drawn is drawn for one round
        found: dict[str, Laid] = {}
        bounded = not self.beyond
        for key in overlays.keys:
            topology = overlays.graph(key)
            if id(topology) not in measured:
                measured[id(topology)] = topology, self._number(topology.graph), 1 - topology.spectral_gap()
            _, number, rho = measured[id(topology)]
            found[str(key)] = number, rho if bounded else None, len(overlays.holders(key))
        return found

    def _number(self, graph: nx.Graph) -> int:
        edges = tuple((self._position[a], self._position[b]) for a, b in graph.edges)
        if edges not in self._numbers:
            self._numbers[edges] = len(self.graphs)
            self.graphs.append(list(edges))
        return self._numbers[edges]

    def absent(self, me: PeerId, rounds: Iterable[int]) -> list[int]:
        """Those rounds in which an agent is not to be there."""
        if me == self.plan.coordinator:
            return []
        return [round for round in rounds if not self.plan.membership.of(me, round)]

    def shape(self) -> dict[str, Any]:
        """The run's graph: its edges, and a place for every agent with coordinates between −1 and 1."""
        graph, hub, edges = nx.Graph(), self.plan.coordinator, self.plan.topology.graph.edges
        graph.add_nodes_from(self.plan.specs)
        graph.add_edges_from(edges if hub is None else ((hub, p) for p in self.plan.peers))
        positions = nx.circular_layout([me for me in graph if me != hub])
        if hub is not None:
            positions[hub] = (0.0, 0.0)
        elif len(graph) <= DRAWN_BY_FORCES and nx.is_connected(graph) and not _ring(graph):
            positions = nx.kamada_kawai_layout(graph, pos=positions)
        arrows = hub is None and self.plan.topology.graph.is_directed()
        return {
            "edges": [[self._position[a], self._position[b]] for a, b in (edges if arrows else graph.edges)],
            "positions": [[round(float(x), 3) for x in positions[me]] for me in graph],
            "directed": arrows or (self.plan.run.varying is not None and self.plan.run.varying.one_way),
        }


def _ring(graph: nx.Graph) -> bool:
    return all(degree == 2 for _, degree in graph.degree)
