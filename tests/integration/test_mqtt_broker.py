"""Agents in processes that know of each other's places through a broker alone."""

import json
import os
import signal

import brokers
import plans
import ports
import pytest
import running

from parse_p2p.transports import curve

CLOCKS = {"heartbeat": 0.2, "lost": 10}


@pytest.fixture
def broker(tmp_path):
    with brokers.running(tmp_path, ports.free(1)) as started:
        yield started


def by(broker):
    return {"kind": "mqtt", "broker": broker.url}


EVENTS = [{"round": 1, "agent": "a3", "join": True}, {"round": 2, "agent": "a0", "gain": ["motion"]}]


def test_they_find_each_other_and_end_as_the_simulator_does(broker, tmp_path):
    """Over encrypted links, one of them later than the others, and one with a modality more in the end."""
    keyring = {"security": "curve", "keyring": str(tmp_path / "keys")}
    plan = running.plan(events=EVENTS, discovery=by(broker), **keyring)
    curve.make(tmp_path / "keys", plan.specs)
    with brokers.Ear(broker.port, f"parse-p2p/{plan.run.digest()}/#") as ear:
        assert running.differing(running.over_processes(plan, tmp_path), running.simulated(plan)) == []
        logged = {me: [e["accuracy"] for e in running.events(tmp_path / "run", me, "round")] for me in plan.specs}
        said, gained, gone = {me: [] for me in plan.specs}, [], set()
        while len(gone) < len(plan.specs) or sum(map(len, said.values())) < sum(map(len, logged.values())):
            topic, payload, _ = ear.next()
            _, _, room, me = topic.split("/")
            if not payload:
                gone.add(me)
                continue
            announced = json.loads(payload)
            assert len(payload) < (500 if room == "telemetry" else 5000)
            if room == "agents":
                first = 1 if me == "a3" else 0
                offers = plan.laid(first).offers[me]
                assert announced["modalities"] == list(
                    plan.senses(me, first)
                )  # even where the broker lost it for a while
                assert announced["slices"] == {str(key): region.digest for key, region in offers.items()}
            elif announced["event"] == "round":
                said[me].append(announced["accuracy"])
            elif announced["event"] == "modalities-changed":
                gained.append((me, announced["round"], announced["modalities"]))
    assert said == logged
    assert gained == [("a0", 2, ["audio", "motion"])]


def test_a_dial_only_agent_takes_part(broker, tmp_path):
    agents = [{"id": f"a{i}", "modalities": ["audio"], "dial_only": i == 1} for i in range(3)]
    plan = plans.plan(graph="line", agents=agents, rounds=3, discovery=by(broker))
    assert running.differing(running.over_found(plan, tmp_path), running.simulated(plan)) == []


def test_the_run_goes_on_when_the_broker_dies(broker, tmp_path):
    rounds = 4
    plan, out = running.lengthy(rounds, discovery=by(broker)), tmp_path / "run"
    with running.started(running.write(plan, tmp_path), out, "--quiet", "--no-alone") as process:
        running.until(lambda: all(running.events(out, me, "joined") for me in plan.specs))
        broker.kill()
        code, printed = running.ended(process)
    assert code == 0, printed
    assert all(running.events(out, me, "broker-lost") for me in plan.specs), "it was killed too late to show anything"
    assert running.differing(running.saved(plan, out), running.simulated(running.lengthy(rounds))) == []


def test_without_a_broker_nobody_begins(tmp_path):
    broker = brokers.Broker(tmp_path, ports.free(1))
    plan = running.plan(discovery=by(broker), clocks={"join": 1})
    code, printed = running.everything(running.write(plan, tmp_path), tmp_path / "run", "--id", "a0")
    assert code == 2, printed
    assert printed.startswith(f"error: the broker {broker.url} did not take in a0 within 1 s (")
    assert printed.count("\n") == 1 and printed.endswith("start it, or correct discovery.broker\n")


def test_one_that_is_killed_is_marked_gone_and_found_again_at_its_new_address(broker, tmp_path):
    plan, out = running.lengthy(2000, clocks=CLOCKS, discovery=by(broker)), tmp_path / "run"
    file = running.write(plan, tmp_path)
    topic = f"parse-p2p/{plan.run.digest()}/agents/a1"
    with running.started(file, out, "--quiet", "--no-alone"), brokers.Ear(broker.port, topic) as ear:
        running.until_round(out, "a1", 1)
        os.kill(running.events(out, "a1", "start")[0]["pid"], signal.SIGKILL)
        _, before = ear.until(lambda _, said: said and said["gone"])
        running.until_left_out(plan, out, "a1")
        with running.started(file, out, "--id", "a1", "--resume"):
            _, after = ear.until(lambda _, said: said and not said["gone"])
            running.until(lambda: len(running.events(out, "a1", "joined")) == 2)
            again = running.events(out, "a1", "joined")[1]["round"]
            running.until_round(out, "a1", again)
            for me in plan.neighbours("a1"):
                running.until_round(out, me, again)
    assert after["data"] != before["data"] and after["incarnation"] != before["incarnation"]
    for me in plan.neighbours("a1"):
        rounds = running.events(out, me, "round")
        assert [event["round"] for event in rounds] == list(range(len(rounds))), "a round was lost"
        assert "a1" in rounds[again]["sent"] and not all("a1" in event["sent"] for event in rounds)
