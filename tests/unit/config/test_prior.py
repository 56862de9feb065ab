"""Logits corrected for how frequent classes are at an agent beside all: numpy counts them, and nothing else changes."""

from dataclasses import replace

import numpy as np
import plans
import pytest
import torch
from counting import AGENTS, counted, samples
from counting import counting as plan
from torch.nn.functional import cross_entropy

from parse_p2p.core.errors import ConfigError
from parse_p2p.data.base import Batch, Dataset, prior_of, split
from parse_p2p.data.label_spaces import TaskOptions, seen_as
from parse_p2p.learning import losses
from parse_p2p.learning.learner import Training
from parse_p2p.models.base import Outputs

PRIOR = {"train": {"prior": 1.0}}


def skewed(frequencies, targets=(0, 0, 0, 1), classes=3, weights=None):
    y = torch.tensor(targets)
    given = None if weights is None else torch.tensor(weights)
    return Dataset("it", {"audio": torch.zeros(len(y), 2)}, y, classes, weights=given,
                   frequencies=torch.tensor(frequencies, dtype=torch.float64))  # fmt: skip


def test_the_correction_by_hand():
    # one more sample of each of three classes, spread as among all: (n_c + 3 f_c) / (7 f_c)
    found = prior_of(skewed([0.5, 0.3, 0.2]))
    assert found.exp().tolist() == pytest.approx([(3 + 1.5) / 3.5, (1 + 0.9) / 2.1, 0.6 / 1.4])
    weighed = prior_of(skewed([0.5, 0.3, 0.2], weights=[1.0, 1.0, 1.0, 9.0]))  # as 1 in 4 and 3 in 4
    assert weighed.exp().tolist() == pytest.approx([(1 + 1.5) / 3.5, (3 + 0.9) / 2.1, 0.6 / 1.4])


def test_who_holds_what_all_hold_is_not_corrected():
    assert prior_of(skewed([0.75, 0.25, 0.0])).tolist()[:2] == pytest.approx([0, 0])


def test_a_class_that_nobody_counted_is_as_frequent_as_the_rarest():
    assert torch.equal(prior_of(skewed([0.6, 0.4, 0.0])), prior_of(skewed([0.6, 0.4, 0.4])))
    assert prior_of(skewed([0.0, 0.0, 0.0])).isfinite().all()


def test_it_is_added_to_the_logits_of_every_cross_entropy_and_of_parts():
    logits, shift, y = torch.randn(4, 3), torch.tensor([0.5, -1.0, 2.0]), torch.tensor([0, 1, 2, 2])
    there = torch.tensor([True, False, True, True])
    batch = Batch({"audio": torch.zeros(4, 2), "motion": torch.zeros(4, 2)}, y, {"audio": there}, prior=shift)
    assert torch.equal(losses.nats(logits, batch), cross_entropy(logits + shift, y))
    assert all(torch.equal(part.prior, shift) for _, part in batch.parts())
    heads = Outputs({"redundant": logits, "unique.a": 2 * logits}, {}, {"redundant.a": logits, "unique.a": 2 * logits})
    assert torch.equal(losses.task(None, batch, heads), cross_entropy(3 * logits + shift, y))
    own = cross_entropy(logits + shift, y) + cross_entropy(2 * logits + shift, y)
    torch.testing.assert_close(losses.branches(1.0)(None, batch, heads), own)


@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize("weights", ["none", "federation"])
def test_agents_with_their_own_data_agree_on_it(weighed, weights):
    made = plan(weighed=weighed, train={"prior": 0.5, "class_weights": weights})
    agents, _ = plans.finished(made)
    frequencies = counted(made, weighed=weighed)
    filled = np.where(frequencies > 0, frequencies, frequencies[frequencies > 0].min())
    for number, me in enumerate(AGENTS):
        own, _ = split(samples(number, weighed), 0.25, 0)
        mine = own.weighed().double().numpy()
        if weights == "federation":  # then classes of all are alike
            mine, filled = mine / filled[own.targets], np.full(4, 1 / 3)
        counts = np.bincount(own.targets, mine / mine.mean(), 4)
        wanted = 0.5 * np.log((counts / filled + 4) / (len(own) + 4))
        learner = agents[me].learner
        [prior] = {tuple(batch.prior.tolist()) for batch in learner.batches()}
        np.testing.assert_allclose(prior, wanted, rtol=1e-3, atol=1e-4)
        assert (learner.data.weights is None) == (weights == "none" and not weighed)
        frequencies = counted(made, weighed=weighed)
        filled = np.where(frequencies > 0, frequencies, frequencies[frequencies > 0].min())


def test_of_a_set_that_is_dealt_out_everybody_knows_it():
    made = plans.plan({"audio": 3}, partition={"kind": "dirichlet", "alpha": 0.5}, **PRIOR)
    assert made.agreement("a0") is None
    data = plans.dealt(made)
    whole = np.bincount(data.train.targets[np.concatenate(list(data.shares.values()))], minlength=data.train.classes)
    for me in made.peers:
        learner = made.learner(me, ("audio",))
        own = np.bincount(learner.data.targets, minlength=len(whole))
        c = len(whole)
        wanted = np.log((own / (whole / whole.sum()) + c) / (own.sum() + c))
        np.testing.assert_allclose(next(learner.batches()).prior, wanted, rtol=1e-5, atol=1e-6)
        assert learner.data.weights is None and learner.test.frequencies is None


def test_what_is_said_of_a_test_sample_knows_nothing_of_it():
    one, other = (plans.plan({"audio": 3}, partition={"kind": "dirichlet", "alpha": 0.3},
                             train={"prior": p}).learner("a0", ("audio",)) for p in (0.0, 50.0))  # fmt: skip
    assert one.evaluate() == other.evaluate()
    x = one.test.in_memory()
    assert torch.equal(one.outputs(one.test).logits(), other.model.eval()(x).logits())
    for learner in (one, other):
        learner.begin(0, 1)
        learner.train(losses.task)
    assert one.evaluate() != other.evaluate()


def test_without_a_strength_nobody_counts():
    assert plan(train={"prior": 0.0}).agreement("a0") is None
    assert next(plans.learner().batches()).prior is None
    assert not Training().counts_classes and Training(prior=0.1).counts_classes


def test_a_task_sees_its_own_classes_alone():
    seen = seen_as(TaskOptions(classes=[[0, 2], [1]]), skewed([0.2, 0.2, 0.2, 0.4], (0, 2, 1, 1), 4))
    assert seen.frequencies.tolist() == pytest.approx([2 / 3, 1 / 3])
    assert seen_as(TaskOptions(classes=[[0], [1]]), replace(seen, frequencies=None)).frequencies is None


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"stream": {"tasks": 2}}, r"train\.prior: a stream's tasks have other classes each"),
        ({"graph": {"edges": [["a0", "a1"]]}, "method": "local"}, "graph: it has 2 connected components"),
        (
            {"graph": {"edges": [["a0", "a1"], ["a1", "a2"], ["a2", "a0"]], "directed": True},
             "options": {"exchange": "push-sum"}},
            "neither class_weights of the federation nor a prior",
        ),
    ],
)  # fmt: skip
def test_where_nothing_can_be_counted(keys, said):
    with pytest.raises(ConfigError, match=said):
        plan(**PRIOR, **keys)


def test_each_agent_evens_its_own_classes_or_is_corrected():
    with pytest.raises(ValueError, match="balanced makes each agent's classes alike"):
        Training(prior=1.0, class_weights="balanced")
