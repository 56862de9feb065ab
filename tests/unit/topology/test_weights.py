"""The matrices against closed formulas and a table of reference; mixing against the rate they promise."""

import math

import networkx as nx
import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from parse_p2p.core.errors import ConfigError
from parse_p2p.topology import spectrum
from parse_p2p.topology.generators import build
from parse_p2p.topology.weights import WEIGHTS, fastest_mixing, given, metropolis, refuse_odd, uniform


def rho(name, n, **args):
    return spectrum.slem(metropolis(build(name, n, args)))


@st.composite
def connected_graphs(draw):
    n, seed = draw(st.integers(1, 14)), draw(st.integers(0, 10_000))
    graph = nx.gnp_random_graph(n, draw(st.floats(0, 1)), seed=seed)
    parents = np.random.default_rng(seed)
    graph.add_edges_from((int(parents.integers(i)), i) for i in range(1, n))
    return graph


TABLE = {  # Metropolis, n = 16, 20, 32, 64
    "ring": (0.9493, 0.9674, 0.9872, 0.9968),
    "half": (0.8536, 0.9045, 0.9619, 0.9904),
    "chordal-ring": (0.6000, 0.7040, 0.7918, 0.8828),
    "torus": (0.6000, 0.7236, 0.8828, 0.8828),
    "star": (0.9375, 0.9500, 0.9688, 0.9844),
    "complete": (0, 0, 0, 0),
}


@pytest.mark.parametrize(("name", "expected"), TABLE.items())
def test_rho_of_the_table(name, expected):
    for n, value in zip((16, 20, 32, 64), expected, strict=True):
        measured = rho("chordal-ring", n, chord=n // 2) if name == "half" else rho(name, n)
        assert measured == pytest.approx(value, abs=5.1e-5)


RANDOM = {
    ("random-regular", "degree", 3): (0.859, 0.893, 0.922, 0.940),
    ("random-regular", "degree", 4): (0.738, 0.787, 0.829, 0.862),
    ("random-regular", "degree", 6): (0.566, 0.610, 0.692, 0.729),
    ("barabasi-albert", "m", 2): (0.890, 0.903, 0.926, 0.941),
}


@pytest.mark.parametrize(("family", "expected"), RANDOM.items())
def test_rho_of_random_graphs_on_average(family, expected):
    name, argument, value = family
    for n, wanted in zip((16, 20, 32, 64), expected, strict=True):
        drawn = [rho(name, n, **{argument: value, "seed": 1000 * k}) for k in range(20)]
        assert np.mean(drawn) == pytest.approx(wanted, abs=4 * np.std(drawn) / math.sqrt(10) + 5e-4)


@pytest.mark.parametrize("n", [3, 4, 7, 12, 33])
def test_closed_formulas(n):
    assert rho("ring", n) == pytest.approx(1 - 2 / 3 * (1 - math.cos(2 * math.pi / n)))
    assert rho("star", n) == pytest.approx(1 - 1 / n)
    assert rho("complete", n) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("a", "b"), [(3, 3), (3, 5), (4, 6), (5, 8)])
def test_closed_formula_of_the_torus(a, b):
    assert rho("torus", a * b, rows=a) == pytest.approx(1 - 2 / 5 * (1 - math.cos(2 * math.pi / b)))


def test_closed_formula_of_the_hypercube_and_the_limit_of_random_regular_graphs():
    assert rho("hypercube", 32) == pytest.approx(1 - 2 / 6)
    assert rho("random-regular", 400, degree=4) == pytest.approx((1 + 2 * math.sqrt(3)) / 5, abs=0.02)


@settings(max_examples=40, deadline=None)
@drawn(graph=connected_graphs(), rule=st.sampled_from(sorted(WEIGHTS)))
def test_every_rule_is_symmetric_doubly_stochastic_on_the_edges_and_contracts(graph, rule):
    matrix = WEIGHTS[rule](graph)
    edges = nx.to_numpy_array(graph, weight=None) + np.eye(len(graph))
    assert matrix.dtype == np.float64 and matrix.shape == (len(graph),) * 2
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_allclose(matrix.sum(axis=0), 1, atol=1e-12)
    assert (matrix >= 0).all() and (matrix[edges == 0] == 0).all()
    assert spectrum.slem(matrix) < 1


@settings(max_examples=25, deadline=None)
@drawn(graph=connected_graphs())
def test_fastest_mixing_is_never_worse_than_metropolis(graph):
    assert spectrum.slem(fastest_mixing(graph)) <= spectrum.slem(metropolis(graph))


def by_hand(n):
    c = math.cos(2 * math.pi / n)
    return (1 + c) / (3 - c)  # a ring with 1/(3 − c) on every edge, even n


OPTIMA = [
    ("complete", 6, 0.0),
    ("star", 3, 1 / 2),
    ("star", 8, 6 / 7),  # 1/(n − 1) on every edge leaves the hub nothing of its own
    *[("line", n, math.cos(math.pi / n)) for n in (3, 5, 10, 20)],  # Boyd, Diaconis, Sun and Xiao 2006
    *[("ring", n, by_hand(n)) for n in (4, 12, 20)],
    ("hypercube", 8, 0.5),
]


@pytest.mark.parametrize(("name", "n", "optimum"), OPTIMA)
def test_fastest_mixing_finds_known_optima(name, n, optimum):
    found = spectrum.slem(fastest_mixing(build(name, n, {})))
    assert optimum - 1e-9 <= found <= optimum + 1e-3


def test_fastest_mixing_gains_where_degrees_differ_and_treats_components_apart():
    graph = nx.barbell_graph(5, 2)
    gained = 1 - spectrum.slem(fastest_mixing(graph))
    assert gained > 1.5 * (1 - spectrum.slem(metropolis(graph)))
    both = fastest_mixing(nx.disjoint_union(graph, nx.empty_graph(1)))
    np.testing.assert_allclose(both[:12, :12], fastest_mixing(graph), atol=1e-6)
    assert both[12, 12] == 1


def test_weights_by_hand_on_a_path_of_three_with_named_nodes():
    graph = nx.Graph([("b", "a"), ("a", "c")])  # order b, a, c
    third = [[2 / 3, 1 / 3, 0], [1 / 3, 1 / 3, 1 / 3], [0, 1 / 3, 2 / 3]]
    np.testing.assert_allclose(metropolis(graph), third)
    np.testing.assert_allclose(uniform(graph), third)
    graph.add_edge("b", "a", weight=9)  # weights of a graph file are not mixing weights
    np.testing.assert_allclose(metropolis(graph), third)
    assert uniform(nx.path_graph(4))[0, 1] == pytest.approx(1 / 3) and metropolis(nx.empty_graph(1)) == 1


FROZEN = [
    ("ring", 12, {}),
    ("ring", 20, {}),
    ("torus", 20, {}),
    ("chordal-ring", 20, {}),
    ("star", 20, {}),
    ("random-regular", 20, {"degree": 4, "seed": 1}),
]


@pytest.mark.parametrize(("name", "n", "args"), FROZEN)
def test_frozen_mixing_decays_at_rho(name, n, args):
    """No learning: the slope of ½·ln of the squared disagreement is ln ρ.

    Fitted where that is 1e-8 to 1e-20 of the first: above, on the graphs that mix well, faster
    modes still tell in the fourth digit; below lies the rounding of float64.
    """
    matrix = metropolis(build(name, n, args))
    models = np.random.default_rng(0).standard_normal((n, 64))
    energy = []
    while not energy or energy[-1] > 1e-20 * energy[0]:
        energy.append(float(((models - models.mean(axis=0)) ** 2).sum()))
        models = matrix @ models
    ratio = np.array(energy) / energy[0]
    window = np.flatnonzero((ratio < 1e-8) & (ratio > 1e-20))
    slope = np.polyfit(window, 0.5 * np.log(ratio[window]), 1)[0]
    assert math.exp(slope) == pytest.approx(spectrum.slem(matrix), abs=1e-5)
    bound = spectrum.slem(matrix) ** (2 * np.arange(len(ratio)))
    assert (ratio <= bound * (1 + 1e-9)).all()


def test_spectrum_of_rings_pieces_and_complete_graphs():
    matrix = metropolis(build("ring", 16, {}))
    assert spectrum.spectral_gap(matrix) == pytest.approx(1 - 0.9493, abs=5e-5)
    assert round(spectrum.rounds_to(matrix, 1e-3)) == 133
    assert spectrum.rounds_to(metropolis(build("complete", 5, {})), 1e-6) == 1
    assert spectrum.rounds_to(np.eye(1), 1e-6) == 1
    assert spectrum.rounds_to(metropolis(nx.empty_graph(3)), 0.1) == math.inf
    assert spectrum.connected_components(nx.Graph([(3, 1), (2, 5), (1, 4)])) == [{1, 3, 4}, {2, 5}]


@pytest.mark.parametrize("epsilon", [0, 1, -1, math.nan])
def test_rounds_to_nothing_or_everything_is_refused(epsilon):
    with pytest.raises(ConfigError, match="epsilon"):
        spectrum.rounds_to(np.eye(2), epsilon)


RING = [("a", "b", 0.4), ("b", "c", 0.1), ("c", "d", 0.4), ("d", "a", 0.1)]


def weighted(*edges):
    graph = nx.Graph()
    graph.add_weighted_edges_from(edges)
    return graph


def test_given_weights_are_those_of_the_edges_and_the_rest_stays_at_home():
    matrix = given(weighted(*RING))
    by_hand = [[0.5, 0.4, 0, 0.1], [0.4, 0.5, 0.1, 0], [0, 0.1, 0.5, 0.4], [0.1, 0, 0.4, 0.5]]
    np.testing.assert_allclose(matrix, by_hand, atol=1e-15)
    assert spectrum.slem(matrix) == pytest.approx(0.8)


def test_a_graph_without_all_weights_gets_metropolis_ones():
    graph = weighted(*RING)
    graph.add_edge("a", "c")
    np.testing.assert_array_equal(given(graph), metropolis(graph))


@pytest.mark.parametrize(
    ("edges", "said"),
    [
        ([("a", "b", -0.1)], "ring.edges: the edge a-b has the weight -0.1; give one from 0 to 1"),
        ([("a", "b", math.nan)], "ring.edges: the edge a-b has the weight nan; give one from 0 to 1"),
        ([("a", "b", math.inf)], "ring.edges: the edge a-b has the weight inf; give one from 0 to 1"),
        ([("a", "b", None)], "ring.edges: the edge a-b has the weight None; give one from 0 to 1"),
        ([("a", "b", 0.6), ("b", "c", 0.5)], "ring.edges: the weights of the edges at b sum to 1.1; make it 1 at most"),
    ],
)
def test_weights_by_which_nobody_can_mix_are_refused(edges, said):
    with pytest.raises(ConfigError) as caught:
        refuse_odd("ring.edges", weighted(*edges))
    assert str(caught.value) == said


def test_weights_that_leave_an_agent_nothing_of_its_own_are_fine():
    refuse_odd("g", weighted(("a", "b", 0.1), ("a", "c", 0.2), ("a", "d", 0.7)))
