"""What is said of a graph before a run is what the run does."""

import math

import networkx as nx
import numpy as np
import pytest
from plans import VARYING, finished, plan

from parse_p2p.core.errors import ConfigError
from parse_p2p.lab.graphs import graph_sources
from parse_p2p.lab.graphs.export import annotated
from parse_p2p.lab.graphs.graph_metrics import contraction, measure, traffic
from parse_p2p.topology import generators, graph_io
from parse_p2p.topology.spectrum import rounds_to, slem
from parse_p2p.topology.weights import metropolis

MIX = {"audio": 3, "motion": 3, "audio+motion": 4}


def sent(built):
    """Payload bytes by agent of each round of a simulated run."""
    rounds = []
    finished(built, watch=lambda round, metrics, ledger: rounds.append(
        {me: sum(sum(row.values()) for row in ledger.get(me, {}).values()) for me in built.peers}
    ))  # fmt: skip
    return rounds


@pytest.mark.parametrize("codec", ["raw", "bf16"])
@pytest.mark.parametrize("method", ["parse", "dsgd-modality", "harmony", "local"])
def test_the_bytes_that_are_foretold_are_those_of_the_run(method, codec):
    built = plan(MIX, "torus", method=method, codec=codec)
    rounds, metrics = sent(built), measure(built)
    assert metrics.total == pytest.approx(np.mean([sum(row.values()) for row in rounds]))
    for kind in metrics.types:
        mine = [row[me] for row in rounds for me in built.peers if built.kind(me) == kind.type]
        assert kind.bytes == pytest.approx(np.mean(mine))
    assert metrics.bytes[0] == pytest.approx(metrics.total / 10)


@pytest.mark.parametrize("kind", VARYING)
def test_the_bytes_of_a_graph_that_varies_are_their_mean_over_the_run(kind):
    built = plan(MIX, varying=VARYING[kind], rounds=6)
    metrics = measure(built)
    assert metrics.total == pytest.approx(np.mean([sum(row.values()) for row in sent(built)]))
    assert "varying" in metrics.notes[0]


def test_the_bytes_of_each_agent_are_those_of_its_plan():
    built = plan(MIX, "star")
    overlays = built.laid(0)
    by_agent = dict.fromkeys(built.peers, 0)
    for (me, _), nbytes in traffic(overlays, built.codec).items():
        by_agent[me] += nbytes
    assert by_agent == {me: overlays.plan(me).payload() for me in built.peers}


@pytest.mark.parametrize(("exchange", "factor"), [("push-sum", 2), ("acknowledged", 1.5)])
def test_what_other_exchanges_send_is_as_much_more_as_is_said(exchange, factor):
    built = plan(MIX, options={"exchange": exchange})
    metrics = measure(built)
    assert sum(sent(built)[-1].values()) == pytest.approx(factor * metrics.total, rel=0.15)  # slices here are tiny
    assert f"{exchange} sends about {factor} times" in metrics.notes[0]


def test_a_ring_of_eight():
    metrics = measure(graph_sources.plan("ring:8", {"audio": 8}, [("dataset", "bits")]))
    rho = 1 - 2 / 3 * (1 - math.cos(2 * math.pi / 8))
    assert (metrics.agents, metrics.edges, metrics.degree, metrics.diameter) == (8, 8, (2, 2, 2), 4)
    assert metrics.slowest.rho == pytest.approx(rho) and metrics.slowest.gap == pytest.approx(1 - rho)
    assert metrics.slowest.rounds == pytest.approx(math.log(1e-3) / math.log(rho))
    assert [(t.type, t.agents, t.partners) for t in metrics.types] == [("audio", 8, 2)]


def test_connected_components_never_agree():
    metrics = measure(plan(MIX, overlay="induced", method="dsgd-task"))
    torn = [group for group in metrics.groups if group.connected_components > 1]
    assert torn and all(group.gap == pytest.approx(0) and group.rounds == math.inf for group in torn)
    assert metrics.plain()["groups"][metrics.groups.index(torn[0])]["rounds"] is None


def test_a_method_with_a_coordinator_has_no_graph():
    with pytest.raises(ConfigError, match="exchange with a coordinator"):
        measure(plan(method="fedavg"))


# rates of graphs that vary


@pytest.mark.parametrize("graph", [nx.cycle_graph(12), nx.petersen_graph(), nx.star_graph(6)])
def test_mixing_by_one_matrix_again_and_again_has_its_rate(graph):
    matrix = metropolis(graph)
    rho, rounds = contraction([matrix] * 500)
    assert rho == pytest.approx(slem(matrix), rel=1e-6)
    assert rounds == math.ceil(rounds_to(matrix, 1e-3))


def test_one_peer_exponential_is_done_after_log2_n_rounds():
    settings = [("dataset", "bits"), ("varying.kind", "one-peer-exponential")]
    metrics = measure(graph_sources.plan("ring:16", {"audio": 16}, settings))
    assert {(group.rounds, round(group.rho, 6)) for group in metrics.groups} == {(4, 0)}


@pytest.mark.parametrize(("kind", "squared"), [("matching", 14 / 30), ("regular", (16 - 5) / (5 * 15))])
def test_the_rate_of_random_graphs_is_near_what_the_theory_says_of_their_mean(kind, squared):
    """The mean square is an upper bound of the geometric mean; the norm of a product a little slower than it."""
    metrics = measure(graph_sources.plan("ring:16", {"audio": 16}, [("dataset", "bits"), ("varying.kind", kind)]))
    assert metrics.slowest.rho == pytest.approx(math.sqrt(squared), rel=0.3)


def test_nobody_ever_meets():
    rho, rounds = contraction([np.eye(4)] * 10)
    assert rho == pytest.approx(1) and rounds == math.inf


# to networkx and back


@pytest.mark.parametrize("suffix", [".graphml", ".gexf", ".json", ".edges"])
@pytest.mark.parametrize("source", ["watts-strogatz:12,k=4,p=0.3", "torus:12", "star:7"])
def test_an_exported_graph_gives_the_same_plan_again(tmp_path, source, suffix):
    settings = [("dataset", "bits")]
    before = graph_sources.plan(source, None, settings)
    graph_io.write(annotated(before), tmp_path / f"net{suffix}")
    mix = None if suffix != ".edges" else graph_sources.thirds(len(before.peers))
    after = graph_sources.plan(str(tmp_path / f"net{suffix}"), mix, settings)
    assert set(map(frozenset, after.topology.graph.edges)) == set(map(frozenset, before.topology.graph.edges))
    if suffix != ".edges":
        assert {me: after.specs[me].modalities for me in after.peers} == {
            me: before.specs[me].modalities for me in before.peers
        }
        for me in before.peers:
            assert after.topology.weights(me) == pytest.approx(dict(before.topology.weights(me)))


def test_what_crosses_the_edges_of_an_exported_graph_is_all_that_is_sent():
    built = plan(MIX, "torus")
    graph = annotated(built)
    assert sum(nbytes for *_, nbytes in graph.edges(data="bytes")) == measure(built).total
    given = [edge for *edge, is_given in graph.edges(data="given") if is_given]
    assert set(map(frozenset, given)) == set(map(frozenset, built.topology.graph.edges))
    assert len(graph.edges) > len(given)
    for one, other, facts in graph.edges(data=True):
        links = built.laid(0).plan(one).links.get(other, ())
        assert facts["slices"].split() == [str(key) for key in links]
        assert facts["weight"] == pytest.approx(built.topology.weights(one).get(other, 0.0))


# what a person names


def test_nodes_that_say_what_they_sense_are_the_agents(tmp_path):
    graph = nx.path_graph(3)
    nx.set_node_attributes(graph, {0: "audio", 1: "audio+motion", 2: "motion"}, "modalities")
    nx.write_graphml(graph, tmp_path / "net.graphml")
    built = graph_sources.plan(str(tmp_path / "net.graphml"), None, [("dataset", "bits")])
    assert {me: spec.modalities for me, spec in built.specs.items()} == {
        "0": ("audio",), "1": ("audio", "motion"), "2": ("motion",),
    }  # fmt: skip


def test_a_generator_has_the_arguments_of_its_function():
    built = graph_sources.plan("watts-strogatz:12,k=4,p=0.3,seed=5", None, [("dataset", "bits")])
    wanted = generators.build("watts-strogatz", 12, {"k": 4, "p": 0.3, "seed": 5})
    assert nx.utils.graphs_equal(nx.relabel_nodes(wanted, dict(enumerate(built.peers))), built.topology.graph)
    assert [built.kind(me) for me in built.peers].count("audio+motion") == 4


@pytest.mark.parametrize(
    ("source", "mix", "says"),
    [
        ("rig:8", None, "did you mean 'ring'"),
        ("rig", None, "did you mean 'ring'"),
        ("ring:8,3", None, "'3' is no argument"),
        ("ring:8,p=[", None, "no value for p"),
        ("ring:8,p=1", None, "'ring' does not know p"),
        ("ring:8", {"audio": 7}, "8 agents and --mix 7"),
        ("ring:8", {"smell": 8}, "smell"),
        ("ring:999999", None, "up to 2000"),
        ("ring:99999999999999", None, "of how many agents"),
        ("", None, "there is no such file or generator"),
        ("torus:", None, "of how many agents"),
        ("cycle_graph", None, "of how many agents"),
        ("ring", {"audio": 0}, "of how many agents"),
        ("nope.graphml", None, "no such file"),
        ("nope.yaml", None, "cannot be read"),
    ],
)
def test_a_source_that_cannot_be_is_one_sentence(source, mix, says):
    with pytest.raises(ConfigError, match=says) as caught:
        graph_sources.plan(source, mix, [("dataset", "bits")])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["audio", "audio=", "audio=x", "=3", "audio=1,audio=2", "audio=-1", ""])
def test_a_mix_that_cannot_be_is_one_sentence(text):
    with pytest.raises(ConfigError, match="no count of agents"):
        graph_sources.parse_mix(text)


def test_a_mix_is_counts_by_type():
    assert graph_sources.parse_mix("audio=3, motion=2,audio+motion=1") == {"audio": 3, "motion": 2, "audio+motion": 1}
    assert [graph_sources.thirds(n) for n in (1, 8)] == [
        {"audio": 1, "motion": 0, "audio+motion": 0}, {"audio": 3, "motion": 3, "audio+motion": 2},
    ]  # fmt: skip
