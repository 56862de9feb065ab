"""Agents in processes that share a folder, and know nothing else of each other's places."""

import os
import signal

import running
import worlds

from parse_p2p.transports import curve

RENDEZVOUS = {"kind": "rendezvous"}
EVENTS = [{"round": 1, "agent": "a3", "join": True}, {"round": 2, "agent": "a0", "gain": ["motion"]}]


def test_they_find_each_other_and_end_as_the_simulator_does(tmp_path):
    """Over encrypted links, in a folder beside the file, one of them later than the others."""
    keyring = {"security": "curve", "keyring": str(tmp_path / "keys")}
    world = running.world(events=EVENTS, discovery=RENDEZVOUS | {"folder": "meet"}, **keyring)
    curve.make(tmp_path / "keys", world.seats)
    assert running.differing(running.over_processes(world, tmp_path), running.simulated(world)) == []
    assert list((tmp_path / "meet").iterdir()) == [], "who left took its address away"
    assert not any(running.events(tmp_path / "run", me, "refused") for me in world.seats)


def test_one_that_is_killed_is_found_again_elsewhere(tmp_path):
    clocks = {"heartbeat": 0.2, "lost": 10}
    world, out = running.lengthy(2000, clocks=clocks, discovery=RENDEZVOUS), tmp_path / "run"
    file, left = running.write(world, tmp_path), out / "addresses" / "a1.json"
    with running.started(file, out, "--quiet", "--no-alone"):
        running.until_round(out, "a1", 1)
        os.kill(running.events(out, "a1", "start")[0]["pid"], signal.SIGKILL)
        before = left.read_text()
        with running.started(file, out, "--id", "a1", "--resume"):
            running.until(lambda: len(running.events(out, "a1", "joined")) == 2)
            again = running.events(out, "a1", "joined")[1]["round"]
            running.until_round(out, "a1", again)
            for me in world.neighbours("a1"):
                running.until_round(out, me, again)
            assert left.read_text() != before
    for me in world.neighbours("a1"):
        rounds = running.events(out, me, "round")
        assert [event["round"] for event in rounds] == list(range(len(rounds))), "a round was lost"
        assert "a1" in rounds[again]["sent"] and not all("a1" in event["sent"] for event in rounds)


def test_one_that_only_dials_takes_part(tmp_path):
    agents = [{"id": f"a{i}", "modalities": ["audio"], "dials": i == 1} for i in range(3)]
    world = worlds.world(graph="line", agents=agents, rounds=3, discovery=RENDEZVOUS)
    assert running.differing(running.over_found(world, tmp_path), running.simulated(world)) == []
    assert not any(running.events(tmp_path, me, "refused") for me in world.seats)
