"""What data hold, as a measure: the bits that the generated set is known to have."""

from dataclasses import replace

import plans
import pytest
import torch

from parse_p2p.lab.measures.information import measure


def measured(**changes):
    plan = plans.plan(**changes)
    return measure(plan, {p.me: p for p in plan.agent_states()})


def test_one_bit_of_each_kind_is_found_in_the_inputs():
    found = measured(mix={"audio": 1, "motion": 1, "audio+motion": 1}, data={"samples": 4000}, test=0.7)
    for atom in ("R", "U1", "U2", "S"):
        assert found[f"{atom} of inputs, 8 codes"] == pytest.approx(1, abs=0.08)
    assert found["R of inputs, 4 codes"] < 0.5, "four codes of eight symbols lose a part"
    assert found["S by chance of inputs, 8 codes"] < 0.3 and "S of trunks, 8 codes" in found
    assert len(found) == 2 * 2 * 4 * 2


def test_several_pairs_are_kept_apart_and_agents_with_one_modality_have_none():
    three = {"modalities": ["x", "y", "z"], "samples": 300}
    found = measured(mix={"x+y+z": 1, "x": 2}, data=three)
    assert "S of inputs (x | y), 4 codes" in found and "S of inputs (x | y+z), 4 codes" in found
    assert measured(mix={"audio": 2, "motion": 1}) == {}


def with_gaps(dataset, share):
    """The first samples, as many as this share, lack audio."""
    first = torch.arange(len(dataset)) < share * len(dataset)
    return replace(dataset, present={"audio": ~first, "motion": torch.ones_like(first)})


def test_samples_that_lack_a_modality_show_nothing_and_stay_with_the_agent():
    plan = plans.plan({"audio+motion": 2}, data={"samples": 600}, test=0.5)
    people = {p.me: p for p in plan.agent_states()}
    learner = people["a0"].learner
    learner.data, learner.test = with_gaps(learner.data, 0.1), with_gaps(learner.test, 0.4)
    kept, size = learner.test, len(learner.test)
    found = measure(plan, people)
    assert learner.test is kept and len(learner.test) == size
    learner.data, learner.test = learner.data.whole(), learner.test.whole()
    assert len(learner.test) < size and found == measure(plan, people)
    learner.test = with_gaps(learner.test, 1.0)
    alone = measure(plan, people)
    assert alone == measure(plan, {"a0": people["a1"], "a1": people["a1"]}), "who has no such sample says nothing"
