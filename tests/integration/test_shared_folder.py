"""Agents in processes that share a folder, and know nothing else of each other's places."""

import os
import signal

import plans
import running

from parse_p2p.transports import curve

SHARED_FOLDER = {"kind": "shared-folder"}
EVENTS = [{"round": 1, "agent": "a3", "join": True}, {"round": 2, "agent": "a0", "gain": ["motion"]}]


def test_they_find_each_other_and_end_as_the_simulator_does(tmp_path):
    """Over encrypted links, in a folder beside the file, one of them later than the others."""
    keyring = {"security": "curve", "keyring": str(tmp_path / "keys")}
    plan = running.plan(events=EVENTS, discovery=SHARED_FOLDER | {"folder": "meet"}, **keyring)
    curve.make(tmp_path / "keys", plan.specs)
    assert running.differing(running.over_processes(plan, tmp_path), running.simulated(plan)) == []
    assert list((tmp_path / "meet").iterdir()) == [], "who left took its address away"
    assert not any(running.events(tmp_path / "run", me, "refused") for me in plan.specs)


def test_one_that_is_killed_is_found_again_at_its_new_address(tmp_path):
    clocks = {"heartbeat": 0.2, "lost": 10}
    plan, out = running.lengthy(2000, clocks=clocks, discovery=SHARED_FOLDER), tmp_path / "run"
    file, left = running.write(plan, tmp_path), out / "addresses" / "a1.json"
    with running.started(file, out, "--quiet", "--no-alone"):
        running.until_round(out, "a1", 1)
        os.kill(running.events(out, "a1", "start")[0]["pid"], signal.SIGKILL)
        before = left.read_text()
        running.until_left_out(plan, out, "a1")
        with running.started(file, out, "--id", "a1", "--resume"):
            running.until(lambda: len(running.events(out, "a1", "joined")) == 2)
            again = running.events(out, "a1", "joined")[1]["round"]
            running.until_round(out, "a1", again)
            for me in plan.neighbours("a1"):
                running.until_round(out, me, again)
            assert left.read_text() != before
    for me in plan.neighbours("a1"):
        rounds = running.events(out, me, "round")
        assert [event["round"] for event in rounds] == list(range(len(rounds))), "a round was lost"
        assert "a1" in rounds[again]["sent"] and not all("a1" in event["sent"] for event in rounds)


def test_a_dial_only_agent_takes_part(tmp_path):
    agents = [{"id": f"a{i}", "modalities": ["audio"], "dial_only": i == 1} for i in range(3)]
    plan = plans.plan(graph="line", agents=agents, rounds=3, discovery=SHARED_FOLDER)
    assert running.differing(running.over_found(plan, tmp_path), running.simulated(plan)) == []
    assert not any(running.events(tmp_path, me, "refused") for me in plan.specs)
