"""What agents ask of a topology, and that the overlay of any holders is a topology that can mix."""

import pickle
from functools import partial

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parse_p2p.core.errors import ConfigError
from parse_p2p.topology import generators
from parse_p2p.topology.graph import Topology

ARGS = {"erdos-renyi": {"p": 0.4}}


def topology(name, n=16, **kwargs):
    family = partial(generators.build, name, args=ARGS.get(name, {}))
    graph = nx.relabel_nodes(family(n), {i: f"a{i}" for i in range(n)})
    return Topology(name, graph, **{"family": family, **kwargs})


def test_neighbours_and_peers_come_in_the_order_of_the_file():
    star = Topology("net", generators.from_edges([("z", "hub"), ("hub", "m"), ("a", "hub")]))
    assert star.peers == ("z", "hub", "m", "a")
    assert star.neighbours("hub") == ("z", "m", "a") and star.neighbours("a") == ("hub",)


def test_weights_of_all_agents_are_the_rows_of_the_matrix():
    tree = topology("tree", 7)
    for i, me in enumerate(tree.peers):
        row = tree.weights(me)
        assert tuple(row) == tree.neighbours(me)
        assert 1 - sum(row.values()) == pytest.approx(tree.matrix()[i, i])
        assert all(tree.weights(peer)[me] == weight for peer, weight in row.items())


def test_the_matrix_is_computed_once_and_cannot_be_written():
    ring = topology("ring", weighting="uniform")
    assert ring.matrix() is ring.matrix()
    with pytest.raises(ValueError, match="read-only"):
        ring.matrix()[0, 0] = 1
    assert ring.spectral_gap() == pytest.approx(1 - 0.9493, abs=5e-5)


def test_a_topology_travels_to_another_process():
    ring = topology("ring", 6)
    ring.matrix()
    there = pickle.loads(pickle.dumps(ring))
    assert there.peers == ring.peers and len(there.over(ring.peers[:4]).graph.edges) == 4


@pytest.mark.parametrize("overlay", ["per-slice", "induced"])
def test_all_holders_share_the_topology_itself(overlay):
    ring = topology("ring", overlay=overlay)
    assert ring.over(ring.peers[::-1]) is ring


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from([*generators.FAMILIES, "petersen_graph"]), data=st.data())
def test_overlays_are_connected_whatever_the_family_and_the_holders(name, data):
    whole = topology(name, 10 if name == "petersen_graph" else 16)
    holders = data.draw(st.sets(st.sampled_from(whole.peers), min_size=1))
    laid = whole.over(holders)
    assert laid.peers == tuple(p for p in whole.peers if p in holders)
    assert laid.connected_components() == (frozenset(holders),)
    assert len(laid.graph.edges) == {1: 0, 2: 1}.get(len(holders), len(laid.graph.edges))
    np.testing.assert_allclose(laid.matrix().sum(axis=0), 1)


def test_a_family_is_laid_over_the_holders_in_node_order():
    ring = topology("ring")
    laid = ring.over({"a9", "a1", "a4", "a12"})
    assert laid.neighbours("a1") == ("a4", "a12") and laid.neighbours("a9") == ("a4", "a12")
    assert (laid.weighting, laid.overlay, laid.family) == (ring.weighting, ring.overlay, ring.family)
    assert laid.over({"a1", "a4", "a9"}).neighbours("a1") == ("a4", "a9")


def test_where_the_family_does_not_fit_the_induced_graph_or_a_ring_takes_its_place():
    cube = topology("hypercube", 8)
    corner = cube.over({"a0", "a1", "a2"})  # connected as it is: a path
    assert {frozenset(e) for e in corner.graph.edges} == {frozenset(("a0", "a1")), frozenset(("a0", "a2"))}
    apart = cube.over({"a0", "a3", "a5", "a6", "a7"})  # a0 has no neighbour among them
    assert nx.is_isomorphic(apart.graph, nx.cycle_graph(5))
    assert nx.is_isomorphic(cube.over({"a0", "a3", "a5", "a6"}).graph, nx.cycle_graph(4))  # 2² nodes: a cube


@pytest.mark.parametrize("holders", [(), ("a1",), ("a1", "a7")])
def test_overlays_of_nobody_one_and_two(holders):
    laid = topology("random-regular").over(holders)
    assert laid.peers == holders and laid.matrix().shape == (len(holders),) * 2
    assert len(laid.graph.edges) == max(0, len(holders) - 1)


def test_induced_overlays_name_their_connected_components():
    ring = topology("ring", overlay="induced")
    laid = ring.over({"a0", "a1", "a5", "a15", "a9", "a8"})
    assert laid.connected_components() == ({"a0", "a1", "a15"}, {"a5"}, {"a8", "a9"})
    assert laid.spectral_gap() == pytest.approx(0, abs=1e-12) and laid.weights("a5") == {}


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({"weighting": "metropolitan"}, "did you mean 'metropolis'"),
        ({"overlay": "inducd"}, "did you mean 'induced'"),
    ],
)
def test_unknown_choices_are_one_sentence(kwargs, says):
    with pytest.raises(ConfigError, match=says):
        topology("ring", **kwargs)


@pytest.mark.parametrize(
    ("graph", "says"),
    [
        (nx.Graph([("a", "b"), ("b", "b")]), "'net' joins 'b' to itself"),
        (nx.DiGraph([("a", "b")]), "undirected"),
        (nx.MultiGraph([("a", "b")]), "every edge named once"),
    ],
)
def test_graphs_that_cannot_gossip_are_one_sentence(graph, says):
    with pytest.raises(ConfigError, match=says):
        Topology("net", graph)


@pytest.mark.parametrize("ask", ["neighbours", "weights"])
def test_an_unknown_agent_is_one_sentence(ask):
    with pytest.raises(ConfigError, match="no peer 'a44'"):
        getattr(topology("ring", 5), ask)("a44")
    with pytest.raises(ConfigError, match="no peer 'a44'"):
        topology("ring", 5).over({"a1", "a44"})
