"""Graphs come out on 0 … n−1, connected, the same every time; everything else is one sentence."""

import networkx as nx
import pytest

from parse_p2p.core.errors import ConfigError
from parse_p2p.topology import generators
from parse_p2p.topology.spectrum import spectral_gap
from parse_p2p.topology.weights import metropolis

ARGS = {"erdos-renyi": {"p": 0.5}}


@pytest.mark.parametrize("name", sorted(generators.FAMILIES))
@pytest.mark.parametrize("n", [8, 16])
def test_every_family_is_connected_simple_and_numbered_in_order(name, n):
    graph = generators.build(name, n, ARGS.get(name, {}))
    assert list(graph) == list(range(n))
    assert nx.is_connected(graph) and nx.number_of_selfloops(graph) == 0
    assert nx.utils.graphs_equal(graph, generators.build(name, n, ARGS.get(name, {})))


@pytest.mark.parametrize("name", ["ring", "chordal-ring", "complete", "star", "line", "tree", "exponential"])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_families_shrink_to_a_single_node(name, n):
    graph = generators.build(name, n, {})
    assert len(graph) == n and nx.is_connected(graph) and nx.number_of_selfloops(graph) == 0


@pytest.mark.parametrize(
    ("name", "n", "args", "same"),
    [
        ("ring", 7, {}, nx.cycle_graph(7)),
        ("chordal-ring", 20, {}, nx.circulant_graph(20, [1, 4])),
        ("chordal-ring", 20, {"chord": 10}, nx.circulant_graph(20, [1, 10])),
        ("torus", 20, {}, nx.grid_2d_graph(4, 5, periodic=True)),
        ("torus", 12, {"rows": 2}, nx.circular_ladder_graph(6)),
        ("hypercube", 16, {}, nx.hypercube_graph(4)),
        ("tree", 15, {}, nx.balanced_tree(2, 3)),
        ("tree", 13, {"branching": 3}, nx.balanced_tree(3, 2)),
        ("star", 6, {}, nx.star_graph(5)),
        ("exponential", 16, {}, nx.circulant_graph(16, [1, 2, 4, 8])),
        ("petersen_graph", 10, {}, nx.petersen_graph()),
        ("cycle_graph", 6, {}, nx.cycle_graph(6)),
        ("grid_2d_graph", 6, {"m": 2, "n": 3}, nx.grid_2d_graph(2, 3)),
        ("hypercube_graph", 8, {"n": 3}, nx.hypercube_graph(3)),
    ],
)
def test_a_named_graph_is_that_graph(name, n, args, same):
    assert nx.is_isomorphic(generators.build(name, n, args), same)


@pytest.mark.parametrize("n", range(3, 60))
def test_a_torus_of_any_size_mixes_at_least_as_well_as_a_ring_and_is_a_grid_where_it_may_be(n):
    graph, ring = (generators.build(name, n, {}) for name in ("torus", "ring"))
    gap, least = (spectral_gap(metropolis(g)) for g in (graph, ring))
    assert gap >= least - 1e-12 and max(d for _, d in graph.degree) <= 4
    grids = [nx.grid_2d_graph(a, n // a, periodic=True) for a in range(2, n) if n % a == 0 and a <= n // a <= 2 * a]
    if grids:
        assert nx.is_isomorphic(graph, grids[-1])
    elif n > 4:
        assert gap > 1.5 * least and nx.is_isomorphic(graph, generators.build("chordal-ring", n, {}))


def test_seeds_choose_the_draw_and_networkx_generators_are_seeded_too():
    assert all(d == 4 for _, d in generators.build("random-regular", 20, {"seed": 3}).degree)
    draws = [set(generators.build("random-regular", 20, {"seed": s}).edges) for s in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    twice = [set(generators.build("gnp_random_graph", 20, {"p": 0.4}).edges) for _ in range(2)]
    assert twice[0] == twice[1]


def test_a_disconnected_draw_is_drawn_again():
    seed = next(s for s in range(100) if not nx.is_connected(nx.gnp_random_graph(12, 0.25, seed=s)))
    assert nx.is_connected(generators.build("erdos-renyi", 12, {"p": 0.25, "seed": seed}))


BAD = [
    ("rign", 5, {}, "did you mean 'ring'"),
    ("classic", 5, {}, "no graph family"),  # a module of networkx, not a generator
    ("_dispatchable", 5, {}, "no graph family"),
    ("ring", 0, {}, "at least one agent"),
    ("ring", 5, {"chrod": 3}, "'ring' does not know chrod; it takes no arguments"),
    ("ring", 5, {"n": 5}, "does not know n"),
    ("chordal-ring", 6, {"chord": "q"}, "'chordal-ring' refuses its arguments"),
    ("chordal-ring", 6, {"chord": 6}, "chord of 6"),
    ("erdos-renyi", 5, {}, "it takes p, seed"),
    ("erdos-renyi", 50, {"p": 0.001}, "in pieces"),
    ("random-regular", 5, {"degree": 3}, "degree 3"),
    ("barabasi-albert", 3, {"m": 3}, "attach to 3"),
    ("watts-strogatz", 3, {"k": 4}, "4 nearest"),
    ("tree", 3, {"branching": 0}, "branching"),
    ("torus", 2, {}, "rows × columns"),
    ("torus", 7, {"rows": 1}, "no torus of 1 rows"),
    ("torus", 8, {"rows": 3}, "no torus of 3 rows"),
    ("hypercube", 12, {}, "power of two"),
    ("petersen_graph", 9, {}, "gives 10 nodes, and there are 9 agents"),
    ("cycle_graph", 6, {"create_using": nx.DiGraph}, "does not know create_using"),
    ("hypercube_graph", 16, {}, "it takes n"),  # n would be an exponent
    ("gn_graph", 5, {}, "directed"),
    ("scale_free_graph", 5, {}, "directed"),
    ("configuration_model", 2, {"deg_sequence": [2, 2]}, "parallel edges"),
    ("is_regular_expander", 2, {"G": 1}, "refuses"),
    ("null_graph", 1, {}, "without nodes"),
    ("sedgewick_maze_graph", 7, {}, "8 nodes"),
    ("is_valid_degree_sequence", 2, {}, "no graph family"),
    ("triads_by_type", 2, {}, "no graph family"),
    ("nonisomorphic_trees", 2, {"order": 4}, "does not give one graph"),
]


@pytest.mark.parametrize(("name", "n", "args", "says"), BAD)
def test_what_cannot_be_built_is_one_sentence(name, n, args, says):
    with pytest.raises(ConfigError, match=says) as caught:
        generators.build(name, n, args)
    assert "\n" not in str(caught.value)
