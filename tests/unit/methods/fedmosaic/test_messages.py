"""What becomes of bad messages and of missing messages in a run of FedMosaic: nobody crashes and nobody is poisoned."""

from dataclasses import replace

import pytest
import torch
from mosaics import ROUNDS, SIZES, SMALL, exchanged, locals_of, mosaic
from plans import finished

from parse_p2p.core.errors import ConfigError, SpecMismatch
from parse_p2p.core.message import Message
from parse_p2p.core.types import Role
from parse_p2p.methods.base import Done, advance
from parse_p2p.methods.fedmosaic.fedmosaic import Options, uploaded
from parse_p2p.methods.fedmosaic.messages import first_shapes, from_coordinator, greeting
from parse_p2p.runtime.simulator import simulate


@pytest.fixture(scope="module")
def sent():
    return exchanged(mosaic())


def bad(message, name, tensor):
    return Message(dict(message.tensors) | {name: tensor}, message.meta)


@pytest.mark.parametrize("meta", [{}, {"ready": 1}, {"ready": "yes"}, {"ready": None}], ids=str)
def test_a_hello_that_does_not_say_what_it_has_is_refused(meta):
    greeting("a0", Message({}, {"ready": False}))
    with pytest.raises(SpecMismatch):
        greeting("a0", Message({}, meta))
    with pytest.raises(SpecMismatch):
        greeting("a0", Message({"x": torch.zeros(1)}, {"ready": True}))


def test_an_upload_must_be_exactly_what_a_network_of_that_size_sends(sent):
    messages, _ = sent
    hub = locals_of(mosaic())["hub"]
    check = uploaded(hub, Options())
    check("a0", Message())  # it has no backbone yet
    for me in SIZES:
        message = next(message for round, sender, _, message in messages if sender == me and message.tensors)
        check(me, message)
        for wrong in (
            Message({n: t for n, t in message.tensors.items() if n != "sketch"}),
            bad(message, "pq/0.in/P", torch.full((4, 4), 1e30)),
            bad(message, "sketch", torch.zeros(4, 16)),
            bad(message, "gate", torch.zeros(1)),
            bad(message, "pq/0.in/P", torch.full((4, 4), float("nan"))),
            bad(message, "pq/0.in/P", torch.zeros(4, 5)),
            bad(message, "pq/0.in/P", torch.zeros(4, 4, dtype=torch.int64)),
        ):
            with pytest.raises(SpecMismatch):
                check(me, wrong)
    with pytest.raises(SpecMismatch):
        check("a0", next(message for _, sender, _, message in messages if sender == "a2" and message.tensors))


def test_what_the_coordinator_sends_must_fit_and_what_one_begins_with_must_be_whole(sent):
    messages, agents = sent
    for me in SIZES:
        model = agents[me].learner.model
        check = from_coordinator(model, (8, 2))
        first, later = ([p for _, sender, peer, p in messages if sender == "hub" and peer == me])[:2]
        for fine in (first, later, Message()):
            check("hub", fine)
        some = next(iter(first.tensors))
        for wrong in (
            Message({n: t for n, t in first.tensors.items() if n != some}, first.meta),
            bad(later, some, first.tensors[some]),
            bad(later, "lora/9.in/A", torch.zeros(4, 8)),
            bad(later, "pq/0.in/Q", torch.full((4,), float("inf"))),
        ):
            with pytest.raises(SpecMismatch):
                check("hub", wrong)
        assert first_shapes(model, (8, 2)).keys() == first.tensors.keys()


def replaced(agents, me, script):
    """The same agents, one of them with another script."""
    for agent in agents:
        if agent.me == me:
            agent.method = replace(agent.method, scripts=dict.fromkeys(Role, script))
    return agents


def silent(local, options):
    return {}
    yield


def test_without_a_coordinator_clients_train_on_alone():
    agents = replaced(mosaic().agent_states(), "hub", silent)
    metrics = simulate(agents, ROUNDS)
    for agent in agents[:4]:
        assert "pivot" not in agent.memory
        assert agent.learner.buffer.values.isfinite().all() and metrics[agent.me]["loss"] > 0
        for adapter in agent.learner.model.slots.values():
            assert adapter.P.abs().max() > 0 and adapter.P_G.abs().max() > 0


def test_a_client_that_comes_late_is_given_what_it_begins_with():
    agents = {p.me: p for p in replaced(mosaic().agent_states(), "a2", silent)}
    simulate(list(agents.values()), 1)
    late = next(p for p in mosaic().agent_states() if p.me == "a2")
    simulate([*(p for p in agents.values() if p.me != "a2"), late], ROUNDS, start=1)
    assert late.memory["pivot"].tolist() == [8, 2]
    assert torch.equal(late.learner.model.head.weight, agents["a3"].learner.model.head.weight)
    assert "upload/a2/sketch" in agents["hub"].memory


def test_a_poisoned_upload_is_left_out_and_the_others_go_on():
    def poisonous(local, options):
        steps, inbox = METHOD_CLIENT(local, options), None
        while not isinstance(step := advance(steps, inbox), Done):
            send = step.send
            if step.topic == "update":
                send = {p: bad(message, "pq/0.in/P", torch.full((4, 4), float("nan"))) for p, message in send.items()}
            inbox = yield replace(step, send=send)
        return step.metrics

    METHOD_CLIENT = mosaic().method.scripts[Role.CLIENT]
    agents = {p.me: p for p in replaced(mosaic().agent_states(), "a1", poisonous)}
    metrics = simulate(list(agents.values()), ROUNDS)
    assert metrics["hub"]["updates"] == 3
    assert not any(name.startswith("upload/a1/") for name in agents["hub"].memory)
    assert all(agent.learner.buffer.values.isfinite().all() for agent in agents.values())


def test_too_few_updates_leave_the_coordinator_as_it_was():
    found, _ = finished(mosaic(options={"quorum": 5}))
    assert not any(name.startswith("upload/") for name in found["hub"].memory)


def test_agents_whose_slots_differ_are_refused_when_the_run_is_made():
    with pytest.raises(ConfigError, match=r"adapter\.pq"):
        mosaic([("audio", SMALL), ("audio", {"width": 8, "depth": 1})])
