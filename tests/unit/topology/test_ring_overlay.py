"""The rings: everyone's nearest together make closed rings, whatever the names."""

import networkx as nx
from hypothesis import given, settings
from hypothesis import strategies as st

from parse_p2p.topology.ring_overlay import nearer, nearest, reach

NAMES = st.sets(st.text(min_size=1, max_size=6), min_size=2, max_size=24)


def edges(names, rings):
    return {(me, peer) for me in names for peer in nearest(me, tuple(names - {me}), rings)}


@settings(deadline=None)
@given(NAMES, st.integers(1, 3))
def test_the_nearest_are_mutual_and_make_one_piece(names, rings):
    found = edges(names, rings)
    assert {(b, a) for a, b in found} == found
    graph = nx.Graph(found)
    assert set(graph) == names and nx.is_connected(graph)
    assert max(degree for _, degree in graph.degree) <= 2 * rings


def test_one_ring_is_a_ring():
    names = {f"a{i}" for i in range(20)}
    graph = nx.Graph(edges(names, 1))
    assert nx.is_isomorphic(graph, nx.cycle_graph(20))


@settings(deadline=None)
@given(NAMES, st.integers(1, 3))
def test_who_is_nearer_than_all_others_is_among_the_nearest(names, rings):
    me, other, *others = sorted(names)
    rest = tuple(others)
    better = nearer(me, other, reach(me, rest, rings))
    assert better == (other in nearest(me, (other, *rest), rings))


@settings(deadline=None)
@given(NAMES, st.integers(1, 3), st.integers(1, 3))
def test_more_of_each_side_begin_with_the_nearest(names, rings, count):
    me, *others = sorted(names)
    rest = tuple(others)
    found = nearest(me, rest, rings, count)
    assert len(set(found)) == len(found) <= 2 * rings * count
    assert found[: len(nearest(me, rest, rings))] == nearest(me, rest, rings)
