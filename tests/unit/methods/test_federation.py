"""What the methods with a coordinator have in common: who is waited for, what counts, what is refused."""

import pytest
import torch
from mosaics import locals_of, mosaic
from plans import finished, plan

from parse_p2p.core.errors import SpecMismatch
from parse_p2p.core.message import Message
from parse_p2p.methods.base import Done, advance

METHODS = ["fedavg", "fedprox", "fedopt", "scaffold", "pmcmfl", "fedcmi", "fedafd", "creamfl", "fedmosaic"]
SMALL = {"data": {"samples": 160}}


def made(method, **options):
    if method == "fedmosaic":
        return mosaic(options={"pretraining": 1} | options, **SMALL)
    network = {"model": {"network": "prototyped"}} if method == "pmcmfl" else {}
    return plan({"audio": 1, "audio+motion": 2}, method=method, options=options, **SMALL, **network)


def unanswered(w, empty):
    """What the coordinator waits for in a first round in which nobody says more than hello, and its metrics.

    Where messages may be empty all send such ones; otherwise none come.
    """
    local = locals_of(w)["hub"]
    local.learner.begin(0, w.run.rounds)
    script, inbox, seen = w.method.scripts[local.role](local, w.options), None, []
    while not isinstance(step := advance(script, inbox), Done):
        seen.append(step)
        meta = {"ready": True} if step.topic == "hello" else {}
        inbox = {peer: Message({}, meta) for peer in step.expect if empty}
    return [step for step in seen if step.expect], step.metrics


@pytest.mark.parametrize("method", METHODS)
def test_a_coordinator_waits_as_long_as_the_deadline_says_and_counts_what_came(method):
    for deadline, want in ((0.0, None), (7.5, 7.5)):
        waits, metrics = unanswered(made(method, deadline=deadline), empty=method in ("fedafd", "creamfl", "fedmosaic"))
        assert {step.topic for step in waits} & {"update", "local"} and {step.deadline for step in waits} == {want}
        assert metrics["uploads" if method in ("fedafd", "creamfl") else "updates"] == 0


@pytest.mark.parametrize("method", METHODS)
def test_a_client_refuses_what_is_none_of_its_own_from_the_coordinator(method):
    w = made(method)
    local = locals_of(w)["a0"]
    local.learner.begin(0, w.run.rounds)
    script, inbox, asked = w.method.scripts[local.role](local, w.options), None, 0
    while not isinstance(step := advance(script, inbox), Done):
        inbox = {}
        if step.expect == {"hub"}:
            asked += 1
            step.check("hub", Message({}))
            with pytest.raises(SpecMismatch):
                step.check("hub", Message({"another": torch.zeros(3)}))
    assert asked == 1


AVERAGING = [method for method in METHODS if method not in ("fedafd", "creamfl")]


@pytest.mark.parametrize("method", AVERAGING)
def test_as_many_updates_as_the_quorum_are_enough_and_fewer_are_not(method):
    count = len(made(method).peers)
    for quorum, enough in ((count, True), (count + 1, False)):
        hub = finished(made(method, quorum=quorum), rounds=1)[0]["hub"].learner
        start = made(method).agent_state("hub").learner.buffer.values
        assert torch.equal(hub.buffer.values, start) != enough


@pytest.mark.parametrize("method", [method for method in AVERAGING if method != "fedmosaic"])
def test_the_average_goes_to_the_clients_of_the_next_round_and_at_last_to_all(method):
    w, seen = made(method, clients=1), []
    finished(w, rounds=w.run.rounds, watch=lambda round, metrics, ledger: seen.append((metrics, ledger["hub"])))
    trained = [{me for me in w.peers if "loss" in metrics[me]} for metrics, _ in seen]
    served = [{me for me, sent in given.items() if sent} for _, given in seen]
    assert served == [*trained[1:], set(w.peers)] and len(set(map(frozenset, trained))) > 1
