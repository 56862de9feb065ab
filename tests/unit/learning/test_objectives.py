"""Objectives beside the task: each has what its optimiser remembers to itself, and weight nought is no cliff."""

from functools import partial

import pytest
import torch
from plans import differing, finished, learner, plan

from parse_p2p.core.types import Modality, PeerId
from parse_p2p.learning.learner import Objective
from parse_p2p.runtime import checkpoint
from parse_p2p.runtime.modality_handover import carry
from parse_p2p.runtime.simulator import simulate

OPTIMISERS = {"sgd": {"weight_decay": 0.1}, "adam": {"optimiser": "adamw", "lr": 0.01}}
every = pytest.mark.parametrize("train", OPTIMISERS.values(), ids=OPTIMISERS)
WEIGHTS = [("creamfl", "gamma"), ("creamfl", "beta"), ("fedafd", "gamma"), ("fedafd", "beta")]


def size(agent):
    return sum(p.square().sum() for p in agent.model.parameters()) / 2


def total(agent):
    return sum(p.sum() for p in agent.model.parameters())


def test_no_objective_runs_on_the_momentum_of_another():
    """Of ½‖p‖² at rate η: v ← μ v + p, p ← p − η v, with a v for each objective."""
    agent = learner("audio", train={"lr": 0.1, "momentum": 0.5, "weight_decay": 0.0, "clip": 1e9})
    p, velocity = agent.buffer.values.clone(), {"": 0.0, "other": 0.0, "third": 0.0}
    for _ in range(3):
        for name, weight in (("", 1.0), ("other", 0.3), ("third", 0.7)):
            agent.step(lambda: size(agent), objective=Objective(name, weight))
            velocity[name] = 0.5 * velocity[name] + p
            p = p - weight * 0.1 * velocity[name]
    torch.testing.assert_close(agent.buffer.values, p)


def test_without_momentum_a_step_is_that_of_its_gradient():
    agent = learner("audio", train={"lr": 0.1, "momentum": 0.5, "weight_decay": 0.3, "clip": 1e9})
    p = agent.buffer.values.clone()
    for _ in range(3):
        agent.step(lambda: size(agent), objective=Objective("game", momentum=False))
    torch.testing.assert_close(agent.buffer.values, 0.9**3 * p)  # and no decay, which is the task's


def test_without_momentum_adam_goes_by_the_gradient_of_the_step_alone():
    agent = learner("audio", train={"optimiser": "adam", "lr": 0.1, "betas": [0.9, 0.0]})
    for sign in (1, -1):
        p = agent.buffer.values.clone()
        agent.step(lambda sign=sign: sign * total(agent), objective=Objective("game", momentum=False))
        torch.testing.assert_close(agent.buffer.values, p - sign * 0.1)


def test_the_loss_of_a_step_is_that_before_its_weight():
    agent = learner("audio")
    before = size(agent).detach()
    assert agent.step(lambda: size(agent), objective=Objective("other", 0.01)) == before


@every
def test_a_weight_that_goes_to_zero_changes_nothing_by_a_jump(train):
    agent, alone = learner("audio", train=train), learner("audio", train=train)
    for _ in range(5):
        agent.step(lambda: size(agent))
        agent.step(lambda: -total(agent), objective=Objective("other", 1e-9))
        alone.step(lambda: size(alone))
    torch.testing.assert_close(agent.buffer.values, alone.buffer.values, rtol=1e-6, atol=1e-6)


@every
@pytest.mark.parametrize(("method", "weight"), WEIGHTS)
def test_a_method_without_an_objective_is_the_limit_of_one_with_little_of_it(method, weight, train):
    ended = {}
    for value in (0.0, 1e-9, 0.3):
        w = plan({"audio": 1, "audio+motion": 1}, method=method, options={weight: value}, train=train,
                 data={"samples": 60}, rounds=2)  # fmt: skip
        ended[value] = finished(w)[0]
    taking = [me for me in ended[0.0] if (me == "hub") == (weight == "gamma")]
    for me in taking:
        none, little, much = (
            {name: p.detach() for name, p in ended[value][me].learner.model.named_parameters() if not judging(name)}
            for value in ended
        )
        assert max(float((none[n] - little[n]).abs().max()) for n in none) < 1e-6
        assert max(float((none[n] - much[n]).abs().max()) for n in none) > 1e-4


def judging(name):
    return name.startswith(("intra.", "cross."))


@every
@pytest.mark.parametrize("method", ["fedafd", "creamfl"])
def test_a_run_resumed_from_its_files_is_the_uninterrupted_one(method, train, tmp_path):
    w = plan({"audio": 1, "audio+motion": 1}, method=method, train=train, data={"samples": 60}, rounds=4)
    whole, _ = finished(w)
    people, again = w.agent_states(), w.agent_states()
    simulate(people, 2)
    for old, new in zip(people, again, strict=True):
        checkpoint.save(tmp_path / old.me, 2, old.state(), 1)
        new.learner.step(partial(size, new.learner), objective=Objective("another"))  # which has to go
        new.restore(checkpoint.load(tmp_path / old.me, 2))
    simulate(again, 4, start=2)
    assert differing(whole, {p.me: p for p in again}) == []


@every
def test_modalities_that_come_and_go_take_every_memory_along(train):
    made = plan({"audio": 1, "audio+motion": 1}, train=train)
    old, new = (made.learner(PeerId("a1"), tuple(map(Modality, m))) for m in (["audio"], ["audio", "motion"]))
    old.step(lambda: size(old), objective=Objective("other"))
    carry(old, new, {})
    kept = {name: t for name, t in old.state().items() if name.startswith("objective/other/state/")}
    assert kept and all(torch.equal(new.state()[name], t) for name, t in kept.items())


@every
def test_what_is_forgotten_is_forgotten_for_every_objective(train):
    agent = learner("audio", train=train)
    [first, *others] = agent.buffer.leaves
    for objective in ("", "other"):
        agent.step(lambda: size(agent), objective=Objective(objective))
    agent.forget(first)
    left = {name.split("/")[-1] for name in agent.state() if "/state/" in name}
    assert left == set(others)
