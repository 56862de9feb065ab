"""FedOpt: rounds of every rule by hand, what its memory keeps, and where it is FedAvg."""

import math

import pytest
import torch
from plans import differing, finished, plan

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.message import Message
from parse_p2p.methods.base import Local
from parse_p2p.methods.federated.fedopt import Options, stepped
from parse_p2p.runtime.simulator import simulate

SERVERS = ["momentum", "adam", "yogi", "adagrad"]
B1, B2, TAU, ETA = 0.8, 0.7, 0.01, 0.5
HAND = {"beta1": B1, "beta2": B2, "tau": TAU, "server_lr": ETA}


def second(server, v, square):
    if server == "adagrad":
        return v + square
    if server == "adam":
        return B2 * v + (1 - B2) * square
    sign = (v > square) - (v < square)
    return v - (1 - B2) * square * sign


def by_hand(server, x, means):
    """The global value after rounds whose averages are these, of one number that begins at x; None: nobody sent it."""
    m, v = 0.0, TAU**2
    for mean in means:
        if mean is None:
            continue
        change = mean(x)
        if server == "momentum":
            m = B1 * m + change
            x += ETA * m
        else:
            m = B1 * m + (1 - B1) * change
            v = second(server, v, change**2)
            x += ETA * m / (math.sqrt(v) + TAU)
    return x


def coordinator(**options):
    w = plan({"audio": 2, "motion": 1}, method="fedopt", options=options)
    agent = w.agent_state("hub")
    return Local("hub", agent.role, 0, 9, agent.learner, agent.plan(0)), w


def sent(local, w, me, change, samples):
    """The update of a client all of whose parameters are the coordinator's and this much more."""
    hub = local.learner.cut(local.plan.regions)
    names = map(str, w.agent_state(me).plan(0).regions)
    return Message({name: hub[name] + change for name in names}, {"samples": samples})


@pytest.mark.parametrize("server", SERVERS)
def test_three_rounds_by_hand(server):
    """Two clients of 10 and 30 samples: Δ = (10 δ₀ + 30 δ₁) / 40. In the second round those that hear stay away."""
    local, w = coordinator(server=server, **HAND)
    start = local.learner.cut(local.plan.regions)
    rounds = [
        {"a0": (0.4, 10), "a2": (-0.2, 30), "a1": (0.3, 5)},
        {"a1": (-0.1, 5)},
        {"a0": (0.1, 10), "a2": (0.5, 30), "a1": (0.2, 5)},
    ]
    for updates in rounds:
        inbox = {me: sent(local, w, me, *update) for me, update in updates.items()}
        slices = stepped(local, inbox, w.options)
        for key, region in local.plan.regions.items():
            if str(key) in slices:
                local.learner.buffer.view(region).copy_(slices[str(key)])
    hearing = [lambda x: (10 * 0.4 - 30 * 0.2) / 40, None, lambda x: (10 * 0.1 + 30 * 0.5) / 40]
    seeing = [lambda x: 0.3, lambda x: -0.1, lambda x: 0.2]
    everyone = [lambda x: (10 * 0.4 - 30 * 0.2 + 5 * 0.3) / 45, lambda x: -0.1,
                lambda x: (10 * 0.1 + 30 * 0.5 + 5 * 0.2) / 45]  # fmt: skip
    want = {"trunk.audio": hearing, "trunk.motion": seeing, "head.redundant": everyone}
    end = local.learner.cut(local.plan.regions)
    for component, means in want.items():
        name = next(name for name in end if name.startswith(component + "@"))
        moved = (end[name] - start[name]).double()
        torch.testing.assert_close(moved, torch.full_like(moved, by_hand(server, 0.0, means)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("server", ["momentum", "yogi"])
def test_a_slice_that_the_coordinator_does_not_hold_begins_with_its_first_average(server):
    w = plan({"audio": 1, "audio+motion": 1}, method="fedopt", options={"server": server, "scope": "model", **HAND})
    agent = w.agent_state("hub")
    local = Local("hub", agent.role, 0, 9, agent.learner, agent.plan(0), {})
    client = w.agent_state("a0")
    names = set(map(str, client.plan(0).regions))
    assert names.isdisjoint(map(str, local.plan.regions))
    x = client.learner.cut(client.plan(0).regions)
    first = stepped(local, {"a0": Message(x, {"samples": 3})}, w.options)
    assert all(torch.equal(first[name], x[name]) for name in names) and local.memory == {}
    local.memory.update({f"global/{name}": tensor for name, tensor in first.items()})
    then = stepped(local, {"a0": Message({n: t + 0.25 for n, t in x.items()}, {"samples": 3})}, w.options)
    for name in names:
        moved = (then[name] - x[name]).double()
        want = by_hand(server, 0.0, [lambda x: 0.25])
        torch.testing.assert_close(moved, torch.full_like(moved, want), rtol=1e-4, atol=1e-5)


def test_without_momentum_at_rate_1_it_is_fedavg():
    ours, _ = finished(plan(method="fedopt", options={"beta1": 0.0}))
    theirs, _ = finished(plan(method="fedavg"))
    for me in theirs:
        torch.testing.assert_close(ours[me].learner.buffer.values, theirs[me].learner.buffer.values, rtol=0, atol=2e-6)


@pytest.mark.parametrize("server", SERVERS)
def test_a_run_resumes_with_the_moments_it_had(server):
    def made():
        return plan(method="fedopt", options={"server": server, "clients": 4})

    whole, _ = finished(made())
    half, _ = finished(made(), rounds=2)
    kinds = {name.split("/")[1] for name in half["hub"].memory if name.startswith("server/")}
    assert kinds == ({"m"} if server == "momentum" else {"m", "v"})
    second = made().agent_states()
    for agent in second:
        agent.restore(half[agent.me].state())
    simulate(second, 4, start=2)
    assert differing(whole, {agent.me: agent for agent in second}) == []


def test_every_rule_is_another():
    runs = [finished(plan(method="fedopt", options={"server": server}), rounds=2)[0] for server in SERVERS]
    for i, one in enumerate(runs):
        for other in runs[:i]:
            assert any("parameters" in line for line in differing(one, other))


def test_the_rate_is_the_rules_own_where_none_is_given():
    assert [Options(server=server, beta1=0.75).rate for server in SERVERS] == [0.25, 0.05, 0.05, 0.3]
    assert [Options(server=server, server_lr=0.3).rate for server in SERVERS] == [0.3] * 4


def test_these_are_the_defaults():
    own = {name: Options().model_dump()[name] for name in ("server", "server_lr", "beta1", "beta2", "tau")}
    assert own == {"server": "momentum", "server_lr": 0.0, "beta1": 0.5, "beta2": 0.99, "tau": 1e-3}


def test_a_start_of_their_own_is_refused():
    with pytest.raises(ConfigError, match=r"has model\.init own, and the method 'fedopt' measures from a start"):
        plan(method="fedopt", model={"init": "own"})
    plan(method="fedavg", model={"init": "own"})


@pytest.mark.parametrize("wrong", [{"server": "sgd"}, {"beta1": 1.0}, {"beta2": -0.1}, {"tau": 0.0}, {"server_lr": -1}])
def test_what_no_rule_knows_is_refused(wrong):
    with pytest.raises(ConfigError, match=rf"options\.{next(iter(wrong))}"):
        plan(method="fedopt", options=wrong)
