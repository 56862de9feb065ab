"""Agents that come and go, and gain and lose modalities, on every ground: all end as in the simulator."""

import os
import signal

import pytest
import running

EVENTS = [
    {"round": 2, "agent": "a0", "gain": ["motion"]},
    {"round": 3, "agent": "a3", "join": True},
    {"round": 4, "agent": "a1", "leave": True},
    {"round": 5, "agent": "a0", "lose": ["audio"]},
]


def world(**changes):
    return running.world(**{"rounds": 7, "events": EVENTS} | changes)


@pytest.mark.parametrize("ground", [running.over_memory, running.over_ipc, running.over_processes])
def test_agents_end_as_in_the_simulator(ground, tmp_path):
    assert world().kind("a0") == "audio", "it has something to gain"
    assert running.differing(ground(world(), tmp_path), running.simulated(world())) == []


def test_the_log_and_the_screen_tell_of_it(tmp_path):
    with running.started(running.write(world(), tmp_path), tmp_path / "run", "--no-alone") as process:
        code, printed = running.ended(process)
    assert "audio              1" in printed and "(a1)" not in printed, "who has left is not in the summary"
    assert code == 0 and "a0 has audio+motion from round 3 on" in printed, printed
    told = running.events(tmp_path / "run", "a0", "modalities")
    assert [(e["round"], e["modalities"]) for e in told] == [(2, ["audio", "motion"]), (5, ["motion"])]
    assert running.events(tmp_path / "run", "a1", "left")[0]["round"] == 4
    assert [e["round"] for e in running.events(tmp_path / "run", "a3", "round")] == [3, 4, 5, 6]


def test_a_run_that_is_stopped_among_its_events_is_resumed_to_the_same_end(tmp_path):
    made = running.lengthy(12, events=EVENTS)
    out, file = tmp_path / "run", running.write(made, tmp_path)
    with running.started(file, out, "--quiet", "--no-alone") as process:
        running.until_round(out, "a0", 4)
        os.kill(process.pid, signal.SIGINT)
        code, printed = running.ended(process)
    assert code == 130 and "Traceback" not in printed, printed
    code, printed = running.everything(file, out, "--resume")
    assert code == 0, printed
    assert running.differing(running.saved(made, out), running.simulated(running.lengthy(12, events=EVENTS))) == []
