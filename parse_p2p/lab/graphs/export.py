"""A run's graph as networkx has it, with what the agents are and what crosses each edge."""

import networkx as nx

from parse_p2p.config.run_plan import RunPlan
from parse_p2p.topology.graph_io import GIVEN


def annotated(plan: RunPlan) -> nx.Graph:
    """The graph with its agents' ``modalities`` (audio+motion) and ``task``, ready to be written to a file.

    Edges have the ``slices`` that cross them, separated by blanks, the ``bytes`` that these take in a round, both ways
    together unless edges go one way, and the ``weight`` with which the run's graph mixes along them. Where an overlay
    joins two that the run's graph does not, ``given`` is false and the weight 0: read as a run's graph, such an edge is
    left out. Graphs that vary are as they are laid before anything is drawn.
    """
    directed = plan.topology.graph.is_directed()
    graph = (nx.DiGraph if directed else nx.Graph)(name=plan.run.name)
    for me in plan.peers:
        spec = plan.specs[me]
        graph.add_node(me, modalities="+".join(spec.modalities), **({"task": spec.task} if spec.task else {}))
    for me in plan.peers:
        for peer, weight in plan.topology.weights(me).items():
            edge = (peer, me) if directed else (me, peer)
            graph.add_edge(*edge, weight=weight, bytes=0, slices="", **{GIVEN: True})
    overlays = plan.laid(0)
    for key in overlays.keys:
        for one, other in overlays.graph(key).graph.edges:
            if not graph.has_edge(one, other):
                graph.add_edge(one, other, weight=0.0, bytes=0, slices="", **{GIVEN: False})
            facts = graph.edges[one, other]
            facts["slices"] = f"{facts['slices']} {key}".strip()
            facts["bytes"] += (1 if directed else 2) * plan.codec.length(overlays.offers[one][key].size)
    return graph
