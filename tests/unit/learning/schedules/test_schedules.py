"""The learning rate over the rounds: closed forms, those of torch, and what cannot be one."""

import math

import pytest
import torch
from plans import learner, plan
from pydantic import ValidationError
from torch import nn
from torch.optim import lr_scheduler

from parse_p2p.config.run_file import KeyLocations, validated
from parse_p2p.core import plugins
from parse_p2p.core.errors import ConfigError
from parse_p2p.learning.learner import Training

ROUNDS = 8

CLOSED = {
    "constant": ({}, [1.0] * 4),
    "cosine": ({}, [1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2]),
    "linear": ({"final": 0.2}, [1, 0.8, 0.6, 0.4]),
    "step": ({"every": 2, "drop": 0.3}, [1, 1, 0.3, 0.3]),
    "exponential": ({"gamma": 0.5}, [1, 0.5, 0.25, 0.125]),
    "polynomial": ({"power": 2}, [1, 0.5625, 0.25, 0.0625]),
}


def test_each_schedule_has_its_closed_form_here():
    assert sorted(CLOSED) == plugins.known(plugins.SCHEDULES)


@pytest.mark.parametrize(("name", "options", "factors"), [(n, *given) for n, given in CLOSED.items()])
def test_the_learning_rate_is_the_closed_form_in_whatever_order_rounds_come(name, options, factors):
    agent = learner("audio", train={"lr": 0.2, "schedule": name} | options)
    for round in (3, 0, 2, 1, 0):
        agent.begin(round, 4)
        assert {group["lr"] for group in agent.optimiser.param_groups} == {agent.rate}
        assert agent.rate == pytest.approx(0.2 * factors[round], rel=1e-12)


TORCHS = {
    "linear": ({}, lr_scheduler.LinearLR, {"start_factor": 1.0, "end_factor": 0.0, "total_iters": ROUNDS}),
    "step": ({"every": 3}, lr_scheduler.StepLR, {"step_size": 3}),
    "exponential": ({}, lr_scheduler.ExponentialLR, {"gamma": 0.95}),
    "polynomial": ({}, lr_scheduler.PolynomialLR, {"total_iters": ROUNDS, "power": 2.0}),
    "cosine": ({}, lr_scheduler.CosineAnnealingLR, {"T_max": ROUNDS}),
    "torch.optim.lr_scheduler.OneCycleLR": (
        {"max_lr": 1.0, "total_steps": ROUNDS}, lr_scheduler.OneCycleLR, {"max_lr": 1.0, "total_steps": ROUNDS}
    ),
    "torch.optim.lr_scheduler.MultiStepLR": (
        {"milestones": [2, 5]}, lr_scheduler.MultiStepLR, {"milestones": [2, 5]}
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "options", "theirs", "arguments"), [(n, *given) for n, given in TORCHS.items()])
def test_the_rates_are_those_of_torch(name, options, theirs, arguments):
    train = Training.model_validate({"lr": 0.3, "schedule": name} | options)
    optimiser = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.3, momentum=0.9)
    scheduler = theirs(optimiser, **arguments)
    for round in range(ROUNDS):
        assert train.rate(round, ROUNDS) == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-12)
        optimiser.step()
        scheduler.step()


def test_constant_and_cosine_are_what_they_were_to_the_last_bit():
    for round in range(20):
        for name, share in (("constant", 0.0), ("cosine", round / 20)):
            before = 0.07 * 0.5 * (1 + math.cos(math.pi * share))
            assert Training(lr=0.07, schedule=name).rate(round, 20) == before


def test_by_default_the_rate_falls_along_a_cosine():
    assert [Training(lr=0.2).rate(round, 4) for round in (0, 2)] == pytest.approx([0.2, 0.1])


def test_warm_up_grows_in_equal_steps_and_the_schedule_begins_after_it():
    train = Training.model_validate({"lr": 0.8, "warmup": 3, "schedule": "step", "every": 1, "drop": 0.5})
    assert [train.rate(round, 6) for round in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.4, 0.2])
    line = Training.model_validate({"lr": 0.8, "warmup": 2, "schedule": "linear"})
    assert line.rate(4, 6) == pytest.approx(0.4), "halfway between the end of the warm-up and that of the run"


WRONG = {
    "name": ({"schedule": "line"}, "schedule", "there is no schedule 'line': did you mean 'linear'?"),
    "no class": ({"schedule": "torch.optim.SGD"}, "schedule", "'SGD' is no class derived from LRScheduler"),
    "plateau": ({"schedule": "torch.optim.lr_scheduler.ReduceLROnPlateau"}, "schedule", "needs to see how well"),
    "missing": ({"schedule": "torch.optim.lr_scheduler.StepLR"}, "step_size", "Field required"),
    "function": (
        {"schedule": "torch.optim.lr_scheduler.LambdaLR", "lr_lambda": 1}, "schedule", "LambdaLR gives no learning rate"
    ),
    "option": ({"schedule": "step", "every": 0}, "every", "greater than or equal to 1"),
    "warm-up": ({"warmup": -1}, "warmup", "greater than or equal to 0"),
}  # fmt: skip


@pytest.mark.parametrize(("train", "key", "said"), WRONG.values(), ids=WRONG)
def test_what_is_no_schedule_is_refused_in_one_sentence(train, key, said):
    with pytest.raises(ValidationError) as caught:
        Training.model_validate(train)
    [error] = caught.value.errors()
    assert ".".join(map(str, error["loc"])) == key
    assert said in error["msg"] and "\n" not in error["msg"]


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ({"warmup": 4}, "train.warmup: it must be less than the 4 rounds of the run"),
        (
            {"schedule": "torch.optim.lr_scheduler.OneCycleLR", "max_lr": 1, "total_steps": 2},
            "train.schedule: OneCycleLR gives no learning rate for round 3 of 4",
        ),
    ],
)
def test_what_does_not_reach_to_the_last_round_is_found_before_the_first(train, said, tmp_path):
    raw = plan({"audio": 2}).run.model_dump(mode="json")
    _, wrong = validated(raw | {"train": train}, KeyLocations(tmp_path / "a.yaml", {}))
    assert [sentence for sentence in wrong if said in sentence] == wrong != []


def test_a_round_without_a_rate_is_one_sentence():
    train = Training.model_validate({"schedule": "torch.optim.lr_scheduler.OneCycleLR", "max_lr": 1, "total_steps": 2})
    with pytest.raises(ConfigError, match="OneCycleLR gives no learning rate for round 5 of 6: ValueError"):
        train.rate(5, 6)
