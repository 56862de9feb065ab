"""What a round draws, how fast it steps, and how it fails."""

import math

import pytest
import torch
from plans import finished, learner, plan
from pydantic import ValidationError
from torch.nn.functional import cross_entropy

from parse_p2p.core.errors import ConfigError, Interrupted, TrainingError
from parse_p2p.learning import losses


def drawn(agent, round):
    """The targets and inputs of a round's batches, in the order they came."""
    seen = []

    def spy(network, batch, outputs):
        seen.append(torch.cat([batch.targets[:, None].float(), batch.inputs["audio"]], 1))
        return losses.task(network, batch, outputs)

    agent.begin(round, 4)
    agent.train(spy)
    return seen


def drawn_by(agent, round):
    """What the loss of two steps draws of torch's own generator, as dropout does."""
    seen = []

    def loss():
        seen.append(torch.rand(3))
        return agent.buffer.leaves["head.redundant"].sum()

    agent.begin(round, 4)
    for _ in range(2):
        agent.step(loss)
    return torch.cat(seen)


def same(one, other):
    return len(one) == len(other) and all(map(torch.equal, one, other))


def test_a_round_draws_the_same_batches_whatever_came_before():
    fresh, used = learner(), learner()
    for round in (0, 1, 1, 2):
        drawn(used, round)
    assert same(drawn(fresh, 3), drawn(used, 3))


def test_rounds_agents_and_seeds_draw_differently():
    agents = plan({"audio+motion": 2}).agent_states()
    one, other = (p.learner for p in agents)
    one.data = other.data
    assert not same(drawn(one, 0), drawn(one, 1))
    assert not same(drawn(one, 0), drawn(other, 0))
    before = drawn(one, 0)
    one.seed += 1
    assert not same(drawn(one, 0), before)


def test_what_modules_draw_depends_on_seed_agent_and_round_alone():
    one, other = (p.learner for p in plan({"audio+motion": 2}).agent_states())
    torch.manual_seed(1)
    first = drawn_by(one, 0)
    torch.manual_seed(2)
    assert torch.equal(drawn_by(one, 0), first) and not torch.equal(first[:3], first[3:]), "steps differ"
    assert not torch.equal(drawn_by(one, 1), first) and not torch.equal(drawn_by(other, 0), first)


def test_every_sample_is_seen_once_an_epoch():
    agent = learner(train={"epochs": 2, "batch": 32})
    rows = torch.cat(drawn(agent, 0))
    assert len(rows) == 2 * agent.samples
    assert torch.unique(rows, dim=0, return_counts=True)[1].tolist() == [2] * agent.samples


def test_the_global_generator_is_neither_read_nor_moved():
    one, other = learner(), learner()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    drawn(one, 0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    drawn(other, 0)
    assert torch.equal(one.buffer.values, other.buffer.values)


def test_scale_is_a_factor_on_the_rate_of_each_component_for_one_training():
    agent = learner(train={"weight_decay": 0, "momentum": 0})
    before = agent.cut(agent.buffer.regions)
    agent.begin(0, 4)
    agent.train(losses.task, scale=lambda name: 1.0 if name.startswith("head.") else 0.0)
    after = agent.cut(agent.buffer.regions)
    for name in before:
        assert torch.equal(before[name], after[name]) != name.startswith("head."), name
    assert {group["lr"] for group in agent.optimiser.param_groups} == {agent.options.lr}


def test_scale_halves_the_first_step():
    full, half = (learner(train={"momentum": 0, "batch": 10_000, "weight_decay": 0}) for _ in range(2))
    before = full.buffer.values.clone()
    full.train(losses.task)
    half.train(losses.task, scale=lambda name: 0.5)
    torch.testing.assert_close(half.buffer.values - before, (full.buffer.values - before) / 2)


def test_gradients_are_clipped_to_the_norm_asked_for():
    agent = learner(train={"momentum": 0, "weight_decay": 0, "batch": 10_000, "lr": 1.0, "clip": 0.01})
    before = agent.buffer.values.clone()
    agent.train(losses.task)
    assert (agent.buffer.values - before).norm().item() == pytest.approx(0.01, rel=1e-3)


def test_a_halted_learner_stops_at_its_next_step():
    agent = learner()
    steps = []

    def halting(network, batch, outputs):
        steps.append(1)
        agent.halted = len(steps) == 2
        return losses.task(network, batch, outputs)

    with pytest.raises(Interrupted, match="a0"):
        agent.train(halting)
    assert len(steps) == 2


def test_data_that_is_no_number_is_a_training_error_naming_the_agent():
    agent = learner()
    agent.data.inputs["audio"][0, 0] = math.nan
    with pytest.raises(TrainingError, match=r"a0.*lower train\.lr"):
        agent.train(losses.task)


def test_a_huge_rate_is_a_training_error_naming_the_agent():
    agent = learner(train={"lr": 1e38})
    with pytest.raises(TrainingError, match="a0"):
        agent.train(losses.task)


def test_a_last_step_that_leaves_the_numbers_is_found_though_its_loss_is_fine():
    agent = learner(train={"lr": 1e38, "batch": 10_000, "clip": 1e38})
    with pytest.raises(TrainingError, match="a0"):
        agent.train(lambda *given: 100 * losses.task(*given))


def test_on_known_bits_nobody_is_luckier_than_the_ceiling():
    agents = plan({"audio": 2, "audio+motion": 1}, dataset="bits", data={"samples": 800}).agent_states()
    for agent in (p.learner for p in agents):
        said = agent.outputs(agent.test).logits().argmax(1)
        assert agent.test.ceiling is not None
        best = agent.test.ceiling(frozenset(agent.test.modalities))
        found = agent.evaluate()["accuracy"]
        assert found == pytest.approx(agent.test.chances(said).mean().item())
        assert found < best
        assert (found / best * len(said)) == pytest.approx(round(found / best * len(said))), "whole samples count"


def test_evaluation_with_some_branches_is_that_of_their_sum():
    agent = learner()
    outputs = agent.outputs(agent.test)
    for branches in (None, ["redundant"], ["unique"], ["unique.audio", "synergistic"]):
        names = [n for n in outputs.branches if branches is None or any(n.startswith(b) for b in branches)]
        logits = sum(outputs.branches[n] for n in names)
        found = agent.evaluate(branches)
        assert found["accuracy"] == pytest.approx((logits.argmax(1) == agent.test.targets).float().mean().item())
        assert found["test_loss"] == pytest.approx(cross_entropy(logits, agent.test.targets).item(), rel=1e-5)
    with pytest.raises(ConfigError, match=r"telepathy.*redundant, unique\.audio"):
        agent.evaluate(["telepathy"])


def test_branch_accuracy_keeps_one_and_drops_one():
    agent = learner()
    found = agent.branch_accuracy()
    assert found.keys() == {"redundant", "unique.audio", "unique.motion", "synergistic"}
    assert found["redundant"]["alone"] == agent.evaluate(["redundant"])["accuracy"]
    assert found["synergistic"]["dropped"] == agent.evaluate(["redundant", "unique"])["accuracy"]
    only = learner("audio", model={"split": [1, 0, 0]})
    assert only.branch_accuracy() == {"redundant": {"alone": only.evaluate()["accuracy"]}}


def test_evaluation_changes_nothing():
    agent = learner()
    before = agent.state()
    agent.evaluate()
    agent.branch_accuracy()
    assert all(torch.equal(before[name], tensor) for name, tensor in agent.state().items())


BF16 = {"train": {"autocast": "bf16"}}


def seen_types(agent):
    """The types of what a step's loss sees and is."""
    types = set()

    def spy(network, batch, outputs):
        types.update(x.dtype for x in outputs.branches.values())
        return losses.task(network, batch, outputs)

    agent.begin(0, 4)
    agent.train(spy)
    return types


def test_autocast_computes_steps_in_bfloat16_and_keeps_all_that_lasts_in_float32():
    agent = learner(**BF16)
    assert seen_types(agent) == {torch.bfloat16} and seen_types(learner()) == {torch.float32}
    lasting = [
        agent.buffer.values,
        agent.buffer.grads,
        *agent.state().values(),
        *agent.cut(agent.buffer.regions).values(),
    ]
    assert {tensor.dtype for tensor in lasting if tensor.is_floating_point()} == {torch.float32}
    assert {x.dtype for x in agent.outputs(agent.test).branches.values()} == {torch.float32}, "evaluation"


def test_autocast_learns_and_the_seed_decides():
    def trained(**changes):
        agent = learner(**changes)
        trained_losses = []
        for round in range(6):
            agent.begin(round, 6)
            trained_losses.append(agent.train(losses.task)["loss"])
        return agent, trained_losses

    (one, falling), (other, _), (full, wanted) = trained(**BF16), trained(**BF16), trained()
    assert torch.equal(one.buffer.values, other.buffer.values)
    assert not torch.equal(one.buffer.values, full.buffer.values)
    assert falling[-1] < 0.8 * falling[0]
    assert falling == pytest.approx(wanted, rel=0.05)


@pytest.mark.parametrize(
    "method",
    ["parse", "harmony", "fedprox", "creamfl", "fedafd", "fedcmi", "fedmosaic"],
)
def test_every_loss_can_be_computed_under_autocast(method):
    lossy, exact = (finished(plan(method=method, **changes), 2)[0] for changes in (BF16, {}))
    for me, agent_state in lossy.items():
        values = agent_state.learner.buffer.values
        assert values.dtype == torch.float32
        torch.testing.assert_close(values, exact[me].learner.buffer.values, rtol=0, atol=0.2)


def test_an_unknown_autocast_is_refused():
    with pytest.raises(ValidationError, match="'none' or 'bf16'"):
        learner(train={"autocast": "fp8"})
