"""Runs whose file asks for faults: each fault is felt, and the run ends well all the same."""

import os
import signal
from contextlib import contextmanager

import pytest
import running

CLOCKS = {"heartbeat": 0.05, "lost": 60, "exchange": 0.4, "drain": 2}
PATIENT = CLOCKS | {"exchange": 60}
WAYS = {"memory": running.over_memory, "ipc": running.over_ipc}
both_ways = pytest.mark.parametrize("way", WAYS)


def ran(way, folder, *faults, clocks=CLOCKS, **changes):
    """The world and the last states of a run with faults, every agent of which has come to its end."""
    plan = running.plan(faults=list(faults), clocks=clocks, **changes)
    states = WAYS[way](plan, folder)
    assert all(t.isfinite().all() for state in states.values() for t in state.values() if t.is_floating_point())
    for me in plan.specs:
        assert [e["round"] for e in running.events(folder, me, "round")] == list(range(plan.run.rounds))
    return plan, states


def done(folder, plan):
    """How often each kind of fault struck, by agent."""
    entries = [event for me in plan.specs for event in running.events(folder, me, "fault-counts")]
    return {(entry["agent"], kind): count for entry in entries for kind, count in entry["counts"].items()}


def missed(folder, me):
    return {(event["round"], peer) for event in running.events(folder, me, "missing") for peer in event["peers"]}


@both_ways
def test_dropped_messages_are_missed(way, tmp_path):
    plan, _ = ran(way, tmp_path, {"kind": "drop", "senders": ["a1"], "receivers": ["a0"], "rounds": [1, 2]})
    assert (1, "a1") in missed(tmp_path, "a0") and (1, "a0") not in missed(tmp_path, "a1")
    assert done(tmp_path, plan) == {("a1", "drop"): 1}


@both_ways
def test_who_timed_out_is_not_missed_in_the_next_round(way, tmp_path):
    """It is late by as long as it waited, as long as its neighbours would wait for it, and by a little more."""
    drop = {"kind": "drop", "senders": ["a1"], "receivers": ["a0"], "rounds": [1, 2]}
    delay = {"kind": "delay", "senders": ["a0"], "seconds": 0.5, "rounds": [2, 3]}
    plan, _ = ran(way, tmp_path, drop, delay, clocks=CLOCKS | {"exchange": 8}, rounds=5)  # far longer than any stall
    assert {me: missed(tmp_path, me) for me in plan.specs} == {
        me: {(1, "a1")} if me == "a0" else set() for me in plan.specs
    }


@both_ways
@pytest.mark.parametrize(
    "fault", [{"kind": "delay", "seconds": 0.2}, {"kind": "duplicate"}, {"kind": "reorder"}], ids=lambda f: f["kind"]
)
def test_messages_that_come_late_or_twice_or_in_another_order_change_no_bit(way, fault, tmp_path):
    plan, states = ran(way, tmp_path, fault | {"probability": 0.5}, clocks=PATIENT)
    assert running.differing(states, running.simulated(running.plan(clocks=PATIENT))) == []
    assert {kind for _, kind in done(tmp_path, plan)} == {fault["kind"]}
    if fault["kind"] != "duplicate":
        slowest = max(e["seconds"] for me in plan.specs for e in running.events(tmp_path, me, "round"))
        assert slowest >= 0.2


@both_ways
def test_corrupt_messages_are_refused_and_counted_and_poison_nobody(way, tmp_path):
    plan, _ = ran(way, tmp_path, {"kind": "corrupt", "senders": ["a1", "a3"], "probability": 0.7}, rounds=5)
    refused = [event for me in plan.specs for event in running.events(tmp_path, me, "refused")]
    assert refused and {event["peer"] for event in refused} <= {"a1", "a3", "an unknown peer"}
    assert {me for me, _ in done(tmp_path, plan)} == {"a1", "a3"}


def test_two_runs_draw_the_same_fates(tmp_path):
    faults = [{"kind": "drop", "probability": 0.3}, {"kind": "corrupt", "probability": 0.2}]
    (plan, states), _ = (ran("memory", tmp_path / name, *faults) for name in "ab")
    assert done(tmp_path / "a", plan) == done(tmp_path / "b", plan)
    assert running.differing(states, running.simulated(running.plan())) != []


@both_ways
def test_a_partition_heals(way, tmp_path):
    first, healed, rounds = 2, 10, 40
    clocks = PATIENT | {"lost": 2}
    cut = {"kind": "partition", "groups": [["a0", "a1"]], "rounds": [first, healed]}
    plan, _ = ran(way, tmp_path, cut, clocks=clocks, rounds=rounds)
    across = {(me, peer) for me in plan.specs for peer in plan.neighbours(me)
              if (me in ("a0", "a1")) != (peer in ("a0", "a1"))}  # fmt: skip
    assert across
    last = set(range(rounds - 10, rounds))
    for me, peer in across:
        kinds = [event["event"] for event in running.events(tmp_path, me) if event.get("peer") == peer]
        assert kinds[0] == "found" and "lost" in kinds and kinds[-1] == "found"
        sent = {event["round"] for event in running.events(tmp_path, me, "round") if peer in event["sent"]}
        assert last <= sent, "messages cross again"
        assert set(range(first)) <= sent and not set(range(rounds)) <= sent
    for me in plan.specs:
        assert missed(tmp_path, me) == set(), "somebody missed a message"
        assert running.events(tmp_path, me, "round")[-10]["alive"] == len(plan.neighbours(me))
        assert running.events(tmp_path, me, "refused") == []


# of processes

FOREVER = 3000  # rounds: these runs are ended by the test
QUICK = {"heartbeat": 0.1, "lost": 5, "join": 10, "exchange": 5}


@contextmanager
def going(folder, *faults, rounds=FOREVER, arguments=(), **clocks):
    """``parse-agent`` at work on all agents of a file with faults: its process, the run's folder and the world."""
    plan, out = running.plan(rounds=rounds, faults=list(faults), clocks=QUICK | clocks), folder / "run"
    with running.started(running.write(plan, folder), out, "--no-alone", *arguments) as process:
        yield process, out, plan


def interrupted(process):
    """Press Ctrl-C: exit code and all that was printed, when nothing of the run is left."""
    os.killpg(process.pid, signal.SIGINT)
    ended = running.ended(process)
    running.until(lambda: not running.group_lives(process.pid))
    return ended


def sent(out, me, peer, since):
    return [e["round"] for e in running.events(out, me, "round") if e["round"] >= since and peer in e["sent"]]


def kinds(out, me, peer):
    """What an agent said of a peer, in order: found, lost, found …"""
    return [event["event"] for event in running.events(out, me) if event.get("peer") == peer]


def test_who_is_killed_is_started_again_once_and_who_is_stopped_goes_on_and_both_are_found_again(tmp_path):
    faults = [{"kind": "kill", "agents": ["a1"], "round": 3, "restart": 0.2},
              {"kind": "stop", "agents": ["a3"], "round": 3, "seconds": 2.0}]  # fmt: skip
    with going(tmp_path, *faults, lost=0.5, exchange=1) as (process, out, plan):
        running.until(lambda: len(running.events(out, "a1", "joined")) == 2)
        back = running.events(out, "a1", "joined")[1]["round"]
        friends = [me for me in plan.specs if "a1" in running.events(out, me, "round")[0]["sent"]]
        running.until(lambda: all(len(sent(out, me, "a1", back)) >= 3 for me in friends))
        running.until_round(out, "a1", back + 3)
        running.until(lambda: any("found" in kinds(out, me, "a3")[2:] for me in plan.neighbours("a3")))
        running.until_round(out, "a3", 10)
        code, printed = interrupted(process)
    assert friends and code == 130 and "Traceback" not in printed, printed
    assert "round 4: a1 is struck by a fault of kind kill" in printed and "died" not in printed
    starts = {me: running.events(out, me, "start") for me in plan.specs}
    assert {me: len(events) for me, events in starts.items()} == {me: 2 if me == "a1" else 1 for me in plan.specs}
    [kill] = running.events(out, "a1", "fault")
    assert back >= 3 and starts["a1"][1]["time"] >= kill["time"] + 0.2
    [stop] = running.events(out, "a3", "fault")
    assert min(e["time"] for e in running.events(out, "a3") if e["time"] > stop["time"]) >= stop["time"] + 2


def test_a_run_with_a_killed_agent_ends_well_whether_it_comes_back_or_not(tmp_path):
    faults = [
        {"kind": "kill", "agents": ["a1"], "round": 2, "restart": 0.0},
        {"kind": "kill", "agents": ["a3"], "round": 1},
    ]
    with going(tmp_path, *faults, rounds=4, join=1000) as (process, out, plan):
        code, printed = running.ended(process)
        running.until(lambda: not running.group_lives(process.pid))
    assert code == 0 and "died" not in printed and "Traceback" not in printed, printed
    ended = {me: [event["round"] for event in running.events(out, me, "end")] for me in plan.specs}
    assert ended == {me: [] if me == "a3" else [4] for me in plan.specs}
    assert [event["round"] for event in running.events(out, "a3", "round")] == [0]


def test_ctrl_c_ends_a_run_that_waits_to_start_an_agent_again_and_another_that_is_stopped(tmp_path):
    faults = [{"kind": "kill", "agents": ["a1"], "round": 1, "restart": 3600.0},
              {"kind": "stop", "agents": ["a2"], "round": 1, "seconds": 3600.0}]  # fmt: skip
    with going(tmp_path, *faults, lost=1) as (process, out, _):
        for me in ("a1", "a2"):
            running.until(lambda me=me: running.events(out, me, "fault"))
        running.until_round(out, "a0", 5)
        code, printed = interrupted(process)
    assert code == 130 and "Traceback" not in printed, printed
    assert running.events(out, "a2", "stopped") and not running.events(out, "a1", "resumed")


def test_an_agent_alone_dies_and_may_be_resumed_by_hand_and_is_not_killed_again(tmp_path):
    kill = {"kind": "kill", "agents": ["a0"], "round": 1, "restart": 1.0}
    plan = running.plan(rounds=3, faults=[kill], method="local")
    file, out = running.write(plan, tmp_path), tmp_path / "run"
    with running.started(file, out, "--id", "a0") as process:
        assert running.ended(process)[0] == -signal.SIGKILL
    with running.started(file, out, "--id", "a0", "--resume") as process:
        code, printed = running.ended(process)
    assert code == 0, printed
    assert [event["round"] for event in running.events(out, "a0", "round")] == [0, 1, 2]
