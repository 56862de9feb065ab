"""How much each sample counts in the loss: by its own weight, by that of its class, or by both."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from plans import BOTH, finished, inputs, learner, network, plan
from torch.nn.functional import cross_entropy

from parse_p2p.core.errors import ConfigError
from parse_p2p.data.base import Batch, Dataset
from parse_p2p.data.streams import join
from parse_p2p.learning import losses
from parse_p2p.learning.learner import Learner

TARGETS = torch.tensor([0, 1, 1, 0, 1])
WEIGHTS = torch.tensor([2.0, 0.0, 1.0, 0.5, 1.5])


def batch(weights=WEIGHTS):
    return Batch(inputs(BOTH), TARGETS, weights=weights)


def made(data, **train):
    """A learner that learns from these samples."""
    before = learner(train=train)
    return Learner(before.me, before.model, data, before.test, before.options, 0, torch.device("cpu"))


def samples(count=40, weights=None):
    rows = torch.arange(count)
    return Dataset("d", inputs(BOTH, count), (rows % 4 == 0).long(), 4, weights=weights)


def test_every_cross_entropy_is_a_mean_by_weight():
    net = network()
    outputs = net(batch().inputs)

    def mean(logits):
        return (cross_entropy(logits, TARGETS, reduction="none") * WEIGHTS).sum() / 5

    assert torch.allclose(losses.task(net, batch(), outputs), mean(outputs.logits()))
    views = outputs.views
    heads = [mean(views[f"unique.{m}"]) for m in BOTH] + [mean(views["synergistic"])]
    redundant = (mean(views["redundant.audio"]) + mean(views["redundant.motion"])) / 2
    assert torch.allclose(losses.branches(2.0)(net, batch(), outputs), 2 * (sum(heads) + redundant))
    each = sum(mean(views[f"redundant.{m}"] + views[f"unique.{m}"]) for m in BOTH)
    assert torch.allclose(losses.unimodal(net, batch(), outputs), each)
    assert torch.equal(losses.task(net, batch(None), outputs), cross_entropy(outputs.logits(), TARGETS))


def test_weights_follow_their_samples():
    data = samples(6, torch.arange(6.0))
    assert data.select([4, 1]).weights.tolist() == [4, 1] and data.batch([3]).weights.tolist() == [3]
    gapped = replace(data, present={"audio": torch.tensor([True, False] * 3)})
    parts = {tuple(sorted(part.inputs)): part.weights.tolist() for _, part in gapped.batch(range(6)).parts()}
    assert parts == {("audio", "motion"): [0, 2, 4], ("motion",): [1, 3, 5]}
    assert join([data, samples(2)]).weights.tolist() == [0, 1, 2, 3, 4, 5, 1, 1]
    assert join([samples(2), samples(2)]).weights is None
    with pytest.raises(ConfigError, match="6 targets but 5 rows of 'weights'"):
        replace(data, weights=torch.ones(5))


def test_an_agents_weights_have_the_mean_one():
    agent = made(samples(40, torch.full((40,), 8.0)))
    assert agent.data.weights.tolist() == [1] * 40
    assert made(samples()).data.weights is None
    with pytest.raises(ConfigError, match="the weights of the training samples of a0 are all 0: give some a weight"):
        made(samples(40, torch.zeros(40)))


def test_balanced_classes_weigh_the_same():
    agent = made(samples(), class_weights="balanced")  # a quarter is of class 1, and classes 2 and 3 are not there
    assert agent.data.weights[agent.data.targets == 1].tolist() == pytest.approx([2.0] * 10)
    assert agent.data.weights[agent.data.targets == 0].tolist() == pytest.approx([2 / 3] * 30)
    both = made(samples(40, torch.arange(40.0)), class_weights="balanced")
    for label in (0, 1):
        of_class = both.data.weights[both.data.targets == label]
        assert float(of_class.sum()) == pytest.approx(20)
    assert float(both.data.weights[4] / both.data.weights[8]) == pytest.approx(0.5)


def test_a_coordinator_without_samples_needs_no_weights():
    agents, _ = finished(plan({"audio+motion": 2}, method="fedavg", train={"class_weights": "balanced"}, rounds=1))
    assert agents["hub"].learner.samples == 0 and agents["a0"].learner.data.weights is not None


@pytest.mark.parametrize("size", [1e-30, 1e38])
def test_weights_of_any_size_count(size):
    assert made(samples(40, torch.full((40,), size))).data.weights.tolist() == [1] * 40


@pytest.mark.parametrize("weights", [torch.ones(6, 1), torch.ones(6, dtype=torch.int64), np.ones(6)])
def test_weights_of_another_kind_are_refused(weights):
    with pytest.raises(ConfigError, match=r"weights of data set 'd' have to be a float tensor \(N,\)"):
        replace(samples(6), weights=weights)


def test_a_sample_without_weight_teaches_nothing():
    data = samples()
    weights = torch.ones(40)
    weights[::4] = 0
    changed = replace(data, targets=torch.where(weights == 0, 3, data.targets))
    one, other = (made(replace(each, weights=weights)) for each in (data, changed))
    for agent in (one, other):
        agent.begin(0, 1)
        agent.train(losses.task, losses.branches(1.0))
    assert torch.equal(one.buffer.values, other.buffer.values)


def test_weights_are_those_of_the_run_file_and_of_a_stream():
    keys = {"data": {"samples": 160}, "rounds": 1}
    for extra in ({}, {"stream": {"tasks": 2, "rounds": 1}}):
        agents, _ = finished(plan({"audio+motion": 2}, train={"class_weights": "balanced"}, **keys, **extra))
        data = agents["a0"].learner.data
        counts = torch.zeros(data.classes).index_add(0, data.targets, data.weights)
        there = counts[counts > 0]
        assert torch.allclose(there, there.mean().expand_as(there), rtol=1e-4)
