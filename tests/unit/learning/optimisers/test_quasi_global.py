"""Quasi-global momentum: whole rounds by hand, consensus on every graph, resume, and what was not stepped."""

import networkx as nx
import numpy as np
import pytest
import torch
from exchanging import TINY, parameters, scattered
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import differing, finished, learner, plan, under
from pydantic import ValidationError
from torch import nn

from parse_p2p.core.rng import seeded
from parse_p2p.learning.learner import Objective, Training
from parse_p2p.learning.optimisers.sgd import Momentum
from parse_p2p.methods.base import Local
from parse_p2p.methods.gossip import exchange as exchange_slices
from parse_p2p.runtime.simulator import simulate
from parse_p2p.topology.weights import metropolis

TRAIN = {"quasi_global": 0.75, "momentum": 0.5, "weight_decay": 0.0, "batch": 500, "epochs": 2}


def test_two_agents_and_three_rounds_by_hand():
    """θ, m of both agents from their gradients alone: the mean of two is their mixing."""
    made = plan({"audio": 2}, train=TRAIN | {"clip": 1e9, "schedule": "exponential", "gamma": 0.5}, rounds=3)
    agents = made.agent_states()
    gradients = _recorded(agents)
    theta = [a.learner.buffer.values.double() for a in agents]
    shared = torch.zeros(len(theta[0]), dtype=torch.bool)
    for region in agents[0].plan(0).regions.values():
        shared[region.start : region.stop] = True
    assert shared.all()
    simulate(agents, 3)
    m, moved, rates = [torch.zeros(len(theta[0])).double() for _ in agents], [], []
    for round in range(3):
        began = [t.clone() for t in theta]
        for step in range(2):
            for i in range(2):
                g = gradients[i][2 * round + step].double()
                m[i] = 0.5 * m[i] + g if round or step else g
                theta[i] = theta[i] - 0.05 * 0.5**round * m[i]
        theta = [(theta[0] + theta[1]) / 2] * 2
        moved.append([b - t for b, t in zip(began, theta, strict=True)])
        rates.append(2 * 0.05 * 0.5**round)
        for i in range(2):
            path = sum(each[i] for each in moved[-2:]) / sum(rates[-2:])
            m[i] = 0.25 * m[i] + 0.75 * path
    for i, agent in enumerate(agents):
        torch.testing.assert_close(agent.learner.buffer.values, theta[i].float(), rtol=1e-4, atol=1e-6)
        kept = agent.state()
        name = next(iter(agent.learner.buffer.leaves))
        region = agent.learner.buffer.regions[name]
        mine = kept[f"optimiser/state/momentum_buffer/{name}"]
        torch.testing.assert_close(mine, m[i][region.start : region.stop].float(), rtol=1e-3, atol=1e-5)


def _recorded(agents):
    """The gradients of every step to come, by agent."""
    gradients = [[] for _ in agents]
    for agent, kept in zip(agents, gradients, strict=True):

        def step(loss, adjust=None, only=None, learner=agent.learner, kept=kept, plain=agent.learner.step):
            def note(buffer):
                kept.append(buffer.grads.clone())

            return plain(loss, note, only)

        agent.learner.step = step
    return gradients


@given(
    mixing=st.floats(-0.95, 0.95),
    share=st.floats(0.05, 1.0),
    momentum=st.floats(0.1, 0.95),
    steps=st.integers(1, 8),
)
@settings(max_examples=12, deadline=None)
def test_a_difference_between_agents_dies_away_under_any_mixing(mixing, share, momentum, steps):
    """A mode of the mixing matrix by itself, with gradients of zero: x ← λ (x − η Σ m) round by round."""
    options = Training.model_validate({"quasi_global": share, "momentum": momentum, "weight_decay": 0}).stepping
    x = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimiser = options.make([{"params": [x], "component": "x"}], 0.1)
    largest = 0.0
    for _ in range(300):
        began = x.detach().clone()
        for _step in range(steps):
            x.grad = torch.zeros_like(x)
            optimiser.step()
        with torch.no_grad():
            x.mul_(mixing)
        options.after_round(optimiser, {"x": began - x.detach()}, {"x": 0.1 * steps})
        largest = max(largest, abs(x.item()))
    assert abs(x.item()) < 1e-3 and largest < 20


def test_a_hypercube_agrees_where_momentum_of_the_last_round_alone_would_not():
    """Its mixing matrix has λ = −0.6: there differences that change sign would grow by half in every round."""
    assert np.linalg.eigvalsh(metropolis(nx.hypercube_graph(4)))[0] == pytest.approx(-0.6)
    train = {"quasi_global": 1.0, "weight_decay": 0.0}
    made = plan({"audio": 16}, graph="hypercube", overlay="induced", rounds=40, train=train, **TINY)
    agents = scattered(under(made, script=_pushed).agent_states())
    before = parameters(agents).std(0).max()
    simulate(agents, 40)
    assert parameters(agents).std(0).max() < 1e-3 * before


def _pushed(local: Local, options):
    """One step with a gradient of zero, and the exchange."""
    zero = local.learner.buffer.values.new_zeros((), requires_grad=True)
    local.learner.step(lambda: zero * 0)
    yield from exchange_slices(local, options)
    return {}


@pytest.mark.parametrize("exchange", ["synchronous", "asynchronous", "push-sum", "acknowledged"])
def test_a_run_that_goes_on_from_its_states_ends_as_one_that_was_never_stopped(exchange):
    changes = {"train": {"quasi_global": 0.8}, "options": {"exchange": exchange}}
    whole, _ = finished(plan(**changes))
    first, _ = finished(plan(**changes), rounds=2)
    second = plan(**changes).agent_states()
    for agent in second:
        agent.restore(first[agent.me].state())
    simulate(second, 4, start=2)
    assert differing(whole, {a.me: a for a in second}) == []
    assert differing(whole, finished(plan(train={"quasi_global": 0}, options={"exchange": exchange}))[0]) != []


def test_what_rests_in_a_round_keeps_its_momentum():
    made = learner(train={"quasi_global": 1.0})
    name = next(iter(made.buffer.leaves))
    loss = lambda: sum((p**2).sum() for p in made.model.parameters())  # noqa: E731
    made.look_ahead()
    made.step(loss)
    made.look_back()
    before = made.state()
    made.look_ahead()
    made.step(loss, only=lambda component: component != name)
    made.buffer.values.add_(1.0)
    made.look_back()
    after = made.state()
    for key in ("state/momentum_buffer", "state/moved", "number/rates"):
        assert torch.equal(before[f"optimiser/{key}/{name}"], after[f"optimiser/{key}/{name}"])
    other = list(made.buffer.leaves)[1]
    assert not torch.equal(before[f"optimiser/state/moved/{other}"], after[f"optimiser/state/moved/{other}"])


def test_what_steps_for_another_objective_moved_is_not_the_slope_of_the_task():
    """By hand, without momentum of other steps: θ goes 1, .9, .45, .36 and .45 of that is the other objective's."""
    made = learner(train={"quasi_global": 1.0, "momentum": 1e-9, "weight_decay": 0.0, "lr": 0.1, "clip": 1e9})
    names = list(made.buffer.leaves)
    square = lambda: sum((p**2).sum() for p in made.model.parameters()) / 2  # noqa: E731
    made.buffer.values.data.fill_(1.0)
    made.look_ahead()
    made.step(square)
    made.step(square, only=lambda component: component == names[0], objective=Objective("other", 5.0, momentum=False))
    made.step(square)
    made.look_back()
    kept = made.state()
    for name, moved in ((names[0], 0.1 + 0.045), (names[1], 0.1 + 0.09)):
        torch.testing.assert_close(
            kept[f"optimiser/state/moved/{name}"], torch.full((made.buffer.regions[name].size,), moved)
        )
        assert kept[f"optimiser/number/rates/{name}"].item() == pytest.approx(0.2)


def test_each_component_is_measured_by_its_own_learning_rate():
    """As Harmony slows encoders down: with q = 1 and one step alone the momentum is the step over its own rate."""
    made = learner(train={"quasi_global": 1.0, "weight_decay": 0.0, "batch": 10**6})
    slow = next(iter(made.buffer.leaves))
    before = made.buffer.values.clone()
    made.look_ahead()
    made.train(lambda network, batch, outputs: outputs.logits().square().mean(),
               scale=lambda name: 0.01 if name == slow else 1.0)  # fmt: skip
    made.look_back()
    for name, region in made.buffer.regions.items():
        moved = (before - made.buffer.values)[region.start : region.stop]
        kept = made.state()[f"optimiser/state/momentum_buffer/{name}"]
        torch.testing.assert_close(kept, moved / (0.0005 if name == slow else 0.05), rtol=1e-4, atol=1e-6)


def test_slices_that_were_just_gained_do_not_count_as_moved():
    """An agent that joins takes its slices from others before its first round: nothing moved it there."""
    events = [{"round": 2, "agent": "a1", "gain": ["motion"]}]
    made = plan(
        {"audio": 2, "motion": 3, "audio+motion": 2}, events=events, model={"init": "own"}, train={"quasi_global": 1.0}
    )
    states = made.agent_states()
    gained = next(a for a in states if a.me == "a1")
    simulate(states, 3)
    for name, tensor in gained.state().items():
        if "moved" in name and "motion" in name:
            assert float(tensor.abs().max()) < 0.2


def test_a_client_that_is_not_chosen_forgets_how_an_old_round_moved_it():
    """Two rounds make a path only where they follow each other; its momentum waits with it."""
    made = plan({"audio": 3}, method="fedavg", options={"clients": 1}, rounds=6)
    agents = [agent for agent in made.agent_states() if agent.me != "hub"]
    hub = next(agent for agent in made.agent_states() if agent.me == "hub")
    chosen = [fedavg_selected(made, round)[0] for round in range(6)]
    simulate([*agents, hub], 6)
    for agent in agents:
        kept = {name.split("/")[2] for name in agent.state() if name.startswith("optimiser/")}
        assert ("moved" in kept) == ("rates" in kept) == (agent.me == chosen[-1])
        assert ("momentum_buffer" in kept) == (agent.me in chosen)


def fedavg_selected(made, round):
    draw = torch.randperm(3, generator=seeded(0, "clients", round))
    return [sorted(agent for agent in made.peers)[i] for i in draw[:1].tolist()]


def test_by_default_most_of_the_momentum_is_quasi_global_where_there_is_any():
    assert Training().read(Momentum).quasi_global == 0.8
    assert Training.model_validate({"momentum": 0.5}).read(Momentum).quasi_global == 0.8
    plain = Training.model_validate({"momentum": 0})
    assert plain.read(Momentum).quasi_global == 0 and not plain.stepping.looks_back
    assert Training.model_validate(plain.model_dump()) == plain
    for optimiser in ("adam", "adamw", "torch.optim.RMSprop"):
        assert not Training(optimiser=optimiser).stepping.looks_back


def test_it_needs_momentum_and_is_a_share():
    with pytest.raises(ValidationError, match="no momentum that it could be a share of"):
        Training.model_validate({"momentum": 0, "quasi_global": 0.5})
    with pytest.raises(ValidationError):
        Training.model_validate({"quasi_global": 1.5})
