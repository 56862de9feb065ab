"""A run's graph as networkx has it, with what the agents are and what crosses each edge."""

import networkx as nx

from parse_p2p.config.run_plan import World
from parse_p2p.topology.graph_io import GIVEN


def annotated(world: World) -> nx.Graph:
    """The graph with its agents' ``modalities`` (audio+motion) and ``task``, ready to be written to a file.

    Edges have the ``slices`` that cross them, separated by blanks, the ``bytes`` that these take in a round both ways
    together, and the ``weight`` with which the run's graph mixes along them. Where an overlay joins two that the run's
    graph does not, ``given`` is false and the weight 0: read as a run's graph, such an edge is left out. Graphs that
    vary are as they are laid before anything is drawn.
    """
    graph = nx.Graph(name=world.run.name)
    for me in world.peers:
        seat = world.seats[me]
        graph.add_node(me, modalities="+".join(seat.modalities), **({"task": seat.task} if seat.task else {}))
    for me in world.peers:
        for peer, weight in world.topology.weights(me).items():
            graph.add_edge(me, peer, weight=weight, bytes=0, slices="", **{GIVEN: True})
    overlays = world.laid(0)
    for key in overlays.keys:
        for one, other in overlays.graph(key).graph.edges:
            if not graph.has_edge(one, other):
                graph.add_edge(one, other, weight=0.0, bytes=0, slices="", **{GIVEN: False})
            facts = graph.edges[one, other]
            facts["slices"] = f"{facts['slices']} {key}".strip()
            facts["bytes"] += 2 * world.codec.length(overlays.offers[one][key].size)
    return graph
