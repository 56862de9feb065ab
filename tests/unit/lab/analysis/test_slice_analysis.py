"""What is measured of agents: where the truth is known, and where two ways to the same figure must agree."""

import math
from dataclasses import replace
from types import SimpleNamespace

import plans
import pytest
import torch

from parse_p2p.core.types import Kind, Modality
from parse_p2p.data.base import Dataset
from parse_p2p.lab.analysis import consensus
from parse_p2p.lab.analysis.slice_analysis import ATOMS, TOPICS, View, analyse, flat, pairs, pid, purity

BITS = {"data": {"samples": 2400}, "test": 0.8, "rounds": 2}


def learners(plan, rounds=None):
    return {me: p.learner for me, p in plans.finished(plan, rounds)[0].items()}


@pytest.fixture(scope="module")
def trained():
    """A world with many test samples, its learners after two rounds, and what is found of them."""
    plan = plans.plan({"audio": 1, "motion": 1, "audio+motion": 2}, **BITS)
    found = learners(plan)
    return plan, found, analyse(plan, found, 2)


def test_inputs_hold_the_bits_that_were_put_there(trained):
    plan, _, found = trained
    records = [r for r in found["dataset_pid"] if r["of"] == "inputs" and r["k"] == 8]
    assert len(records) == 2  # the agents with both
    for record in records:
        assert [record[atom] for atom in ATOMS] == pytest.approx([1, 1, 1, 1], abs=0.08)
        assert record["n"] == len(plans.dealt(plan).test) and record["classes"] == 16 and not record["enough"]
        assert all(record[f"null_{atom}"] < 0.25 for atom in ATOMS)


def test_every_record_has_its_round_and_every_topic_its_records(trained):
    plan, _, found = trained
    assert list(found) == list(TOPICS)
    assert all(record["round"] == 2 for topic in TOPICS[:-1] for record in found[topic])
    of = {topic: {r["agent"] for r in found[topic]} for topic in ("slice_pid", "slice_info", "use", "leak")}
    both = {me for me in plan.peers if plan.kind(me) == "audio+motion"}
    assert of == {"slice_pid": both, "slice_info": set(plan.peers), "use": set(plan.peers), "leak": set(plan.peers)}
    assert {r["slice"] for r in found["slice_info"] if r["type"] == "audio"} == {"redundant", "unique"}


def test_no_slice_holds_more_than_the_data(trained):
    _, _, found = trained
    for record in found["slice_pid"]:
        assert sum(record[atom] for atom in ATOMS) < 4.05 and 0 <= record["purity"] <= 1
    for record in found["slice_info"]:
        assert record["bits"] < 2.02 and record["entropy"] == pytest.approx(
            4, abs=0.01
        )  # r and u; a coin tells nothing


def test_use_agrees_with_the_learner_s_own_evaluation(trained):
    _, agents, found = trained
    me = next(me for me, learner in agents.items() if len(learner.holder.modalities) == 2)
    said = {(r["branch"], r["change"]): r for r in found["use"] if r["agent"] == me}
    whole, alone = agents[me].evaluate(), agents[me].evaluate(["redundant"])
    dropped = agents[me].evaluate(["unique", "synergistic"])
    for record, want in [
        (said["all", "none"], whole), (said["redundant", "alone"], alone), (said["redundant", "dropped"], dropped)
    ]:  # fmt: skip
        assert record["accuracy"] == pytest.approx(want["accuracy"])
        assert record["cross_entropy"] == pytest.approx(want["test_loss"] / math.log(2), rel=1e-4)


def test_the_pooled_estimate_has_all_samples_and_the_agents_agree_on_it(trained):
    plan, _, found = trained
    [record] = found["pooled"]
    assert record["agents"] == 2 and record["n"] == len(plans.dealt(plan).test) and record["apart"] < 1e-3
    both, alone = (sum(record[prefix + atom] for atom in ATOMS) for prefix in ("", "alone_"))
    assert both < alone  # half of the samples leave more to chance


def test_no_number_of_codes_stands_twice():
    plan = plans.plan({"audio+motion": 2}, rounds=1)
    found = analyse(plan, learners(plan), 1, 2)
    rows = [(r["agent"], r["of"], r["k"]) for r in found["dataset_pid"]]
    assert len(rows) == len(set(rows)) and {k for *_, k in rows} == {2, 4}


def test_of_a_stream_nothing_is_pooled():
    """Agents of two relevance groups call the same class by different labels."""
    plan = plans.plan({"audio+motion": 2}, rounds=2, stream={"tasks": 2, "groups": 2, "rounds": 1})
    found = analyse(plan, learners(plan), 2, 4)
    assert found["dataset_pid"] and not found["pooled"]
    assert any("pooled is left out" in note for note in found["notes"])


def test_agents_that_are_equal_agree_and_do_not_pull_apart():
    plan = plans.plan(rounds=1)
    agents = {me: plan.agent_state(me).learner for me in plan.peers}
    mine = [agents[me] for me in plan.peers if plan.kind(me) == "audio+motion"][:2]
    mine[1].buffer.values.copy_(mine[0].buffer.values)
    mine[1].data = mine[0].data
    alike = {learner.me: learner for learner in mine}
    for record in consensus.agreement(alike, plans.dealt(plan).test.inputs):
        assert record["distance"] == record["relative"] == 0 and record["cka"] == pytest.approx(1)
    for record in consensus.conflict(alike):
        assert record["multimodal"] == pytest.approx(1) and record["across"] is record["unimodal"] is None


def test_the_distance_of_two_agents_is_half_of_what_is_between_them():
    plan = plans.plan({"audio": 2}, rounds=1)
    a, b = agents = [plan.agent_state(me).learner for me in plan.peers]
    region = a.buffer.regions["trunk.audio"]
    b.buffer.view(region).copy_(a.buffer.view(region) + 0.5)
    [record] = [r for r in consensus.agreement({x.me: x for x in agents}, plans.dealt(plan).test.inputs)
                if r["component"] == "trunk.audio"]  # fmt: skip
    assert record["distance"] == pytest.approx(0.25 * region.size**0.5, rel=1e-5)


def test_opposite_labels_pull_gradients_apart():
    plan = plans.plan({"audio": 1, "audio+motion": 1}, data={"atoms": ["redundant"]}, rounds=1)
    one, both = (plan.agent_state(me).learner for me in plan.peers)
    both.data = replace(both.data, targets=1 - both.data.targets)
    found = {r["component"]: r for r in consensus.conflict({"a0": one, "a1": both})}
    assert found["head.redundant"]["across"] < -0.5


def test_a_network_without_slices_is_looked_at_as_far_as_it_goes():
    plan = plans.plan(method="dsgd-task", model={"network": "monolithic"})
    found = analyse(plan, learners(plan, 1), 1, 4)
    assert found["dataset_pid"] and found["agreement"] and found["conflict"]
    assert not found["slice_pid"] and not found["slice_info"] and not found["leak"] and not found["use"]
    assert "has no slices" in found["notes"][0]


def test_without_paired_samples_only_probes_are_left():
    plan = plans.plan({"audio": 2, "motion": 2})
    found = analyse(plan, learners(plan, 1), 1, 4)
    assert not found["dataset_pid"] and not found["slice_pid"] and found["slice_info"] and not found["pooled"]
    assert any("no agent has two modalities" in note for note in found["notes"])


def test_three_modalities_are_taken_in_pairs_and_each_against_the_rest():
    a, b, c = (Modality(m) for m in "abc")
    assert pairs((a, b)) == [((a,), (b,))]
    against = [((a,), (b, c)), ((b,), (a, c)), ((c,), (a, b))]
    assert pairs((a, b, c)) == [((a,), (b,)), ((a,), (c,)), ((b,), (c,)), *against]


def test_the_parity_of_three_shows_only_against_the_rest():
    """No pair has any of it: it is one modality and the other two together that give the bit."""
    coins = torch.randint(0, 2, (2000, 3), generator=torch.Generator().manual_seed(0))
    names = [Modality(m) for m in "abc"]
    data = Dataset("parity", {m: coins[:, [i]].float() for i, m in enumerate(names)}, coins.sum(1) % 2, 2)
    view = View(SimpleNamespace(test=data), "a+b+c", 0)
    found = {pair: pid(view, flat(data), flat(data), pair, 4) for pair in pairs(tuple(names))}
    for (_, other), record in found.items():
        assert record["synergistic"] == pytest.approx(len(other) - 1, abs=0.01)
        assert record["one"] in "abc" and record["other"] == "+".join(other)


def test_purity_counts_the_slice_s_own_kind():
    found = {"redundant": 0.2, "unique_1": 0.3, "unique_2": 0.1, "synergistic": 0.4}
    assert [purity(kind, found) for kind in (Kind.REDUNDANT, Kind.UNIQUE, Kind.SYNERGISTIC)] == pytest.approx(
        [0.2, 0.4, 0.4]
    )
    assert purity(Kind.UNIQUE, dict.fromkeys(ATOMS, 0.0)) is None


def test_looking_changes_nothing():
    plan = plans.plan({"audio": 1, "audio+motion": 2})
    agents = learners(plan, 1)
    before = {me: learner.buffer.values.clone() for me, learner in agents.items()}
    one, two = analyse(plan, agents, 1, 2), analyse(plan, agents, 1, 2)
    assert one == two
    assert all(torch.equal(before[me], learner.buffer.values) for me, learner in agents.items())
    assert all(not learner.buffer.grads.any() for learner in agents.values())
