"""How frequent classes are among all agents' samples, and samples weighed by that: numpy counts them."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import plans
import pytest
import torch
from counting import AGENTS, counted, counting, samples
from plans import dealt

from parse_p2p.core.errors import ConfigError
from parse_p2p.data.base import Dataset, evened, split
from parse_p2p.lab.analysis import load_checkpoints
from parse_p2p.lab.experiments.recorded_simulation import record
from parse_p2p.launch.run_folder import RunFolder

WEIGHTS = {"train": {"class_weights": "federation"}}


def plan(**changes):
    return counting(**WEIGHTS | changes)


WAYS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "scaled by their own": ({}, AGENTS),
    "scaled by all": ({"scale": "all"}, AGENTS),
    "weighed": ({"weighed": True}, AGENTS),
    "nobody shares": ({"method": "local"}, AGENTS),
    "joins": ({"events": [{"round": 1, "agent": "a2", "join": True}]}, AGENTS[:2]),
    "coordinator": ({"method": "fedavg", "coordinator": True}, (*AGENTS, "hub")),
}


@pytest.mark.parametrize("way", WAYS)
def test_samples_weigh_one_over_how_frequent_their_class_is_among_all(way):
    keys, there = WAYS[way]
    made = plan(**keys)
    agents, _ = plans.finished(made)
    frequencies = counted(made, there, "weighed" in keys)
    for number, me in enumerate(made.specs):
        assert np.allclose(agents[me].agreed.frequencies, frequencies, atol=1e-5)
        own, _ = split(samples(number, "weighed" in keys), 0.25, 0)
        filled = np.where(frequencies > 0, frequencies, frequencies[frequencies > 0].min())  # of one that came later
        expected = own.weighed().numpy() / filled[own.targets]
        assert np.allclose(agents[me].learner.data.weights, expected / expected.mean(), rtol=1e-3)


def test_a_set_that_is_dealt_out_is_counted_by_everybody():
    made = plans.plan({"audio": 3}, partition={"kind": "dirichlet", "alpha": 0.5}, **WEIGHTS)
    assert made.agreement("a0") is None
    data = dealt(made)
    counts = np.bincount(data.train.targets[np.concatenate(list(data.shares.values()))], minlength=data.train.classes)
    for me in made.peers:
        learner = made.learner(me, ("audio",))
        weights = 1 / counts[learner.data.targets]
        assert np.allclose(learner.data.weights, weights / weights.mean(), rtol=1e-5)
    plain = plans.plan({"audio": 3}, partition={"kind": "dirichlet", "alpha": 0.5})
    assert plain.learner("a0", ("audio",)).data.weights is None


def test_classes_of_all_count_alike_over_all_agents():
    agents, _ = plans.finished(plan())
    total = np.zeros(4)
    for agent in agents.values():
        data = agent.learner.data
        # an agent's own mean is taken out again: what is alike is one over the frequency
        np.add.at(total, data.targets.numpy(), (1 / agent.agreed.frequencies[data.targets]).numpy())
    assert np.allclose(total[:3], total[0], rtol=1e-4) and total[3] == 0


def test_evened_by_hand():
    data = Dataset("own", {"audio": torch.zeros(3, 2)}, torch.tensor([0, 0, 1]), 2)
    assert evened(data, None) is data
    assert evened(data, torch.tensor([0.2, 0.8])).weights.tolist() == pytest.approx([1.0, 1.0, 0.25])
    weighed = replace(data, weights=torch.tensor([1.0, 3.0, 4.0]))
    assert evened(weighed, torch.tensor([0.5, 0.5])).weights.tolist() == pytest.approx([1.0, 3.0, 4.0])
    assert evened(data, torch.tensor([0.0, 0.5])).weights.tolist() == pytest.approx([1.0, 1.0, 1.0])
    assert evened(data, torch.zeros(2)).weights.tolist() == pytest.approx([1.0, 1.0, 1.0])
    assert len(evened(data.select([]), torch.tensor([0.5, 0.5]))) == 0


def test_it_is_kept_and_gone_on_with(tmp_path):
    made = plan()
    agents = {p.me: p for p in record(made, RunFolder(tmp_path))}
    kept = json.loads((tmp_path / "agents/a0/data.json").read_text())
    assert kept["classes"] == agents["a0"].agreed.frequencies.tolist()
    [said] = [e for e in (tmp_path / "agents/a0/events.jsonl").read_text().splitlines() if "scale-agreed" in e]
    assert json.loads(said)["frequencies"] == kept["classes"]
    assert json.loads(said)["says"] == "minds how frequent classes are among all agents"
    learners = load_checkpoints.learners(plan(), RunFolder(tmp_path), 2)
    assert all(torch.equal(each.data.weights, agents[me].learner.data.weights) for me, each in learners.items())
    del kept["classes"]
    (tmp_path / "agents/a0/data.json").write_text(json.dumps(kept))
    with pytest.raises(ConfigError, match=r"data\.json does not say how frequent each class is: start the run anew"):
        load_checkpoints.learners(plan(), RunFolder(tmp_path), 2)


def test_what_is_sent_is_what_the_plan_says():
    for keys in ({}, {"scale": "all"}):
        made, ledgers = plan(**keys), []
        plans.finished(made, watch=lambda round, metrics, ledger, ledgers=ledgers: ledgers.append(ledger))
        sent = [sum(n for name, n in each["a0"]["a1"].items() if name.startswith("scale/")) for each in ledgers]
        assert sent == [made.agreement("a0").payload // 2, 0] and sent[0] > 0


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"stream": {"tasks": 2}}, r"train\.class_weights: a stream's tasks have other classes each"),
        ({"graph": {"edges": [["a0", "a1"]]}, "method": "local"}, "graph: it has 2 connected components"),
    ],
)
def test_where_nothing_can_be_counted(keys, said):
    with pytest.raises(ConfigError, match=said):
        plan(**keys)
