"""Who takes part in which role: the agents, their data and the evaluation are the same for every method."""

import pytest
import torch
from paths import ROOT
from plans import dealt, plan

from parse_p2p.config import run_file
from parse_p2p.config.run_file import RunFile
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core import plugins
from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import Role

AGENTS = [
    {"id": "m", "modalities": ["audio"]},
    {"id": "a", "modalities": ["audio"]},
    {"id": "b", "modalities": ["motion"]},
    {"id": "c", "modalities": ["audio", "motion"]},
]
STAR = {"edges": [["a", "m"], ["m", "b"], ["c", "m"]]}
TOPOLOGIES = ROOT / "topologies"
HUB = {"mix": {"audio": 2, "motion": 2, "audio+motion": 3}, "coordinator": "hub"}


def rows(dataset):
    """The samples of a data set as a set, so that two can be compared."""
    return {tuple(row.tolist()) for row in torch.cat([dataset.inputs[m] for m in dataset.modalities], 1)}


@pytest.mark.parametrize("method", ["local", "dsgd-task", "fedavg", "fedcmi"])
def test_the_same_file_has_the_same_agents_and_data_whatever_the_method(method):
    want = plan(method="parse", agents=HUB, public={"share": 0.2})
    found = plan(method=method, agents=HUB, public={"share": 0.2})
    assert found.peers == want.peers and "hub" not in want.specs
    assert ("hub" in found.specs) == found.method.centralised
    for me in want.peers:
        for mine, theirs in zip(found.share(me), want.share(me), strict=True):
            assert torch.equal(mine.targets, theirs.targets)
            assert all(torch.equal(mine.inputs[m], theirs.inputs[m]) for m in mine.modalities)


def test_public_data_are_nobodys_and_nobodys_test():
    w = plan(method="fedavg", agents=HUB, public={"share": 0.2})
    public, test = dealt(w).public, dealt(w).test
    assert len(public) == pytest.approx(0.2 * (len(public) + len(dealt(w).train)), abs=16)
    assert rows(public).isdisjoint(rows(dealt(w).train)) and rows(public).isdisjoint(rows(test))
    assert sum(len(dealt(w).shares[me]) for me in w.peers) == len(dealt(w).train) and "hub" not in dealt(w).shares
    hub = w.agent_state("hub")
    assert hub.public is not None and len(hub.learner.data) == len(public)
    assert all(torch.equal(hub.public.inputs[m], x) for m, x in public.inputs.items())
    assert all(w.agent_state(me).public is None for me in w.peers)


def test_without_public_data_a_coordinator_has_none_to_train_on():
    assert plan(method="fedavg").agent_state("hub").learner.samples == 0


def test_a_named_set_is_public_and_takes_nothing_from_the_agents():
    plain = plan(method="fedavg")
    w = plan(method="fedavg", public={"dataset": "bits", "data": {"samples": 160}})
    assert len(dealt(w).train) == len(dealt(plain).train) and len(dealt(w).public) == 160


@pytest.mark.parametrize("graph", [STAR, {"generator": "star"}])
def test_the_middle_of_a_star_coordinates_if_nobody_is_named(graph):
    w = RunPlan(RunFile.model_validate({"graph": graph, "agents": AGENTS, "dataset": "bits", "method": "fedavg"}))
    assert w.coordinator == "m" and w.peers == ["a", "b", "c"]
    assert w.specs["m"].role == Role.COORDINATOR and w.specs["a"].role == Role.CLIENT
    assert w.specs["m"].modalities == ("audio", "motion"), "a coordinator has the modalities of all its clients"
    again = RunPlan(RunFile.model_validate(w.run.model_dump()))
    assert again.run == w.run and again.coordinator == "m", "the resolved file names it"
    alone = RunPlan(w.run.model_copy(update={"method": "local"}))
    assert alone.peers == w.peers and all((dealt(alone).shares[me] == dealt(w).shares[me]).all() for me in w.peers)


def test_who_is_linked_to_whom():
    w = plan(method="fedavg")
    assert w.neighbours("hub") == set(w.peers)
    assert all(w.neighbours(me) == {"hub"} for me in w.peers)
    exchange_plan = w.overlays(0).plan("a0")
    assert exchange_plan.coordinator == "hub" and exchange_plan.clients == tuple(sorted(w.peers))


def test_a_coordinator_has_the_runs_network():
    agents = [*AGENTS[1:], {"id": "m", "modalities": ["audio"], "encoders": {"audio": {"width": 5}}}]
    run = {"graph": STAR, "agents": agents, "dataset": "bits", "method": "fedavg"}
    assert RunPlan(RunFile.model_validate(run)).specs["m"].encoders["audio"].width == 64, (
        "taken from the middle of a star"
    )
    agents[-1] = {"id": "m", "role": "coordinator", "encoders": {"audio": {"width": 5}}}
    with pytest.raises(ConfigError, match="the coordinator m has a model or encoders of its own"):
        RunPlan(RunFile.model_validate(run))
    agents = [
        *AGENTS[1:3],
        {"id": "c", "modalities": ["audio"], "model": {"latent": 8}},
        {"id": "m", "role": "coordinator"},
    ]
    with pytest.raises(ConfigError, match=r"c has model\.latent 8 and the run 48"):
        RunPlan(RunFile.model_validate(run | {"agents": agents, "method": "fedafd", "public": {"share": 0.2}}))


def test_a_coordinator_with_nobody_is_refused():
    with pytest.raises(ConfigError, match="nobody to coordinate"):
        plan(method="fedavg", agents=[{"id": "hub", "role": "coordinator"}])


def test_edges_to_a_coordinator_are_for_centralised_methods():
    run = {"graph": {"edges": [["a", "b"], ["hub", "a"], ["b", "c"]]}, "dataset": "bits"}
    agents = [*AGENTS[1:], {"id": "hub", "role": "coordinator"}]
    w = RunPlan(RunFile.model_validate(run | {"agents": agents, "method": "parse"}))
    assert set(w.topology.graph.edges) == {("a", "b"), ("b", "c")}


def test_the_shipped_star_runs_every_method_there_is():
    for name in plugins.known(plugins.METHODS):
        run = run_file.load(TOPOLOGIES / "star.yaml", [("method", name)])
        w = RunPlan(run)
        assert len(w.peers) == 8 and (w.coordinator == "hub") == w.method.centralised


EDGES = [["a", "b"], ["b", "c"]]


def weighted(weights=(0.25, 0.5), **changes):
    graph = {"edges": EDGES} | ({} if weights is None else {"edge_weights": weights})
    raw = {"graph": graph, "agents": AGENTS[1:4], "dataset": "bits", "weights": "given"} | changes
    return RunPlan(RunFile.model_validate(raw))


def test_agents_mix_by_the_weights_of_the_edges_where_asked():
    assert weighted().topology.weights("b") == {"a": 0.25, "c": 0.5}
    assert list(weighted().notes()) == []


def test_it_is_said_that_weights_are_not_used():
    raw = {"graph": {"edges": EDGES, "edge_weights": [0.25, 0.5]}, "agents": AGENTS[1:4], "dataset": "bits"}
    made = RunPlan(RunFile.model_validate(raw))
    assert made.topology.weights("b") == {"a": pytest.approx(1 / 3), "c": pytest.approx(1 / 3)}
    assert list(made.notes()) == ["the weights of the graph's edges are not used: weights: given mixes by them"]


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (None, "weights: given needs weights of edges, and graph.edge_weights gives none: give all, or leave it out"),
        ((0.7, 0.5), "weights: graph.edge_weights: the weights of the edges at b sum to 1.2; make it 1 at most"),
    ],
)
def test_weights_that_cannot_be_are_refused(weights, said):
    with pytest.raises(ConfigError) as caught:
        weighted(weights)
    assert str(caught.value) == said
