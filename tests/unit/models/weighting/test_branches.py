"""A weight for each branch: fitted by a closed form, on samples nobody trains on, and agreed on as a part is."""

import numpy as np
import plans
import pytest
import running
import torch
from torch.nn.functional import one_hot
from trained import asked, graph_says, recorded

import parse_p2p
from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import Modality
from parse_p2p.data.base import Batch
from parse_p2p.data.tasks.classification import CLASSIFICATION
from parse_p2p.data.tasks.regression import Regression
from parse_p2p.learning import losses
from parse_p2p.models.base import Outputs
from parse_p2p.models.weighting.base import weigh
from parse_p2p.models.weighting.branches import Branches, Options
from parse_p2p.runtime.modality_handover import carry

BRANCHES = {"weighting": "branches", "ridge": 1.0}
MODEL = {"model": BRANCHES}
NAME = "head.weights"


def factors(learner):
    return learner.model.weighting.get_parameter("factors")


def fitted(logits, targets, task=CLASSIFICATION, ridge=1.0, before=None):
    """The weights after a fit to what branches say, each (N, C)."""
    weigher = Branches(list(logits), ridge)
    if before is not None:
        weigher.factors.copy_(torch.tensor(before))
    weigher.fit([(Outputs(logits), Batch({}, targets, task=task))])
    return weigher.factors.detach().double()


def drawn(count=40, classes=3, seed=0):
    draw = torch.Generator().manual_seed(seed)
    targets = torch.randint(classes, (count,), generator=draw)
    knows = 2 * one_hot(targets, classes) + torch.randn(count, classes, generator=draw)
    return {"knows": knows, "guesses": 3 * torch.randn(count, classes, generator=draw)}, targets


def test_of_numbers_it_is_ridge_regression():
    draw = torch.Generator().manual_seed(1)
    a, b, y = (torch.randn(30, 2, generator=draw) for _ in range(3))
    found = fitted({"a": a, "b": b}, y, Regression(), ridge=2.0, before=[1.0, 0.5])
    # sum of mean squares over two outputs of (w_a a + w_b b) / 2 - y
    x = torch.stack([a, b], 2).reshape(-1, 2).double().numpy() / 2
    left, right = x.T @ x + 2 * np.eye(2), x.T @ y.double().reshape(-1).numpy() + 2 * np.array([1.0, 0.5])
    np.testing.assert_allclose(found, np.linalg.solve(left, right), rtol=1e-4)


@pytest.mark.parametrize("before", [None, [0.2, 2.0]])
def test_of_classes_the_gradient_vanishes_there(before):
    logits, y = drawn()
    found = fitted(logits, y, ridge=3.0, before=before)
    stacked = torch.stack(list(logits.values())).double()
    rest = (torch.einsum("b,bnc->nc", found, stacked).softmax(1) - one_hot(y, 3)) * stacked
    gradient = rest.sum((1, 2)) + 3 * (found - torch.tensor(before or [1.0, 1.0]))
    assert gradient.abs().max() < 1e-3
    assert found[0] > 3 * found[1].abs(), "the branch that knows counts, and the one that guesses does not"


def test_it_is_corrected_for_classes_as_training_is():
    logits, y = drawn()
    shift = torch.tensor([2.0, 0.0, -1.0])
    weigher = Branches(list(logits), 1.0)
    weigher.fit([(Outputs(logits), Batch({}, y, prior=shift))])
    found, stacked = weigher.factors.double(), torch.stack(list(logits.values())).double()
    said = (torch.einsum("b,bnc->nc", found, stacked) + shift).softmax(1)
    rest = ((said - one_hot(y, 3)) * stacked).sum((1, 2)) + found - 1
    assert rest.abs().max() < 1e-3


def test_the_correction_is_that_of_the_samples_trained_on(monkeypatch):
    mine = plans.learner("audio", train={"prior": 1.0}, partition={"kind": "dirichlet", "alpha": 0.3}, **MODEL)
    seen = []
    monkeypatch.setattr(Branches, "fit", lambda self, said: seen.extend(batch.prior for _, batch in said))
    mine.fit_weights()
    wanted = next(mine.batches()).prior
    assert len(seen) > 0 and wanted.abs().max() > 0.1 and all(torch.equal(prior, wanted) for prior in seen)


def test_a_firm_ridge_leaves_weights_as_they_were():
    logits, y = drawn()
    torch.testing.assert_close(fitted(logits, y, ridge=1e9, before=[0.3, 1.7]), torch.tensor([0.3, 1.7]).double())


def test_weights_of_one_are_the_plain_sum_to_the_bit_and_others_a_weighted_one():
    network, x = plans.network(), plans.inputs(plans.BOTH)
    outputs = network(x)
    plain = network.prediction(outputs)
    weigh(network, plans.BOTH, "branches", Options())
    assert torch.equal(network.prediction(outputs), plain)
    network.weighting.get_parameter("factors").copy_(torch.tensor([2.0, 0.0, -1.0, 0.5]))
    said = outputs.branches
    wanted = 2 * said["redundant"] - said["unique.motion"] + said["synergistic"] / 2
    torch.testing.assert_close(network.prediction(outputs), wanted)
    [audio] = [network({Modality("audio"): x["audio"]})]  # of samples that lack motion
    torch.testing.assert_close(network.prediction(audio), 2 * audio.branches["redundant"])


def test_samples_that_lack_a_modality_count_by_the_branches_that_they_have():
    logits, y = drawn(60)
    some = {"knows": logits["knows"][20:]}
    weigher = Branches(list(logits), 1.0)
    whole = Outputs({name: x[:20] for name, x in logits.items()}), Batch({}, y[:20])
    weigher.fit([whole, (Outputs(some), Batch({}, y[20:]))])
    found = weigher.factors.double()
    both = found[0] * logits["knows"].double() + found[1] * torch.cat([logits["guesses"][:20], torch.zeros(40, 3)])
    rest = (both.softmax(1) - one_hot(y, 3)) * logits["knows"]
    assert abs(rest.sum() + found[0] - 1) < 1e-3


# the samples


def key(dataset):
    return {tuple(row) for row in dataset.inputs[Modality("audio")].tolist()}


def test_what_is_kept_is_neither_trained_on_nor_tested_with():
    mine, plain = plans.learner(model={**BRANCHES, "held_out": 0.25}), plans.learner()
    assert len(mine.data) + len(mine.held) == len(plain.data)
    assert key(mine.data) | key(mine.held) == key(plain.data)
    assert len(mine.held) == pytest.approx(len(plain.data) / 4, abs=4)
    assert torch.equal(mine.test.targets, plain.test.targets) and plain.held is None
    seen = set()
    for round in range(3):
        mine.begin(round, 3)
        for batch in mine.batches():
            seen |= {tuple(row) for row in batch.inputs[Modality("audio")].tolist()}
    assert seen == key(mine.data) and len(seen) == len(mine.data)
    assert not seen & key(mine.held)


def test_the_samples_that_choose_the_round_are_others():
    mine = plans.learner(model=BRANCHES, early_stopping={"validation": 0.2})
    sets = [key(part) for part in (mine.data, mine.held, mine.validation)]
    assert sum(map(len, sets)) == len(set.union(*sets)) == len(key(plans.learner().data))


# agreed on


def weights(agents):
    """Those of the agents that have any, those with fewer branches first."""
    buffers = (agent.learner.buffer for agent in agents.values())
    return sorted((b.view(b.regions[NAME]) for b in buffers if NAME in b.regions), key=len)


def test_agents_of_a_type_agree_in_the_exchange_and_types_differ():
    agents, _ = plans.finished(plans.plan({"audio": 3, "audio+motion": 3}, "complete_graph", **MODEL), 3)
    found = weights(agents)
    assert list(map(len, found)) == [2, 2, 2, 4, 4, 4]
    for one, other in ((0, 2), (3, 5)):
        torch.testing.assert_close(found[one], found[other])  # the weights of a complete graph are uniform
        assert not torch.allclose(found[one], torch.ones(1), atol=1e-3)
    alone, _ = plans.finished(plans.plan({"audio": 3}, "complete_graph", method="local", **MODEL), 3)
    one, other, _ = weights(alone)
    assert not torch.allclose(one, other, atol=1e-3)


@pytest.mark.parametrize("method", ["harmony", "dsgd-task", "dsgd-modality", "dsgd-hybrid", "fedavg", "fedprox"])
def test_every_table_knows_the_part(method):
    network = {**BRANCHES, "network": "fission"}
    made = plans.plan({"audio+motion": 2, "audio": 1}, "complete_graph", method=method, model=network, rounds=2)
    one, other = weights(plans.finished(made)[0])[-3 if made.coordinator else -2 :][-2:]
    assert torch.allclose(one, other) == (method != "dsgd-modality")
    assert not torch.equal(one, torch.ones(4))


def test_no_step_moves_them_and_no_loss_feels_them():
    mine = plans.learner(model=BRANCHES, train={"weight_decay": 0.5})
    assert NAME in mine.buffer.regions and NAME not in mine.buffer.leaves
    assert {group["component"] for group in mine.optimiser.param_groups} == set(mine.buffer.leaves)
    plain = plans.learner(train={"weight_decay": 0.5})
    plain.train_on(mine.data)
    for learner in (mine, plain):
        learner.train(losses.task)
    region = mine.buffer.regions[NAME]
    assert torch.equal(mine.buffer.view(region), torch.ones(4))
    assert torch.equal(mine.buffer.values[: region.start], plain.buffer.values)


def test_it_is_fitted_before_a_round_and_not_before_the_first():
    made = plans.plan({"audio+motion": 2}, method="local", **MODEL)
    agents = made.agent_states()
    plans.simulate(agents, 1)
    [learner, _] = [agent.learner for agent in agents]
    assert torch.equal(factors(learner), torch.ones(4))
    learner.fit_weights()
    wanted = factors(learner).clone()
    assert not torch.equal(wanted, torch.ones(4))
    factors(learner).fill_(1)
    plans.simulate(agents, 2, start=1)
    assert torch.equal(factors(learner), wanted)


def test_as_processes_and_with_other_options_it_ends_as_simulated(tmp_path):
    options = {"weighting": "branches", "initialisation": "he", "encoder": {"norm": "layer", "width": 8, "depth": 1}}
    skewed = {"partition": {"kind": "dirichlet", "alpha": 0.5}, "train": {"prior": 0.5}}
    losses = {"synergy": "remainder", "modality": 1.0, "teach": 0.5}
    made = running.plan(rounds=3, model=options, options=losses, **skewed)
    assert running.differing(running.over_memory(made, tmp_path), running.simulated(made)) == []


def test_a_broken_sensor_does_not_make_them_no_numbers():
    faults = [{"kind": "sensor", "agents": ["a0"], "modality": "audio", "round": 1}]
    agents, _ = plans.finished(plans.plan({"audio+motion": 2}, faults=faults, **MODEL), 3)
    assert not agents["a0"].learner.held.inputs["audio"].any() and agents["a1"].learner.held.inputs["audio"].any()
    assert all(found.isfinite().all() for found in weights(agents))


# wherever a model goes


def test_a_model_predicts_alike_wherever_it_is(tmp_path):
    plan, agents = recorded(tmp_path, model=BRANCHES, rounds=3)
    mine, x = agents["a2"].learner, asked(plan, "a2")
    model = parse_p2p.load(tmp_path, "a2")
    outputs = mine.model.eval()(model.scaled(x))
    expected = mine.model.prediction(outputs)
    assert not torch.allclose(expected, outputs.logits(), atol=1e-3)
    assert torch.equal(model.predict(x), expected.detach().softmax(1))
    assert np.allclose(graph_says(model, tmp_path, x), model.predict(x), rtol=0, atol=1e-5)


def test_a_state_brings_them_back():
    one, other = (plans.plan({"audio+motion": 2}, **MODEL).agent_state("a0") for _ in range(2))
    factors(one.learner).copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    other.restore(one.state())
    assert factors(other.learner).tolist() == [1, 2, 3, 4]


def test_another_learner_takes_them_over_though_no_optimiser_remembers_them():
    old, new = plans.learner(model=BRANCHES), plans.learner(model=BRANCHES)
    old.train(losses.task)
    factors(old).copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    carry(old, new, {})
    assert factors(new).tolist() == [1, 2, 3, 4] and torch.equal(old.buffer.values, new.buffer.values)


# what is refused


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"method": "dsgd-task", "model": {**BRANCHES, "network": "monolithic"}}, "a Monolithic does not name several"),
        ({"model": {**BRANCHES, "held_out": 0.001}}, r"model\.held_out: 0\.001 leaves agent a0"),
        ({"stream": {"tasks": 2}, **MODEL}, "branches keeps samples that are never trained on, and a stream deals"),
        (
            {"events": [{"round": 1, "agent": "a1", "lose": ["motion"]}], **MODEL},
            "and events change an agent's samples with its modalities",
        ),
    ],
)
def test_what_cannot_be_weighed_is_refused_in_a_sentence(keys, said):
    with pytest.raises(ConfigError, match=said):
        plans.plan(**{"mix": {"audio+motion": 2}, **keys}).agent_state("a0")


def test_an_agent_with_one_branch_has_nothing_to_weigh():
    made = plans.plan({"audio": 1, "audio+motion": 2}, model={**BRANCHES, "split": [0, 1, 0]})
    agents, _ = plans.finished(made, 2)
    assert list(map(len, weights(agents))) == [2, 2]
    for me, agent in agents.items():
        assert made.holders[me].regions == agent.learner.buffer.regions
