"""CreamFL: representations cross both ways and nothing else does; contrasts draw the encoders."""

import pytest
import torch
from plans import finished, plan

from parse_p2p.core.errors import SpecMismatch
from parse_p2p.core.message import Message
from parse_p2p.methods.base import Local
from parse_p2p.methods.public_data import base
from parse_p2p.methods.public_data.base import PublicKnowledge, digest, fitting, represent
from parse_p2p.methods.public_data.creamfl import WAY, Options, contrast
from parse_p2p.methods.public_data.ensemble import inter, intra, teachers, weights
from parse_p2p.runtime.simulator import simulate

ROUNDS = 3
MIXED = {"audio": 1, "motion": 1, "audio+motion": 2}
LEARNT = ("trunk", "rows.joint", "head.unimodal", "head.joint")


def made(mix=None, **changes):
    return plan(mix or MIXED, **{"method": "creamfl", "rounds": ROUNDS} | changes)


def scene(wanted):
    w = made()
    hub = w.agent_state("hub").learner
    agent = w.agent_state(next(me for me in w.peers if "+".join(w.specs[me].modalities) == wanted))
    agent.learner.begin(0, ROUNDS)
    at = Local(agent.me, agent.role, 0, ROUNDS, agent.learner, agent.plan(0), agent.memory)
    inputs = hub.data.inputs
    mine = {m: inputs[m] for m in agent.learner.holder.modalities}
    return at, PublicKnowledge(digest(inputs), mine, represent(hub, inputs))


def parts(learner, *names):
    regions = learner.buffer.regions.items()
    return {name: learner.buffer.view(r).clone() for name, r in regions if r.component.part in names}


def same(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("wanted", ["audio", "audio+motion"])
def test_A1_the_contrast_moves_the_encoders_and_nothing_else(wanted):
    at, knowledge = scene(wanted)
    before = [parts(at.learner, *group) for group in (LEARNT[:2], (*LEARNT[2:], "gate", "discriminator"))]
    contrast(at, Options(), knowledge, represent(at.learner, knowledge.inputs), 0)
    after = [parts(at.learner, *group) for group in (LEARNT[:2], (*LEARNT[2:], "gate", "discriminator"))]
    assert not any(torch.equal(before[0][name], after[0][name]) for name in before[0])
    assert same(before[1], after[1])


def test_the_contrast_is_the_sum_of_both_kinds():
    at, knowledge = scene("audio")
    count = len(knowledge)
    before = represent(at.learner, knowledge.inputs)
    u, rows = before["audio"], torch.arange(count)
    want = intra(u, knowledge.rows["audio"], u, 0.5) + inter(u, knowledge.rows["motion"], rows, 0.5)
    found = contrast(at, Options(public_batch=count), knowledge, before, 0)
    assert len(found) == 1
    torch.testing.assert_close(found[0], want)


def test_encoders_learn_from_contrasts_as_from_all_else_in_training_mode():
    model = {"latent": 12, "hidden": 8, "encoder": {"kind": "own_modules:Normed"}}
    w = made(encoder=None, model=model)
    agent, hub = w.agent_state("a0").learner, w.agent_state("hub").learner
    agent.begin(0, ROUNDS)
    at = Local("a0", w.agent_state("a0").role, 0, ROUNDS, agent, w.agent_state("a0").plan(0), {})
    inputs = {m: hub.data.inputs[m] for m in agent.holder.modalities}
    knowledge = PublicKnowledge("x", inputs, represent(hub, hub.data.inputs))
    before, norm = represent(agent, inputs), base.network(agent).trunk_of("audio").module[1]
    taken = int(norm.num_batches_tracked)
    losses = contrast(at, Options(public_batch=16), knowledge, before, 0)
    assert len(losses) > 1 and int(norm.num_batches_tracked) == taken + len(losses)


def test_A5_without_contrast_a_client_is_one_that_learns_alone():
    changes = {"public": {"share": 0.2}, "train": {"batch": 16, "epochs": 2}}
    alone, _ = finished(made(method="local", model={"network": "embedding"}, **changes))
    clients, _ = finished(made(options={"beta": 0.0}, **changes))
    drawn, _ = finished(made(**changes))
    for me in alone:
        assert same(parts(alone[me].learner, *LEARNT), parts(clients[me].learner, *LEARNT))
        assert not same(parts(alone[me].learner, *LEARNT), parts(drawn[me].learner, *LEARNT))


def test_A7_uploads_are_scored_against_the_opposite_modality():
    at, knowledge = scene("audio")
    other, _ = scene("motion")
    g = knowledge.rows
    assert {m: a is g[o] for (m, a), o in zip(WAY.anchors(g).items(), ("motion", "audio"), strict=True)} == {
        "audio": True, "motion": True}  # fmt: skip
    u = {"a": represent(at.learner, knowledge.inputs), "b": {"audio": g["audio"]}}
    found = weights([u["a"]["audio"], u["b"]["audio"]], g["motion"])
    want = (found[:, :, None] * torch.stack([u["a"]["audio"], u["b"]["audio"]])).sum(0)
    torch.testing.assert_close(teachers(u, WAY.anchors(g))["audio"], want)
    assert other.me != at.me


def test_A12_bytes_are_those_of_representations_alone():
    ledgers = []
    w = made()
    agent_states, _ = finished(w, watch=lambda round, metrics, ledger: ledgers.append(ledger))
    hub = agent_states["hub"].learner
    rows = 4 * hub.samples * 12
    for round, ledger in enumerate(ledgers):
        for me in w.peers:
            mine = w.specs[me].modalities
            public = sum(4 * hub.data.inputs[m].numel() for m in mine) if round == 0 else 0
            assert sum(ledger["hub"][me].values()) == 2 * rows + public
            assert sum(ledger[me]["hub"].values()) == rows * len(mine)
            assert {name.split(".")[0] for name in ledger["hub"][me]} <= {"repr", "public"}


def test_A6_an_encoder_is_refused_where_none_is_sent():
    at, knowledge = scene("audio")
    tensors = {f"repr.{m}": g for m, g in knowledge.rows.items()}
    check = fitting(at, WAY)
    check("hub", Message(tensors, {"items": knowledge.items}))
    with pytest.raises(SpecMismatch):
        check("hub", Message(tensors | {"encoder.audio": torch.zeros(3)}, {"items": knowledge.items}))
    with pytest.raises(SpecMismatch):
        check("hub", Message(tensors))


def test_no_encoder_of_the_coordinator_is_ever_present():
    agent_states, _ = finished(made())
    assert not any(base.network(p.learner).present for p in agent_states.values())


def test_A10_without_distillation_the_coordinator_is_one_that_only_has_its_public_set():
    served, _ = finished(made(options={"gamma": 0.0}))
    quiet = [made().agent_state("hub")]
    simulate(quiet, ROUNDS)
    taught, _ = finished(made())
    assert torch.equal(served["hub"].learner.buffer.values, quiet[0].learner.buffer.values)
    assert not torch.equal(taught["hub"].learner.buffer.values, quiet[0].learner.buffer.values)


def test_a_resumed_run_is_the_one_that_was_not_interrupted():
    whole, _ = finished(made())
    kept = {me: p.state() for me, p in finished(made(), 1)[0].items()}
    again = made().agent_states()
    for agent in again:
        agent.restore(kept[agent.me])
    simulate(again, ROUNDS, start=1)
    assert all(same(agent.state(), whole[agent.me].state()) for agent in again)


def test_a_run_with_one_modality_takes_itself_for_the_other():
    _, metrics = finished(made({"audio": 2}))
    assert metrics["hub"]["uploads"] == 2
    assert metrics["a0"]["contrast"] > 0
