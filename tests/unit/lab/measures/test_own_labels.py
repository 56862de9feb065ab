"""An agent's accuracy as if labels were as frequent as in its own training, against a sum by hand."""

from dataclasses import replace

import plans
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from parse_p2p.data.base import Dataset
from parse_p2p.lab.measures.own_labels import measure, weighted


class Saying:
    """In place of a learner: it always says the class that the input is."""

    def __init__(self, trained, tested, said, classes=3):
        self.data = Dataset("train", {"x": torch.zeros(len(trained), 1)}, torch.tensor(trained), classes)
        self.test = Dataset("test", {"x": torch.tensor(said).float()[:, None]}, torch.tensor(tested), classes)
        self.common = None

    def judge(self, data):
        class Judged:
            score = float((data.inputs["x"][:, 0].long() == data.targets).double().mean())

        return Judged


def test_by_hand():
    """Right on 2 of 2, 1 of 4 and 1 of 1; trained on the classes as 1 : 3 : 0."""
    learner = Saying([0, 1, 1, 1], [0, 0, 1, 1, 1, 1, 2], [0, 0, 1, 0, 2, 2, 2])
    assert weighted(learner) == pytest.approx(1 / 4 * 1 + 3 / 4 * 1 / 4)


def test_classes_that_are_not_tested_have_no_part_and_none_at_all_is_none():
    assert weighted(Saying([0, 2, 2, 2], [0, 0, 1], [0, 1, 1])) == pytest.approx(1 / 2)
    assert weighted(Saying([2, 2], [0, 1], [0, 1])) is None


LABELS = st.lists(st.integers(0, 2), min_size=1, max_size=12)


@given(LABELS, st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=20))
def test_it_is_the_importance_weighted_accuracy(trained, pairs):
    tested, said = map(list, zip(*pairs, strict=True))
    weights = [trained.count(y) / len(trained) / (tested.count(y) / len(tested)) for y in tested]
    if not sum(weights):
        return
    right = sum(w for w, y, x in zip(weights, tested, said, strict=True) if x == y)
    assert weighted(Saying(trained, tested, said)) == pytest.approx(right / sum(weights))


def test_the_common_test_set_is_taken_where_there_is_one():
    learner = Saying([0, 1], [0, 1], [0, 1])
    learner.common = Saying([0], [0, 1], [1, 0]).test
    assert weighted(learner) == 0


def test_agents_of_a_run_by_their_ids_and_in_the_mean():
    plan = plans.plan({"audio": 2, "motion": 1}, partition={"kind": "dirichlet", "alpha": 0.1})
    states = {p.me: p for p in plan.agent_states()}
    found = measure(plan, states)
    each = [found[f"own-labels.{me}"] for me in plan.peers]
    assert found["own-labels"] == pytest.approx(sum(each) / 3) and found["own-labels.worst"] == min(each)
    first = states[plan.peers[0]].learner
    first.data = replace(first.data, targets=first.test.targets[torch.arange(len(first.data)) % len(first.test)])
    even = plan.peers[0]
    counts = first.data.targets.bincount(minlength=first.test.classes)
    score = sum(int(n) * first.judge(first.test.select((first.test.targets == k).nonzero()[:, 0])).score
                for k, n in enumerate(counts) if n)  # fmt: skip
    assert measure(plan, states)[f"own-labels.{even}"] == pytest.approx(score / int(counts.sum()))


def test_nothing_where_samples_have_no_class():
    class Plan:
        class schema:
            class solved:
                one_class = False

    assert measure(Plan, {}) == {}
