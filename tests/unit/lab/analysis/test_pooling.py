"""Push-sum over a graph, and what a pooled table is good for."""

import networkx as nx
import numpy as np
import pytest

from parse_p2p.lab.analysis import pooling
from parse_p2p.lab.analysis.information import decompose
from parse_p2p.topology.directed import Directed
from parse_p2p.topology.graph import Topology

GRAPHS = {
    "ring": Topology("ring", nx.cycle_graph(8)),
    "star": Topology("star", nx.star_graph(7), "uniform"),
    "irregular": Topology("irregular", nx.barabasi_albert_graph(8, 2, seed=0)),
    "one way": Directed("one way", nx.DiGraph([(i, (i + 1) % 8) for i in range(8)] + [(0, 3), (0, 5), (2, 6)])),
}


def tables(agents=8, samples=150, k=6, classes=6):
    """Counts of independent codes and classes, of other samples at every agent."""
    rng = np.random.default_rng(0)
    cells = k * k * classes
    return rng.multinomial(samples, np.full(cells, 1 / cells), agents).reshape(agents, k, k, classes).astype(float)


@pytest.mark.parametrize("name", GRAPHS)
def test_every_agent_comes_to_the_mean_of_all(name):
    """Also where edges go one way, so that mixing alone would weigh the agents differently."""
    mine = tables()
    seen = pooling.push_sum(GRAPHS[name], mine, 400)
    assert np.allclose(seen, mine.mean(0), atol=1e-9)


@pytest.mark.parametrize("name", ["ring", "star", "irregular"])
def test_the_sum_is_reached_in_the_rounds_that_the_spectral_gap_says(name):
    mine = tables()
    seen, rounds = pooling.total(GRAPHS[name], mine)
    assert np.abs(seen - mine.sum(0)).max() < 1e-4
    assert np.abs(pooling.push_sum(GRAPHS[name], mine, rounds // 3) * 8 - mine.sum(0)).max() > 1e-3


def test_no_mass_is_made_or_lost_on_the_way():
    topology, mine = GRAPHS["one way"], tables()
    first = pooling.push_sum(topology, mine, 0)
    assert np.array_equal(first, mine)
    constant = np.full((8, 3), 0.7)
    assert np.allclose(pooling.push_sum(topology, constant, 3), constant)


def test_a_graph_in_pieces_has_no_sum():
    with pytest.raises(ValueError, match="not all joined"):
        pooling.total(Topology("pieces", nx.Graph([(0, 1), (2, 3)])), tables(4))


def test_a_pooled_estimate_is_less_biased_than_that_of_one_agent():
    """The truth is 0: all that is found is chance, and it falls as 1/n."""
    mine = tables()
    seen, _ = pooling.total(GRAPHS["ring"], mine)
    alone = np.mean([decompose(table).total for table in mine])
    assert all(decompose(np.maximum(table, 0)).total < alone / 5 for table in seen)
