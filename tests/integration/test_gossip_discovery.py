"""Agents in processes that know where one of them listens, and find all others from there."""

import os
import signal

import plans
import ports
import pytest
import running

from parse_p2p.transports import curve

CLOCKS = {"heartbeat": 0.2, "lost": 10}
EVENTS = [{"round": 1, "agent": "a3", "join": True}, {"round": 2, "agent": "a0", "gain": ["motion"]}]


def by(contact, port):
    return {"kind": "gossip", "contacts": {contact: f"tcp://127.0.0.1:{port}"}}


def test_eight_find_each_other_from_one_and_end_as_the_simulator_does(tmp_path):
    """Over encrypted links, one of them later than the others, and one with a modality more in the end."""
    keyring = {"security": "curve", "keyring": str(tmp_path / "keys")}
    mix = {"audio": 3, "motion": 3, "audio+motion": 2}
    plan = plans.plan(mix, rounds=3, events=EVENTS, discovery=by("a0", ports.free(2)), **keyring)
    curve.make(tmp_path / "keys", plan.specs)
    assert running.differing(running.over_processes(plan, tmp_path), running.simulated(plan)) == []


def test_a_contact_that_is_no_neighbour_is_enough(tmp_path):
    """On a line, beyond whose second agent all know the contact at its end and none has anything to do with it."""
    agents = [{"id": f"a{i}", "modalities": ["audio"]} for i in range(6)]
    agents[0]["address"] = f"tcp://127.0.0.1:{ports.free(2)}"
    plan = plans.plan(
        graph="line", agents=agents, rounds=2, overlay="induced", discovery={"kind": "gossip", "contacts": ["a0"]}
    )
    assert "a0" not in plan.neighbours("a2")
    assert running.differing(running.over_found(plan, tmp_path), running.simulated(plan)) == []
    assert not any(running.events(tmp_path, me, "refused") for me in plan.specs)


def test_without_its_contact_nobody_begins(tmp_path):
    port = ports.free(2)
    plan = running.plan(discovery=by("a0", port), clocks={"join": 1})
    code, printed = running.everything(running.write(plan, tmp_path), tmp_path / "run", "--id", "a1")
    assert code == 2, printed
    assert printed == (
        f"error: no contact of a1 answered within 1 s (a0 at tcp://127.0.0.1:{port}): start it, or correct "
        "discovery.contacts\n"
    )


def missed(out, me, who):
    """The rounds in which an agent lost another."""
    return [event["round"] for event in running.events(out, me, "lost") if event["peer"] == who]


@pytest.mark.parametrize("who", ["a1", "a0"], ids=["one of them", "the contact"])
def test_the_run_goes_on_without_one_and_finds_it_again(who, tmp_path):
    """The contact comes back where it was and knows nobody; the other comes back elsewhere."""
    discovery = by("a0", ports.free(2))
    plan, out = running.lengthy(2000, clocks=CLOCKS, discovery=discovery), tmp_path / "run"
    file = running.write(plan, tmp_path)
    with running.started(file, out, "--quiet", "--no-alone"):
        running.until_round(out, who, 1)
        os.kill(running.events(out, who, "start")[0]["pid"], signal.SIGKILL)
        for me in plan.neighbours(who):
            running.until(lambda me=me: missed(out, me, who))
            running.until_round(out, me, missed(out, me, who)[0] + 1)
        with running.started(file, out, "--id", who, "--resume"):
            running.until(lambda: len(running.events(out, who, "joined")) == 2)
            again = running.events(out, who, "joined")[1]["round"]
            running.until_round(out, who, again)
            for me in plan.neighbours(who):
                running.until_round(out, me, again)
    for me in plan.neighbours(who):
        rounds = running.events(out, me, "round")
        assert [event["round"] for event in rounds] == list(range(len(rounds))), "a round was lost"
        assert who in rounds[again]["sent"] and not all(who in event["sent"] for event in rounds)
