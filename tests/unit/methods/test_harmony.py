"""Harmony's two stages: what is exchanged in each, and whom the drift of the encoders makes alike."""

import math
from dataclasses import replace
from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plans import differing, finished, plan
from torch.nn.functional import cross_entropy

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.message import Message
from parse_p2p.core.types import PeerId, Role
from parse_p2p.learning import losses
from parse_p2p.methods.base import Exchange, Local
from parse_p2p.methods.harmony import (
    METHOD,
    Options,
    common_scale,
    drift,
    first_stage,
    likeness,
    mix_alike,
    peer,
    remember_encoders,
    remember_scale,
    with_drift,
)
from parse_p2p.runtime.simulator import simulate

ROUNDS = 4


def made(network="fission", **options):
    return plan(method="harmony", model={"network": network}, rounds=ROUNDS, options=options)


def traffic(w):
    """Per round, sender and receiver the names of the slices that crossed."""
    rounds = []
    finished(w, watch=lambda round, metrics, ledger: rounds.append(ledger))
    return [{(a, b): set(sent) for a, links in ledger.items() for b, sent in links.items()} for ledger in rounds]


def kind(w, me):
    return "+".join(w.specs[me].modalities)


def local(w, round, memory=None):
    agent = next(p for p in w.agent_states() if kind(w, p.me) == "audio+motion")
    agent.learner.begin(round, ROUNDS)
    return Local(agent.me, agent.role, round, ROUNDS, agent.learner, agent.plan(round), memory or {})


def test_the_stages_part_the_rounds_by_the_switch():
    assert [first_stage(Options(), round, 4) for round in range(4)] == [True, True, False, False]
    assert [first_stage(Options(switch=0.5), round, 3) for round in range(3)] == [True, True, False]
    assert not any(first_stage(Options(switch=0), round, 4) for round in range(4))
    assert all(first_stage(Options(switch=1), round, 4) for round in range(4))


@pytest.mark.parametrize("network", METHOD.networks)
def test_in_the_first_stage_holders_of_a_modality_exchange_its_classifier(network):
    w = made(network)
    head = "head.unique" if network == "fission" else "head.unimodal"
    for links in traffic(w)[:2]:
        crossed = set().union(*links.values())
        for m in ("audio", "motion"):
            assert {f"trunk.{m}@{m}", f"{head}.{m}@{m}"} <= crossed
        assert not any(s.startswith(("rows.synergistic", "head.synergistic", "head.joint")) for s in crossed)
        for (a, b), slices in links.items():
            shared = set(w.specs[a].modalities) & set(w.specs[b].modalities)
            assert {s.split("@")[1] for s in slices} <= shared | {f"type:{kind(w, a)}"}
        assert any(len({kind(w, a), kind(w, b)}) == 2 for a, b in links)  # one modality and several meet


@pytest.mark.parametrize("network", METHOD.networks)
def test_in_the_second_stage_multimodal_agents_exchange_the_fusion_alone(network):
    w = made(network)
    fusion = ("rows.synergistic.", "head.synergistic@", "head.joint@")
    for links in traffic(w)[2:]:
        assert any(kind(w, a) == "audio+motion" for a, _ in links)
        for (a, b), slices in links.items():
            assert kind(w, a) == kind(w, b)
            assert all(s.startswith(fusion) == (kind(w, a) == "audio+motion") for s in slices)


@pytest.mark.parametrize("network", METHOD.networks)
def test_the_first_stage_trains_each_modality_by_itself(network):
    w = made(network)
    agent = local(w, 0).learner
    batch = agent.data.batch(range(20))
    outputs = agent.model(batch.inputs)
    want = 0.0
    for m in ("audio", "motion"):
        said = [v for name, v in outputs.views.items() if name.endswith(f".{m}")]
        assert len(said) == (2 if network == "fission" else 1)
        want += cross_entropy(sum(said), batch.targets).item()
    loss = losses.unimodal(agent.model, batch, outputs)
    assert loss.item() == pytest.approx(want, rel=1e-5)
    agent.buffer.grads.zero_()
    loss.backward()
    for region in agent.buffer.regions.values():
        fused = region.component.part in ("rows.synergistic", "head.synergistic", "head.joint")
        assert bool(agent.buffer.grads[region.start : region.stop].any()) != fused


def test_drift_is_nothing_when_the_second_stage_begins_and_something_after_a_step():
    at = local(made(), 2)
    remember_encoders(at)
    assert drift(at) == pytest.approx([0, 0], abs=1e-6)
    before = at.memory["encoders"].clone()
    next(peer(at, Options(encoder_rate=1.0)))
    assert all(d > 1e-6 for d in drift(at))
    remember_encoders(at)
    assert torch.equal(at.memory["encoders"], before)  # remembered once, not in every round


def test_drift_is_the_cosine_distance_of_each_trunk():
    at = local(made(), 2)
    remember_encoders(at)
    buffer = at.learner.buffer
    buffer.view(buffer.regions["trunk.audio"]).mul_(-3.0)
    buffer.view(buffer.regions["rows.unique.motion"]).zero_()
    assert drift(at) == pytest.approx([2, 0], abs=1e-5)


def test_encoders_rest_in_the_second_stage_at_rate_zero():
    at = local(made(), 2)
    buffer = at.learner.buffer
    before = buffer.values.clone()
    next(peer(at, Options(encoder_rate=0.0)))
    for region in buffer.regions.values():
        fused = region.component.part in ("rows.synergistic", "head.synergistic")
        stretch = slice(region.start, region.stop)
        assert torch.equal(buffer.values[stretch], before[stretch]) != fused, region.component.name


def test_the_memory_of_the_encoders_is_that_of_the_round_of_the_switch():
    first, _ = finished(made(), rounds=2)
    whole, _ = finished(made())
    for me, agent in whole.items():
        if len(agent.learner.holder.modalities) == 1:
            assert agent.memory == {}
        else:
            assert torch.equal(agent.memory["encoders"], first[me].learner.buffer.values)


drifts = st.lists(st.floats(0, 2), min_size=2, max_size=2)


@given(one=drifts, other=drifts, sigma=st.floats(1e-3, 10))
def test_likeness_is_symmetric_and_at_most_one(one, other, sigma):
    found = likeness(one, other, sigma)
    assert found == likeness(other, one, sigma)
    assert 0 <= found <= 1
    assert likeness(one, one, sigma) == 1
    exact = math.exp(-sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) / sigma**2)
    assert found == pytest.approx(exact, rel=1e-9, abs=1e-300)


def test_a_drift_that_cannot_be_compared_is_alike_to_none():
    no_drifts = ([0.1, math.nan], [0.1, math.inf], [0.1, -1e308])
    for wrong in (None, "0.1", [0.1], [0.1, "0.2"], [0.1, 0.2, 0.3], *no_drifts):
        assert likeness([0.1, 0.2], wrong, 1.0) == 0
        assert likeness([0.1, 0.2], wrong, 0.0) == 1


def test_a_scale_whose_square_is_nothing_tells_drifts_apart():
    assert likeness([0.1, 0.2], [0.1, 0.2], 1e-200) == 1
    assert likeness([0.1, 0.2], [0.1, 0.3], 1e-200) == 0


def realised(w, sigma, drifts):
    """The matrix with which the multimodal agents mix one slice, read off a round in which each holds a one."""
    overlays = w.overlays(ROUNDS - 1)
    key = next(k for k in overlays.keys if k.component == "head.synergistic")
    agents = [p for p in w.agent_states() if p.me in overlays.holders(key)]
    exchange_plans = {p.me: overlays.plan(p.me) for p in agents}
    region = {p.me: exchange_plans[p.me].regions[key] for p in agents}
    for i, p in enumerate(agents):
        p.learner.buffer.values.zero_()
        p.learner.buffer.view(region[p.me])[i] = 1.0
    sent = {
        p.me: Message(p.learner.cut(exchange_plans[p.me].regions), {"drift": d})
        for p, d in zip(agents, drifts, strict=True)
    }
    rows = []
    for p, mine in zip(agents, drifts, strict=True):
        at = Local(p.me, p.role, ROUNDS - 1, ROUNDS, p.learner, exchange_plans[p.me])
        inbox = {peer: sent[peer] for peer in exchange_plans[p.me].links}
        mix_alike(at, inbox, mine, dict.fromkeys(inbox, sigma))
        rows.append(p.learner.buffer.view(region[p.me])[: len(agents)].clone())
    return torch.stack(rows)


def test_mixing_weights_fall_with_the_distance_of_the_drifts_and_the_rest_stays_at_home():
    w = plan({"audio+motion": 4}, graph="complete", method="harmony", rounds=ROUNDS)
    near = [0.0, 0.0, 0.1, 0.9]
    alike = realised(w, 0.0, [[d, 0.0] for d in near])
    torch.testing.assert_close(alike, torch.full((4, 4), 0.25))
    found = realised(w, 0.3, [[d, 0.0] for d in near])
    for i, j in combinations(range(4), 2):
        want = 0.25 * math.exp(-((near[i] - near[j]) ** 2) / 0.09)
        assert found[i, j].item() == pytest.approx(want, rel=1e-4, abs=1e-7)
    torch.testing.assert_close(found, found.T)
    torch.testing.assert_close(found.sum(1), torch.ones(4))
    assert (found >= 0).all()


def test_the_drift_rides_with_the_slices_and_changes_nothing_else():
    plain = Exchange("slices", {"b": Message({"x": torch.ones(2)})}, frozenset({"b"}), 1)
    riding = with_drift(plain, [0.1, 0.2])
    assert (riding.topic, riding.expect, riding.quorum, riding.check) == ("slices", frozenset({"b"}), 1, plain.check)
    assert riding.send["b"].tensors is plain.send["b"].tensors
    assert riding.send["b"].meta == {"drift": [0.1, 0.2]}


# the scale that finds itself


def test_the_scale_of_an_agent_is_the_median_distance_of_what_came():
    at = local(made(), 2)
    drifts = {"a1": [0.3, 0.4], "a2": [0.0, 0.1], "a3": [0.0, 2.0], "a4": None, "a5": [0.0, math.nan]}
    drifts["a6"] = [0.0, 1e300]
    remember_scale(
        at, {PeerId(name): Message({}, {} if d is None else {"drift": d}) for name, d in drifts.items()}, [0.0, 0.0]
    )
    assert at.memory["scale"].item() == pytest.approx(0.5, rel=1e-12)
    remember_scale(at, {}, [0.0, 0.0])
    assert at.memory["scale"].item() == pytest.approx(0.5, rel=1e-12), "of nobody nothing is learnt"


@given(one=st.floats(0, 2), other=st.floats(0, 2))
def test_the_scale_of_a_pair_is_the_same_at_both_ends(one, other):
    found = common_scale(one, Message({}, {"scale": other}))
    assert found == common_scale(other, Message({}, {"scale": one}))
    assert found**2 == pytest.approx(one * other, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("wrong", [None, "0.1", -1.0, float("nan"), float("inf"), 1, True, [0.1]])
def test_a_scale_that_is_none_counts_as_none(wrong):
    assert common_scale(0.5, Message({}, {"scale": wrong})) == 0


def test_auto_mixes_by_the_scales_of_the_round_before():
    """Three agents whose drifts are given: in the first round all count alike, then by exp(−d² / σ_i σ_j)."""
    seen = {}

    def watched(local, options):
        script, answer = peer(local, options), None
        while True:
            try:
                exchange = script.send(answer)
            except StopIteration as stop:
                return stop.value
            answer = yield exchange
            met = {**{p: m.meta for p, m in answer.items()}, local.me: next(iter(exchange.send.values())).meta}
            seen[local.round, local.me] = met

    w = made_of_three(sigma="auto")
    w.method = replace(w.method, scripts={Role.PEER: watched})
    agent_states, _ = finished(w)
    assert all(meta["scale"] == 0.0 for meta in seen[1, "a0"].values())
    for round in (2, 3):
        for me in w.peers:
            before = {p: meta["drift"] for p, meta in seen[round - 1, me].items()}
            apart = sorted(math.dist(before[me], before[p]) for p in w.peers if p != me)
            assert seen[round, "a0"][me]["scale"] == pytest.approx(sum(apart) / 2, rel=1e-9)
    assert seen[3, "a0"]["a0"]["scale"] > 0
    first, auto = (finished(made_of_three(sigma=sigma), rounds=2)[0] for sigma in (0.0, "auto"))
    assert all(line.endswith(": memory/scale") for line in differing(first, auto))
    assert any(line.endswith(": parameters") for line in differing(finished(made_of_three())[0], agent_states))


def made_of_three(**options):
    return plan({"audio+motion": 3}, graph="complete", method="harmony", rounds=4, options={"switch": 0.25} | options)


def test_auto_keeps_the_sum_of_every_fusion():
    """Round by round: mixing with the scales of pairs is symmetric."""
    w = made_of_three(sigma="auto")
    agent_states = w.agent_states()
    simulate(agent_states, 3)
    waiting = {p.me: p.begin(3) for p in agent_states}
    asked = {me: next(script) for me, script in waiting.items()}
    key = next(k for k in w.overlays(3).keys if k.component == "head.synergistic")
    held = {p.me: p.learner.buffer.view(p.plan(3).regions[key]) for p in agent_states}
    before = {me: values.double().clone() for me, values in held.items()}
    for me, script in waiting.items():
        with pytest.raises(StopIteration):
            script.send({p: asked[p].send[me] for p in w.peers if p != me})
    after = {me: values.double() for me, values in held.items()}
    torch.testing.assert_close(sum(after.values()), sum(before.values()), rtol=0, atol=1e-5)
    # the matrix is that of the formula, not the plain average
    mean = sum(before.values()) / 3
    assert all((after[me] - mean).abs().max() > 1e-4 for me in w.peers)


def test_auto_resumes():
    whole, _ = finished(made_of_three(sigma="auto"))
    half, _ = finished(made_of_three(sigma="auto"), rounds=3)
    second = made_of_three(sigma="auto").agent_states()
    for agent in second:
        agent.restore(half[agent.me].state())
    simulate(second, 4, start=3)
    assert differing(whole, {agent.me: agent for agent in second}) == []


@pytest.mark.parametrize("wrong", [-1, "automatic", [1]])
def test_a_sigma_is_a_number_or_auto(wrong):
    with pytest.raises(ConfigError, match=r"options\.sigma"):
        plan(method="harmony", options={"sigma": wrong})
