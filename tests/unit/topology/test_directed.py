"""Graphs whose edges go one way, and push-sum on them: numpy's powers of the matrix say what comes of it."""

from functools import partial

import networkx as nx
import numpy as np
import pytest
import torch
import yaml
from exchanging import frozen, lossy, parameters, scattered
from plans import differing, finished, plan, under

import parse_p2p
from parse_p2p.config import run_file
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import PeerId
from parse_p2p.lab.graphs.graph_metrics import measure
from parse_p2p.runtime.simulator import simulate
from parse_p2p.topology.directed import OneWay

ARROWS = [("a0", "a1"), ("a1", "a2"), ("a2", "a3"), ("a3", "a0"), ("a0", "a2"), ("a3", "a1"), ("a1", "a0")]
GRAPH = {"edges": ARROWS, "directed": True}
PUSHED = {"exchange": "push-sum"}
SENT = np.array([[1 / 3, 1 / 3, 0, 1 / 3], [1 / 3, 1 / 3, 0, 1 / 3], [1 / 3, 1 / 3, 1 / 2, 0], [0, 0, 1 / 2, 1 / 3]])
"""Row i what each gives to agent i: equal parts over itself and whom it sends to."""
BACK = [("a0", "a1"), ("a1", "a0"), ("a1", "a2"), ("a2", "a1"), ("a2", "a0"), ("a0", "a3"), ("a3", "a0")]
"""Edges by which a1 and a3 send to those that they hear from, and to no others."""


def made(mix=None, graph=GRAPH, options=PUSHED, **keys):
    return plan(mix or {"audio": 4}, graph=graph, options=options, **keys)


def test_weights_split_what_one_has_over_all_one_sends_to():
    topology = OneWay("arrows", nx.DiGraph(ARROWS))
    assert np.allclose(topology.matrix(), SENT) and np.allclose(topology.matrix().sum(0), 1)
    assert topology.weights(PeerId("a2")) == pytest.approx({"a0": 1 / 3, "a1": 1 / 3})
    assert topology.audience(PeerId("a2")) == ("a3",) and topology.neighbours(PeerId("a3")) == ("a2",)


@pytest.mark.parametrize("n", [3, 5, 8])
def test_the_gap_of_a_ring_of_arrows_is_that_of_its_closed_form(n):
    ring = OneWay("ring", nx.DiGraph([(str(i), str((i + 1) % n)) for i in range(n)]))
    assert ring.spectral_gap() == pytest.approx(1 - np.cos(np.pi / n))  # eigenvalues (1 + e^(2πik/n))/2
    assert OneWay("one", nx.DiGraph([("a", "b"), ("b", "c")])).spectral_gap() == pytest.approx(0)


def test_a_slice_keeps_its_arrows_where_all_of_its_holders_hear_of_each_other():
    topology = OneWay("arrows", nx.DiGraph(ARROWS))
    assert topology.over(list(topology.peers)) is topology
    assert set(topology.over(["a0", "a1"]).graph.edges) == {("a0", "a1"), ("a1", "a0")}
    assert set(topology.over(["a3", "a0", "a1"]).graph.edges) == {("a0", "a1"), ("a1", "a3"), ("a3", "a0")}, "a ring"
    assert set(topology.over(["a2", "a3"]).graph.edges) == {("a2", "a3"), ("a3", "a2")}
    assert not topology.over(["a2"]).graph.edges
    induced = OneWay("arrows", nx.DiGraph(ARROWS), overlay="induced").over(["a3", "a0", "a1"])
    assert set(induced.graph.edges) == {("a0", "a1"), ("a1", "a0"), ("a3", "a0"), ("a3", "a1")}
    assert induced.connected_components() == (frozenset({"a0", "a1"}), frozenset({"a3"}))


@pytest.mark.parametrize("edges", [ARROWS, BACK], ids=["arrows", "some both ways"])
def test_push_sum_gives_the_powers_of_its_matrix_and_in_the_end_the_mean(edges):
    study = under(made(graph=GRAPH | {"edges": edges}, rounds=100), script=frozen)
    agents, sent = scattered(study.agent_states()), study.topology.matrix()
    start = parameters(agents).numpy()
    power = np.eye(4)
    for round in range(5):
        simulate(agents, round + 1, start=round)
        power = sent @ power
        assert np.allclose(parameters(agents), power @ start / power.sum(1, keepdims=True), atol=1e-5)
    simulate(agents, 60, start=5)
    assert np.allclose(parameters(agents), start.mean(0), atol=1e-5)


def test_a_lost_message_is_made_good_by_the_next():
    script = partial(lossy, frozen, 0.3, range(40))
    agents = scattered(under(made(rounds=200), script=script()).agent_states())
    mean = parameters(agents).mean(0)
    simulate(agents, 150)
    torch.testing.assert_close(parameters(agents), mean.expand(4, -1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("edges", [ARROWS, BACK], ids=["arrows", "some both ways"])
def test_one_that_lost_its_memory_takes_nothing_twice(edges):
    """What went over a link before is another life's: no mass comes but that with which it begins anew."""
    study = under(made(graph=GRAPH | {"edges": edges}, rounds=100), script=frozen)
    agents = scattered(study.agent_states())
    simulate(agents, 10)
    [lost] = (float(t[-1]) for name, t in agents[1].memory.items() if name.endswith("all/mass"))
    agents[1].memory.clear()
    simulate(agents, 80, start=10)
    weights = [float(t[-1]) for p in agents for name, t in p.memory.items() if name.endswith("all/mass")]
    assert len(weights) == 4 and 2 < sum(weights) <= 5 - lost + 1e-9
    found = parameters(agents)
    torch.testing.assert_close(found, found.mean(0).expand(4, -1), rtol=0, atol=1e-5)


def test_agents_of_several_kinds_learn_and_go_on_exactly():
    mix = {"audio": 2, "motion": 1, "audio+motion": 1}
    whole, metrics = finished(made(mix, rounds=5))
    assert all(np.isfinite(m["loss"]) for m in metrics.values())
    first, _ = finished(made(mix, rounds=5), rounds=2)
    again = made(mix, rounds=5).agent_states()
    for p in again:
        p.restore(first[p.me].state())
    simulate(again, 5, start=2)
    assert differing(whole, {p.me: p for p in again}) == []


def test_neighbours_are_those_one_hears_from_too():
    graph = {"edges": [["a0", "a1"], ["a1", "a2"], ["a2", "a0"]], "directed": True}
    assert made({"audio": 3}, graph).neighbours(PeerId("a0")) == {"a1", "a2"}


def test_bytes_and_degrees_are_those_of_what_is_sent():
    found = measure(made({"audio": 4}))
    assert found.edges == 7 and found.degree == (1, 7 / 4, 2) and found.diameter == 2
    one = measure(made({"audio": 4}, {"generator": "ring"}))
    assert found.total == pytest.approx(one.total * 7 / 8)
    graph = parse_p2p.run(nx.DiGraph(ARROWS), {f"a{i}": ["audio"] for i in range(4)}, rounds=1, options=PUSHED).graph
    assert set(graph.edges) == set(ARROWS) and graph.edges["a0", "a1"]["weight"] == pytest.approx(1 / 3)


BAD = {
    "an exchange that needs answers": (
        {"options": {}},
        "options.exchange 'synchronous' needs an answer over each: take",
    ),
    "some never hear": (
        {"graph": {"edges": [["a0", "a1"], ["a1", "a2"], ["a2", "a3"]], "directed": True}},
        "components",
    ),
    "a generator": ({"graph": {"generator": "ring", "directed": True}}, "the edges of a generator go both ways"),
    "varying": ({"varying": {"kind": "matching"}}, "varying: it draws graphs of its own"),
    "events": ({"events": []}, "events: whoever comes is told things by those it shares edges with"),
    "rings": ({"overlay": "rings"}, "the edges of rings go both ways"),
    "weights": ({"weights": "uniform"}, "leave out weights: uniform"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_where_edges_go_one_way(case):
    keys, said = BAD[case]
    with pytest.raises(ConfigError, match=said):
        made(**keys)


def test_a_file_says_whether_edges_go_one_way_unless_the_run_says_it(tmp_path):
    nx.write_graphml(nx.DiGraph([("a", "b"), ("b", "c"), ("c", "a")]), tmp_path / "net.graphml")
    run = {"agents": {"mix": {"audio": 3}}, "graph": {"file": "net.graphml"}}
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(run | {"options": PUSHED}))
    loaded = run_file.load(path)
    assert loaded.graph.directed and RunPlan(loaded).topology.graph.number_of_edges() == 3
    path.write_text(yaml.safe_dump(run | {"graph": {"file": "net.graphml", "directed": False}}))
    loaded = run_file.load(path)
    assert not loaded.graph.directed and not RunPlan(loaded).topology.graph.is_directed()
