"""Graphs drawn every round: doubly stochastic whatever is drawn, the same for everyone, as fast as foretold."""

import hashlib
import os
import subprocess
import sys
from functools import partial

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from parse_p2p.topology import generators
from parse_p2p.topology.dynamic import KINDS, VaryingOptions, drawn
from parse_p2p.topology.graph import Topology

kinds = pytest.mark.parametrize("kind", KINDS)
symmetric = pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "el-local"])
TRACE = [(r % 10, f"a{r * r % 13}", f"a{(r * r + r % 3 + 1) % 13}") for r in range(200)]  # of ten rounds


def base(n, family="ring", **options):
    lay = partial(generators.build, family, args={})
    return Topology(family, nx.relabel_nodes(lay(n), {i: f"a{i}" for i in range(n)}), family=lay, **options)


def options(kind, **changes):
    return VaryingOptions(kind=kind, **{"contacts": TRACE if kind == "trace" else ()} | changes)


def edges(topology):
    return {frozenset(edge) for edge in topology.graph.edges}


@symmetric
@settings(deadline=None, max_examples=60)
@given(n=st.integers(1, 13), seed=st.integers(0, 99), round=st.integers(0, 999), p=st.floats(0, 1), k=st.integers(2, 6))
def test_5_4_every_matrix_of_every_round_is_symmetric_and_doubly_stochastic(kind, n, seed, round, p, k):
    found = drawn(base(n, "chordal-ring"), options(kind, probability=p, degree=k, repeat=True), seed, round)
    matrix = found.matrix()
    assert found.peers == tuple(f"a{i}" for i in range(n))
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_allclose(matrix.sum(0), 1, atol=1e-12)
    assert (matrix >= 0).all()


@pytest.mark.parametrize("n", range(1, 12))
def test_5_5_a_matching_leaves_out_nobody_or_one_and_weighs_a_half(n):
    found = drawn(base(n), options("matching"), 0, 5)
    degrees = sorted(dict(found.graph.degree).values())
    assert degrees == ([0] if n % 2 else []) + [1] * (n - n % 2)
    assert {w for me in found.peers for w in found.weights(me).values()} <= {0.5}


@pytest.mark.parametrize(
    ("n", "asked", "degree"), [(20, 4, 4), (20, 3, 3), (9, 3, 2), (9, 4, 4), (4, 4, 3), (3, 4, 2), (2, 4, 1), (1, 4, 0)]
)
def test_5_5_a_regular_graph_has_the_degree_or_the_next_that_exists(n, asked, degree):
    for round in range(20):
        found = drawn(base(n), options("regular", degree=asked), 0, round)
        assert set(dict(found.graph.degree).values()) == {degree}
        assert {w for me in found.peers for w in found.weights(me).values()} <= {1 / (1 + degree)}


@kinds
def test_A1_the_seed_and_the_round_decide_and_nothing_else(kind):
    def draw(seed, round, topology=base(16)):  # noqa: B008 -- never changed
        return edges(drawn(topology, options(kind), seed, round))

    assert draw(3, 7) == draw(3, 7)
    assert draw(3, 7) != draw(3, 8)
    assert (draw(3, 7) == draw(4, 7)) == (kind == "trace"), "whom one meets in a trace is no draw"


@pytest.mark.parametrize("kind", ["matching", "regular", "el-local", "failing"])
def test_A1_slices_held_by_others_have_a_draw_of_their_own(kind):
    def places(first):
        held = base(14, "complete").over({f"a{i}" for i in range(first, first + 10)})
        found = drawn(held, options(kind), 0, 0)
        return {frozenset(map(found.peers.index, edge)) for edge in edges(found)}

    assert places(0) == places(0)
    assert places(0) != places(4)


PROCESS = """
from parse_p2p.topology import generators
from parse_p2p.topology.graph import Topology
from parse_p2p.topology.dynamic import KINDS, VaryingOptions, drawn
import hashlib, networkx as nx
whole = nx.relabel_nodes(generators.build("complete", 14, {}), {i: f"a{i}" for i in range(14)})
held = Topology("net", whole, overlay="induced").over({f"a{i}" for i in range(1, 13, 2)})
met = [(r % 9, f"a{r % 14}", f"a{(3 * r + 1) % 14}") for r in range(0, 99, 4)]
every = [VaryingOptions(kind=kind, contacts=met) for kind in KINDS]
found = [drawn(held, options, 5, round).matrix().tobytes() for options in every for round in range(9)]
print(hashlib.sha256(b"".join(found)).hexdigest())
"""  # few holders: networkx then lists the nodes of a subgraph in the order of a set


def test_A1_every_process_draws_the_same_whatever_its_hash_seed():
    def said(seed):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        return subprocess.run(
            [sys.executable, "-c", PROCESS], env=environment, capture_output=True, text=True, check=True, timeout=120
        ).stdout

    said_first, *said_later = (said(seed) for seed in "123")
    assert said_later == [said_first] * 2
    assert len(said_first.strip()) == len(hashlib.sha256().hexdigest())


@pytest.mark.parametrize("family", ["ring", "star", "complete", "chordal-ring"])
def test_5_4_nothing_fails_with_probability_nought_and_everything_with_one(family):
    topology = base(9, family)
    np.testing.assert_array_equal(drawn(topology, options("failing", probability=0), 1, 1).matrix(), topology.matrix())
    np.testing.assert_array_equal(drawn(topology, options("failing", probability=1), 1, 1).matrix(), np.eye(9))


def test_5_4_each_edge_fails_with_its_probability_and_by_itself():
    topology, rounds, p = base(12), 4000, 0.2
    names = sorted(map(sorted, topology.graph.edges))
    kept = np.array([
        [frozenset(edge) in left for edge in names]
        for left in (edges(drawn(topology, options("failing", probability=p), 0, t)) for t in range(rounds))
    ])  # fmt: skip
    deviation = (p * (1 - p) / rounds) ** 0.5
    np.testing.assert_allclose(kept.mean(0), 1 - p, atol=5 * deviation)
    covariance = np.cov(kept.T) - p * (1 - p) * np.eye(len(names))
    assert np.abs(covariance).max() < 5 * p * (1 - p) * (2 / rounds) ** 0.5


N = 20
FORETOLD = {  # expected Ξ⁺/Ξ of one round among n agents
    "matching": (options("matching"), N, (N - 2) / (2 * (N - 1))),
    "regular of 2": (options("regular", degree=2), N, (N - 3) / (3 * (N - 1))),
    "regular of 4": (options("regular"), N, (N - 5) / (5 * (N - 1))),
    "one left over": (options("matching"), 9, 0.5),  # n odd: 8 of 9 pair up, and W² = W has trace 1 + 4
    "two on a failing edge": (options("failing", probability=0.3), 2, 0.3),
}


@pytest.mark.parametrize(("chosen", "n", "rate"), FORETOLD.values(), ids=FORETOLD.keys())
def test_5_5_pure_mixing_contracts_as_the_closed_form_says(chosen, n, rate):
    topology, rounds = base(n), 2000
    matrices = [drawn(topology, chosen, t % 4, t).matrix() for t in range(rounds)]
    second = np.linalg.eigvalsh(sum(w.T @ w for w in matrices) / rounds)[-2]
    assert second == pytest.approx(rate, abs=0.035)
    rng, ratios = np.random.default_rng(0), []
    x = spread(rng.standard_normal((n, 8)))
    for w in matrices:
        mixed = spread(w @ x)
        ratios.append((mixed**2).sum() / (x**2).sum())
        # what is left is scaled up again, or drawn anew where it is all but gone
        x = mixed / np.abs(mixed).max() if np.abs(mixed).max() > 1e-6 else spread(rng.standard_normal((n, 8)))
    assert np.mean(ratios) == pytest.approx(rate, abs=0.03)


@pytest.mark.parametrize(("n", "s", "beta"), [(20, 1, 0.608), (20, 2, 0.393), (20, 4, 0.195), (5, 4, 0.0), (6, 9, 0.0)])
def test_5_5_el_local_contracts_towards_the_mean_that_was_as_the_closed_form_says(n, s, beta):
    s_out = min(s, n - 1)
    closed = (1 - (1 - s_out / (n - 1)) ** n) / s_out - 1 / (n - 1)
    assert closed == pytest.approx(beta, abs=6e-4)
    rng, left, drift = np.random.default_rng(0), [], []
    for t in range(2000):
        x = spread(rng.standard_normal((n, 8)))
        mixed = drawn(base(n), options("el-local", degree=s), t % 4, t).matrix() @ x
        left.append((mixed**2).sum() / (x**2).sum())  # the mean that was is 0
        drift.append(n * (mixed.mean(0) ** 2).sum() / (x**2).sum())
    assert np.mean(left) == pytest.approx(closed, abs=0.01)
    assert (np.mean(drift) > 1e-3) == (s_out < n - 1), "unless everyone hears everyone the mean moves"


@settings(deadline=None, max_examples=60)
@given(n=st.integers(1, 13), seed=st.integers(0, 99), round=st.integers(0, 999), s=st.integers(1, 14))
def test_5_5_in_el_local_each_sends_to_as_many_and_averages_what_comes(n, seed, round, s):
    found = drawn(base(n), options("el-local", degree=s), seed, round)
    sent = {(me, peer) for me in found.peers for peer in found.audience(me)}
    assert {(peer, me) for me in found.peers for peer in found.neighbours(me)} == sent
    for i, me in enumerate(found.peers):
        assert len(found.audience(me)) == min(s, n - 1) and me not in found.audience(me)
        weights = found.weights(me)
        assert weights == dict.fromkeys(found.neighbours(me), pytest.approx(1 / (1 + len(found.neighbours(me)))))
        assert found.matrix()[i, i] == pytest.approx(1 - sum(weights.values()))
        assert found.matrix()[i].sum() == pytest.approx(1)
    assert set().union(*found.connected_components()) == set(found.peers)


def test_5_5_in_el_local_every_receiver_is_equally_likely():
    rounds, n, s = 3000, 8, 2
    met = sum(drawn(base(n), options("el-local", degree=s), 0, t).matrix() > 0 for t in range(rounds)) / rounds
    p = s / (n - 1)
    np.testing.assert_allclose(met[~np.eye(n, dtype=bool)], p, atol=5 * (p * (1 - p) / rounds) ** 0.5)


def test_a_trace_gives_the_contacts_of_its_rounds_and_then_begins_again_or_ends():
    contacts = [(0, "a0", "a1"), (2, "a1", "a2"), (2, "a2", "a1"), (2, "a3", "a0"), (2, "a0", "a9")]
    met = [{frozenset(("a0", "a1"))}, set(), {frozenset(("a1", "a2")), frozenset(("a0", "a3"))}]
    for round in range(7):
        once, again = (
            edges(drawn(base(4), options("trace", contacts=contacts, repeat=repeat), 0, round))
            for repeat in (False, True)
        )
        assert once == (met[round] if round < 3 else set())
        assert again == met[round % 3]


def test_a_slice_sees_of_a_trace_what_is_among_its_holders():
    held = base(6).over({"a1", "a3", "a4"})
    contacts = [(0, "a1", "a2"), (0, "a3", "a1"), (0, "a0", "a4")]
    found = drawn(held, options("trace", contacts=contacts), 0, 0)
    assert found.peers == ("a1", "a3", "a4") and edges(found) == {frozenset(("a1", "a3"))}
    assert found.weights("a1") == {"a3": 0.5} and found.weights("a4") == {}


def spread(x):
    return x - x.mean(0)


def test_5_5_a_matching_joins_every_pair_equally_often():
    topology, rounds, n = base(8), 3000, 8
    met = sum(drawn(topology, options("matching"), 0, t).matrix() for t in range(rounds)) * 2 / rounds
    p = 1 / (n - 1)
    np.testing.assert_allclose(met[~np.eye(n, dtype=bool)], p, atol=5 * (p * (1 - p) / rounds) ** 0.5)


@pytest.mark.parametrize("n", [2, 4, 8, 16, 32])
def test_5_5_one_peer_exponential_averages_exactly_in_every_cycle_of_log2_n_rounds(n):
    rounds = n.bit_length() - 1
    for first in (0, rounds, 7 * rounds):
        product = np.eye(n)
        for round in range(first, first + rounds):
            product = drawn(base(n), options("one-peer-exponential"), 0, round).matrix() @ product
        np.testing.assert_array_equal(product, np.full((n, n), 1 / n))


@pytest.mark.parametrize("n", [3, 6, 12])
def test_5_5_one_peer_exponential_of_another_number_is_a_matching(n):
    found = drawn(base(n), options("one-peer-exponential"), 0, 3)
    assert sorted(dict(found.graph.degree).values()) == [0] * (n % 2) + [1] * (n - n % 2)


@pytest.mark.parametrize(("degree", "neighbours", "rounds"), [(None, 1, 5), (2, 2, 3), (11, 11, 1)])
def test_a_base_graph_of_twelve_is_one_round_after_another_with_its_weights(degree, neighbours, rounds):
    chosen = options("base") if degree is None else options("base", degree=degree)
    for first in (0, rounds):
        product = np.eye(12)
        for round in range(first, first + rounds):
            assert np.abs(product - 1 / 12).max() > 1e-3
            topology = drawn(base(12), chosen, 0, round)
            assert max(dict(topology.graph.degree).values()) <= neighbours
            product = topology.matrix() @ product
        np.testing.assert_allclose(product, np.full((12, 12), 1 / 12), atol=1e-15)


@pytest.mark.parametrize("kind", ["base", "one-peer-exponential"])
def test_every_cycle_has_places_of_its_own(kind):
    graphs = [frozenset(edges(drawn(base(8), options(kind), 0, round))) for round in range(27)]
    assert len({tuple(graphs[first : first + 3]) for first in range(0, 27, 3)}) == 9


def test_of_one_agent_a_base_graph_joins_nobody():
    assert not drawn(base(1), options("base"), 0, 3).graph.edges


@pytest.mark.parametrize("wrong", [{"kind": "matchings"}, {}, {"kind": "failing", "probability": 1.1},
                                   {"kind": "regular", "degree": 1}, {"kind": "matching", "degre": 3},
                                   {"kind": "trace"}, {"kind": "matching", "file": "x.csv"},
                                   {"kind": "trace", "contacts": [[0, "a"]]}])  # fmt: skip
def test_A2_an_unknown_kind_or_value_is_refused(wrong):
    with pytest.raises(ValidationError):
        VaryingOptions.model_validate(wrong)
