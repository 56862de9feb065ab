"""Classes count by how often the agent has them: by hand, in predictions alone, and wherever a model goes."""

from math import log

import numpy as np
import plans
import pytest
import running
import torch
from trained import NETWORKS, asked, graph_says, recorded

import parse_p2p
from parse_p2p.core.errors import ConfigError
from parse_p2p.data.tasks.classification import CLASSIFICATION
from parse_p2p.lab.measures import own_labels
from parse_p2p.models.base import Outputs
from parse_p2p.models.weighting.own_labels import OwnLabels
from parse_p2p.serving import exported

MODEL = {"weighting": "own-labels"}
SKEWED = {"partition": {"kind": "dirichlet", "alpha": 0.1}}


def prior(learner):
    return learner.model.weighting.get_buffer("prior")


def expected(learner):
    counts = np.bincount(learner.data.targets, minlength=learner.data.classes)
    return np.log((counts + 1) / (counts.sum() + len(counts)))


def test_of_five_samples_of_three_classes():
    weigher = OwnLabels(3, 2.0)
    said = Outputs({"redundant": torch.tensor([[0.5, 1.0, 3.0]]), "unique": torch.tensor([[0.5, 0.0, 1.0]])})
    assert weigher(None, said, CLASSIFICATION).tolist() == [[0.5, 0.5, 2.0]], "before it has counted all are alike"
    weigher.count(type("Five", (), {"targets": torch.tensor([0, 1, 0, 0, 0])}))
    wanted = [0.5 + log(5 / 8), 0.5 + log(2 / 8), 2 + log(1 / 8)]
    assert weigher(None, said, CLASSIFICATION)[0].tolist() == pytest.approx(wanted, abs=1e-6)
    weigher.count(type("None", (), {"targets": torch.tensor([2])}))
    assert weigher.prior.tolist() == pytest.approx([log(1 / 4), log(1 / 4), log(2 / 4)])


@pytest.mark.parametrize("network", NETWORKS)
def test_each_agent_counts_its_own_samples_whatever_it_has(network):
    options = {**NETWORKS[network], "model": {"network": network, **MODEL}, **SKEWED}
    agents, _ = plans.finished(plans.plan({"audio": 2, "audio+motion": 2}, "complete_graph", **options), 2)
    found = [agents[f"a{i}"].learner for i in range(4)]
    for learner in found:
        assert prior(learner).tolist() == pytest.approx(expected(learner), abs=1e-5)
    assert len({tuple(prior(learner).tolist()) for learner in found}) == 4


@pytest.mark.parametrize("weights", ["balanced", "federation"])
def test_samples_that_weigh_more_are_no_more(weights):
    agents, _ = plans.finished(plans.plan({"audio": 2}, model=MODEL, train={"class_weights": weights}, **SKEWED), 1)
    learner = agents["a0"].learner
    assert prior(learner).tolist() == pytest.approx(expected(learner), abs=1e-5)


def test_it_counts_what_there_is_after_each_round():
    agents, _ = plans.finished(plans.plan({"audio": 2}, method="local", model=MODEL), 1)
    learner = agents["a0"].learner
    before = prior(learner).clone()
    learner.data = learner.data.select((learner.data.targets < 2).nonzero()[:, 0])
    learner.learn_weights()
    assert prior(learner).tolist() == pytest.approx(expected(learner), abs=1e-5)
    assert not torch.equal(prior(learner), before)
    learner.data = learner.data.select(torch.tensor([], dtype=torch.long))
    learner.learn_weights()  # nothing is learnt of nothing
    assert prior(learner).amax() > prior(learner).amin()


def test_what_is_learnt_and_sent_is_as_without_it_and_only_predictions_differ():
    one, plain = (
        plans.finished(plans.plan({"audio": 2, "audio+motion": 2}, "complete_graph", model=model, **SKEWED), 3)[0]
        for model in (MODEL, {})
    )
    for me in one:
        mine, other = one[me].learner, plain[me].learner
        assert torch.equal(mine.buffer.values, other.buffer.values)
        assert mine.evaluate()["accuracy"] != other.evaluate()["accuracy"]
        assert mine.evaluate(["redundant"]) == other.evaluate(["redundant"]), "branches are what they say"


def test_under_its_own_mix_of_classes_an_agent_does_better_than_without_it():
    def found(**options):
        plan = plans.plan({"audio": 2, "motion": 2, "audio+motion": 2}, dataset="htad", data={}, **SKEWED, **options)
        agents, _ = plans.finished(plan, 10)
        return own_labels.measure(plan, agents)["own-labels"]

    assert found(model=MODEL) > found() + 0.03


def test_processes_end_as_the_simulator_does(tmp_path):
    made = running.plan(rounds=3, model=MODEL, **SKEWED)
    assert running.differing(running.over_memory(made, tmp_path), running.simulated(made)) == []


def test_a_model_predicts_alike_wherever_it_is(tmp_path):
    plan, agents = recorded(tmp_path, model=MODEL, rounds=3, **SKEWED)
    mine, x = agents["a2"].learner, asked(plan, "a2")
    model = parse_p2p.load(tmp_path, "a2")
    outputs = mine.model.eval()(model.scaled(x))
    wanted = (outputs.logits() / 3 + torch.tensor(expected(mine), dtype=torch.float32)).softmax(1)
    torch.testing.assert_close(model.predict(x), wanted.detach())
    pytest.importorskip("safetensors")
    exported.write(model, exported.fresh(tmp_path / "a2"))
    assert torch.equal(parse_p2p.load(tmp_path / "a2").predict(x), model.predict(x))
    assert np.allclose(graph_says(model, tmp_path, x), model.predict(x), rtol=0, atol=1e-5)


def test_numbers_have_no_classes_to_count():
    x = np.random.default_rng(0).normal(size=(60, 3))
    with pytest.raises(
        ConfigError, match=r"model\.weighting: own-labels counts how frequent classes are, and the task"
    ):
        parse_p2p.run("complete_graph:2", {"a": 2}, data={"a": x, "y": x[:, :1]}, task="regression", model=MODEL)


@pytest.mark.parametrize("temperature", [0, -1, float("inf")])
def test_a_temperature_that_is_none_is_refused(temperature):
    with pytest.raises(ConfigError, match=r"model\.temperature"):
        parse_p2p.run("complete_graph:2", {"audio": 2}, rounds=1, model={**MODEL, "temperature": temperature})
