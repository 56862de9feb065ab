"""SCAFFOLD: rounds by hand with clients that stay away, what is counted, and what a lost update leaves."""

import pytest
import torch
from plans import dealt, differing, finished, plan

from parse_p2p.core.errors import SpecMismatch
from parse_p2p.core.message import Message
from parse_p2p.core.types import Role
from parse_p2p.learning.objective import slice_terms
from parse_p2p.methods import fedavg
from parse_p2p.methods.base import Local
from parse_p2p.methods.federated import scaffold
from parse_p2p.methods.federation import selected
from parse_p2p.runtime.simulator import simulate

RATE, STEPS = 0.1, 3
PLAIN = {"momentum": 0.0, "weight_decay": 0.0, "clip": 1e9, "batch": 1000, "lr": RATE, "epochs": STEPS,
         "schedule": "constant"}  # fmt: skip
CURVATURES, CENTRES = (0.5, 1.0, 4.0), (-2.0, 2.0, 1.0)
OPTIMUM = sum(a * b for a, b in zip(CURVATURES, CENTRES, strict=True)) / sum(CURVATURES)
TINY = {"data": {"samples": 120}, "model": {"latent": 6, "hidden": 4}, "encoder": {"width": 4}}


def bowls(monkeypatch):
    """Each client's loss is a/2 ‖x − b‖² with an a and b of its own."""
    terms = {}

    def train(local, options):
        which = int(local.me[1:])

        def bowl(network, batch, outputs):
            ways = [(p - CENTRES[which]).square().sum() for p in network.parameters()]
            return 0.5 * CURVATURES[which] * torch.stack(ways).sum()

        terms[local.me] = [bowl]
        monkeypatch.setattr(scaffold, "slice_terms", lambda options: [bowl])
        return plainly(local, options)

    plainly = scaffold.train
    monkeypatch.setattr(scaffold, "train", train)


def three(mix=None, rounds=60, **options):
    return plan(mix or {"audio": 3}, method="scaffold", rounds=rounds, options=options, train=PLAIN, **TINY)


def value(agent):
    values = agent.learner.buffer.values
    assert float(values.max() - values.min()) < 1e-4
    return float(values.double().mean())


@pytest.mark.parametrize("clients", [0, 2])
def test_rounds_by_hand(monkeypatch, clients):
    """All parameters of a client are alike, so that a round is arithmetic on a number; k of n take part or all do."""
    bowls(monkeypatch)
    w = three(clients=clients)
    agent_states = {p.me: p for p in w.agent_states()}
    for p in agent_states.values():
        p.learner.buffer.values.fill_(1.5)
    x, c = 1.5, 0.0
    mine, own = {me: 1.5 for me in w.peers}, dict.fromkeys(w.peers, 0.0)
    heard = dict.fromkeys(w.peers, 0.0)  # the c that each client was told last
    hub = agent_states["hub"]
    absent = set()
    for round in range(5):
        view = Local("hub", Role.COORDINATOR, round, w.run.rounds, hub.learner, hub.plan(round))
        chosen, following = (selected(view, w.options, r) for r in (round, round + 1))
        absent |= set(w.peers) - set(chosen)
        simulate(list(agent_states.values()), round + 1, start=round)
        ends = {}
        for i, me in enumerate(w.peers):
            if me not in chosen:
                continue
            y, gradients = mine[me], []
            for _ in range(STEPS):
                gradients.append(CURVATURES[i] * (y - CENTRES[i]))
                y -= RATE * (gradients[-1] + heard[me] - own[me])
            # option II, in the paper's own words
            option = own[me] - heard[me] + (mine[me] - y) / (STEPS * RATE)
            own[me] = sum(gradients) / STEPS
            assert option == pytest.approx(own[me], abs=1e-9)
            ends[me] = mine[me] = y
        x, c = sum(ends.values()) / len(ends), sum(own.values()) / len(own)
        for me in following:
            mine[me], heard[me] = x, c
        for me in w.peers:
            assert value(agent_states[me]) == pytest.approx(mine[me], abs=1e-4), (round, me)
    assert abs(c) > 0.05 and bool(absent) == bool(clients)


def test_it_ends_at_the_optimum_of_the_mean_where_fedavg_does_not(monkeypatch):
    bowls(monkeypatch)
    ours, _ = finished(three(rounds=30))
    for me in ("a0", "a1", "a2"):
        assert value(ours[me]) == pytest.approx(OPTIMUM, abs=1e-3)
    x = 0.0  # FedAvg on the same numbers
    for _ in range(100):
        ends = [b + (x - b) * (1 - RATE * a) ** STEPS for a, b in zip(CURVATURES, CENTRES, strict=True)]
        x = sum(ends) / 3
    assert abs(x - OPTIMUM) > 0.03


def test_only_the_holders_of_a_slice_count_for_its_control():
    w = plan({"audio": 2, "motion": 1}, method="scaffold")
    hub = w.agent_state("hub")
    local = Local("hub", hub.role, 0, 9, hub.learner, hub.plan(0))
    key = {k.component: k for k in local.plan.regions}
    for me, value in (("a0", 3.0), ("a1", 6.0)):
        for slice_key, region in local.plan.offers[me].items():
            local.memory[f"control/of/{me}/{slice_key}"] = torch.full((region.size,), value)
    assert [w.specs[me].modalities for me in w.peers] == [("audio",), ("motion",), ("audio",)]
    found = {
        name: scaffold.mean_control(local, key[name]) for name in ("trunk.audio", "trunk.motion", "head.redundant")
    }
    assert {name: t.unique().tolist() for name, t in found.items()} == {
        "trunk.audio": [1.5], "trunk.motion": [6.0], "head.redundant": [3.0],
    }  # fmt: skip
    assert found["trunk.audio"].shape == (local.plan.regions[key["trunk.audio"]].size,)


def test_the_first_round_is_fedavg_where_shares_are_equal():
    same = {"data": {"samples": 321}, "mix": {"audio+motion": 2}}
    assert len({len(rows) for rows in dealt(plan(**same)).shares.values()}) == 1
    ours, _ = finished(plan(method="scaffold", **same), rounds=1)
    theirs, _ = finished(plan(method="fedavg", **same), rounds=1)
    for me in theirs:
        assert torch.equal(ours[me].learner.buffer.values, theirs[me].learner.buffer.values)
    later = [finished(plan(method=m, **same), rounds=2)[0] for m in ("scaffold", "fedavg")]
    assert any("parameters" in line for line in differing(*later))


def test_clients_count_alike_whatever_their_samples():
    w = plan({"audio": 2}, method="scaffold")
    hub = w.agent_state("hub")
    local = Local("hub", hub.role, 0, 9, hub.learner, hub.plan(0), {})
    sizes = {str(key): r.size for key, r in w.agent_state("a0").plan(0).regions.items()}

    def message(x, control):
        slices = {name: torch.full((n,), x) for name, n in sizes.items()}
        return Message(slices | {f"control/{name}": torch.full((n,), control) for name, n in sizes.items()})

    scaffold.take(local, {"a0": message(1.0, 5.0), "a1": message(2.0, 7.0)})
    for key, region in local.plan.regions.items():
        if str(key) in sizes:
            assert local.learner.buffer.view(region).unique().tolist() == [1.5]
            assert scaffold.mean_control(local, key).unique().tolist() == [6.0]
    scaffold.take(local, {"a1": message(4.0, 1.0)})
    for key, region in local.plan.regions.items():
        if str(key) in sizes:
            assert local.learner.buffer.view(region).unique().tolist() == [4.0], "those who took part"
            assert scaffold.mean_control(local, key).unique().tolist() == [3.0], "all, as far as is known"


def test_before_there_are_controls_steps_are_those_on_the_losses_of_the_options():
    ends = []
    for options in (fedavg.Options(), fedavg.Options(branch=0.3, orthogonal=0.0, align=0.5)):
        for train in (scaffold.train, lambda local, options: local.learner.train(*slice_terms(options))):
            w = plan({"audio+motion": 2}, method="scaffold")
            agent = w.agent_state("a0")
            agent.learner.begin(0, 9)
            train(Local("a0", agent.role, 0, 9, agent.learner, agent.plan(0), {}), options)
            ends.append(agent.learner.buffer.values)
    assert torch.equal(ends[0], ends[1]) and torch.equal(ends[2], ends[3]) and not torch.equal(ends[0], ends[2])


def test_twice_the_bytes_of_fedavg_both_ways_and_nothing_for_those_who_stay_away():
    w, seen = plan(method="scaffold", options={"clients": 3}, rounds=3), []
    finished(w, watch=lambda round, metrics, ledger: seen.append((metrics, ledger)))
    for round, (metrics, ledger) in enumerate(seen):
        trained = {me for me in w.peers if "loss" in metrics[me]}
        payload = {me: w.overlays(0).plan(me).payload() for me in w.peers}
        up = {me: sum(ledger.get(me, {}).get("hub", {}).values()) for me in w.peers}
        assert up == {me: 2 * payload[me] * (me in trained) for me in w.peers}
        served = {me for me, sent in ledger["hub"].items() if sent}
        assert len(served) == (3 if round < 2 else len(w.peers))
        assert all(sum(ledger["hub"][me].values()) == 2 * payload[me] for me in served)


def test_models_and_controls_are_both_needed_and_finite():
    w = plan({"audio": 2}, method="scaffold")
    hub, a0 = w.agent_state("hub"), w.agent_state("a0")
    local = Local("hub", hub.role, 0, 9, hub.learner, hub.plan(0))
    theirs = Local("a0", a0.role, 0, 9, a0.learner, a0.plan(0))
    good = dict(scaffold.update(theirs).tensors)
    scaffold.checked(local)("a0", Message(good))
    scaffold.checked(theirs, whole=False)("hub", Message({}))
    name = next(name for name in good if name.startswith("control/"))
    for wrong in (
        {n: t for n, t in good.items() if n != name},
        good | {name: torch.full_like(good[name], float("inf"))},
        good | {name: good[name][:-1]},
        good | {"control/x": torch.zeros(1)},
    ):
        with pytest.raises(SpecMismatch):
            scaffold.checked(local)("a0", Message(wrong))
    for wrong in ({"control/x": torch.zeros(1)}, {name: good[name][:-1]}):
        with pytest.raises(SpecMismatch):
            scaffold.checked(theirs, whole=False)("hub", Message(wrong))


def test_momentum_sees_the_corrected_gradients():
    """One step with a buffer that is empty: the way is −η (g + c − c_i)."""
    ways = []
    for change in (0.0, 0.5):
        w = plan({"audio": 2}, method="scaffold", train=PLAIN | {"momentum": 0.9, "epochs": 1})
        agent = w.agent_state("a0")
        local = Local("a0", agent.role, 0, 9, agent.learner, agent.plan(0), {})
        agent.learner.begin(0, 9)
        for key, region in local.plan.regions.items():
            local.memory[f"control/mean/{key}"] = torch.full((region.size,), 2 * change)
            local.memory[f"control/own/{key}"] = torch.full((region.size,), change)
        before = agent.learner.buffer.values.clone()
        scaffold.train(local, fedavg.Options())
        ways.append(agent.learner.buffer.values - before)
        kept = [local.memory[f"control/own/{key}"] for key in local.plan.regions]
        assert max(float(t.abs().max()) for t in kept) < 5, "the gradients themselves, not the corrected ones"
    torch.testing.assert_close(ways[1] - ways[0], torch.full_like(ways[0], -RATE * 0.5), rtol=1e-3, atol=1e-5)
