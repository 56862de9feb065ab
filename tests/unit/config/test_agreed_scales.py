"""Agents with data of their own that agree on scales: they learn as from the mean and deviation of all samples."""

import json

import numpy as np
import plans
import pytest
import torch

import parse_p2p
from parse_p2p.config.run_file import OWN, RunFile
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import Modality
from parse_p2p.data.base import Dataset, split
from parse_p2p.lab.analysis import load_checkpoints
from parse_p2p.lab.experiments.recorded_simulation import record
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.runtime.simulator import simulate

SHAPES = {"audio": (3,), "motion": (2, 4)}
TYPES = {"a0": ["audio"], "a1": ["audio", "motion"], "a2": ["motion"], "a3": ["audio", "motion"]}
SMALL = {"latent": 6, "hidden": 4, "encoder": {"width": 6, "depth": 1}}


def samples(number):
    """Those of the agent with this number, which has more than the ones before it, and lie elsewhere."""
    rng, rows = np.random.default_rng(number), 20 + 6 * number
    y = torch.arange(rows) % 3
    inputs = {}
    for m, shape in SHAPES.items():
        x = 20 * rng.normal() + rng.normal(size=(rows, *shape)) + y.numpy().reshape(-1, *[1] * len(shape))
        inputs[m] = torch.tensor(x, dtype=torch.float32)
    return Dataset("own", inputs, y, 3)


def given(scale):
    kinds = {"audio": "vector", "motion": "series"}
    each = {m: {"kind": kinds[m], "shape": shape, "scale": scale[m]} for m, shape in SHAPES.items()}
    return {"modalities": each, "classes": ["0", "1", "2"]}


def plan(scale=None, method="parse", coordinator=False, **changes):
    agents = [{"id": me, "modalities": modalities} for me, modalities in TYPES.items()]
    agents += [{"id": "hub", "role": "coordinator"}] if coordinator else []
    raw = {"graph": {"generator": "ring"}, "agents": agents, "dataset": OWN, "method": method, "rounds": 2,
           "model": SMALL, "device": "cpu", "data_schema": given(scale or dict.fromkeys(SHAPES, "all"))}  # fmt: skip
    mine = {entry["id"]: samples(k) for k, entry in enumerate(agents)}
    return RunPlan(RunFile.model_validate(raw | changes), samples=mine)


def of_union(made):
    """What numpy says of the training samples of all who are there from the outset, each with what it then has."""
    found = {}
    for m in SHAPES:
        having = [k for k, me in enumerate(made.specs) if made.spans[me].start == 0 and m in made.senses(me, 0)]
        x = np.concatenate([split(samples(k), 0.25, 0)[0].inputs[m].double().numpy() for k in having])
        axes = (0, *range(2, x.ndim))
        found[m] = {"mean": x.mean(axes).tolist(), "deviation": x.std(axes).tolist()}
    return found


WAYS = {
    "ring": {},
    "nobody shares": {"method": "local"},
    "coordinator": {"method": "fedavg", "coordinator": True},
    "public data": {"method": "fedafd", "coordinator": True},
    "stream": {"stream": {"rounds": 1}},
    "validation": {"early_stopping": {"validation": 0.3}, "train": {"class_weights": "balanced"}},
    "varying": {"varying": {"kind": "matching"}},
    "gains": {"events": [{"round": 1, "agent": "a0", "gain": ["motion"]}]},
    "joins": {"events": [{"round": 1, "agent": "a3", "join": True}]},
    "leaves": {"events": [{"round": 1, "agent": "a3", "leave": True}]},
}


@pytest.mark.parametrize("way", WAYS)
def test_agents_learn_as_from_the_mean_and_deviation_of_all(way):
    made = plan(test=0.25, **WAYS[way])
    numbered = plan(of_union(made), test=0.25, **WAYS[way])
    agreed, numbers = (plans.finished(each)[0] for each in (made, numbered))
    plain, _ = plans.finished(plan(dict.fromkeys(SHAPES, "own"), test=0.25, **WAYS[way]))
    for me, agent in agreed.items():
        other = numbers[me]
        pairs = [(agent.learner.data, other.learner.data), (agent.learner.test, other.learner.test)]
        pairs += [(agent.learner.validation, other.learner.validation)] if way == "validation" else []
        pairs += [(agent.learner.others, other.learner.others)] if way == "stream" else []
        pairs += [(agent.public, other.public)] if agent.public is not None else []
        for mine, theirs in pairs:
            assert torch.equal(mine.targets, theirs.targets) and mine.modalities == theirs.modalities
            assert (mine.weights is None) == (theirs.weights is None)
            assert all(torch.allclose(x, theirs.inputs[m], rtol=1e-4, atol=1e-4) for m, x in mine.inputs.items())
        mine, theirs, own = (each[me].learner.buffer.values for each in (agreed, numbers, plain))
        assert (mine - theirs).abs().max() < 1e-2 * (mine - own).abs().max(), "and end at the same parameters"


def test_what_was_agreed_on_is_kept_and_asked_by(tmp_path):
    made = plan(test=0.25)
    agents = {p.me: p for p in record(made, RunFolder(tmp_path))}
    for me, agent in agents.items():
        kept = json.loads((tmp_path / "agents" / me / "data.json").read_text())["scale"]
        assert kept.keys() == SHAPES.keys(), "all know all: an agent may gain a modality"
        for m, each in of_union(made).items():
            assert np.allclose(kept[m]["mean"], each["mean"], rtol=1e-5, atol=1e-5)
            assert np.allclose(kept[m]["deviation"], each["deviation"], rtol=1e-5)
        _, raw = split(samples(int(me[1])), 0.25, 0)
        scaled = parse_p2p.load(tmp_path, me).scaled({m: raw.in_memory()[m] for m in map(Modality, TYPES[me])})
        assert all(torch.equal(scaled[m], x) for m, x in agent.learner.test.inputs.items())
    [said] = [e for e in (tmp_path / "agents/a0/events.jsonl").read_text().splitlines() if "scale-agreed" in e]
    counted = {m: sum(p.learner.samples for me, p in agents.items() if m in TYPES[me]) for m in SHAPES}
    assert json.loads(said)["samples"] == counted
    again = plan(test=0.25)  # as a laboratory that opens the data looks at it
    learners = load_checkpoints.learners(again, RunFolder(tmp_path), 2)
    assert all(torch.equal(x, agents[me].learner.data.inputs[m])
               for me, learner in learners.items() for m, x in learner.data.inputs.items())  # fmt: skip
    (tmp_path / "agents/a0/data.json").unlink()
    with pytest.raises(ConfigError, match="a0 was stopped before it had agreed with the others on what inputs are"):
        load_checkpoints.learners(plan(test=0.25), RunFolder(tmp_path), 2)


def test_who_begins_anew_agrees_anew_with_those_who_had_not():
    first, _ = plans.finished(plan(), rounds=1)
    again = plan().agent_states()  # all were stopped in the first round, one of them late enough to know
    again[0].use_agreed(first["a0"].agreed)
    simulate(again, 1)
    assert plans.differing(first, {p.me: p for p in again}) == []
    for p in again:
        for m, scale in p.agreed.scales.items():
            assert torch.equal(scale.mean, first[p.me].agreed.scales[m].mean)


def test_samples_are_never_given_out_unscaled_where_nobody_agreed():
    with pytest.raises(ConfigError, match="all is known only to agents that ran"):
        plan().share("a0")


def test_who_agrees_has_a_link_to_do_so():
    assert plan(method="local").neighbours("a0") == {"a1", "a3"}
    assert plan(dict.fromkeys(SHAPES, "own"), method="local").neighbours("a0") == frozenset()


def test_payload_of_the_first_round_has_that_of_the_agreement():
    made, ledgers = plan(), []
    plans.finished(made, watch=lambda round, metrics, ledger: ledgers.append(ledger))
    sent = [sum(n for name, n in ledger["a0"]["a1"].items() if name.startswith("scale/")) for ledger in ledgers]
    assert sent == [made.agreement("a0").payload // 2, 0] and sent[0] > 0
