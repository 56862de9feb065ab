"""Runs whose file asks for faults: each fault is felt, and the run ends well all the same."""

import pytest
import running

CLOCKS = {"heartbeat": 0.05, "lost": 60, "exchange": 0.4, "drain": 2}
PATIENT = CLOCKS | {"exchange": 60}
KINDS = {"drop", "delay", "duplicate", "reorder", "corrupt", "partition"}
WAYS = {"memory": running.over_memory, "ipc": running.over_ipc}
both_ways = pytest.mark.parametrize("way", WAYS)


def ran(way, folder, *faults, clocks=CLOCKS, **changes):
    """The world and the last states of a run with faults, every agent of which has come to its end."""
    world = running.world(faults=list(faults), clocks=clocks, **changes)
    states = WAYS[way](world, folder)
    assert all(t.isfinite().all() for state in states.values() for t in state.values() if t.is_floating_point())
    for me in world.seats:
        assert [e["round"] for e in running.events(folder, me, "round")] == list(range(world.run.rounds))
    return world, states


def done(folder, world):
    """How often each kind of fault struck, by agent."""
    entries = [event for me in world.seats for event in running.events(folder, me, "faults")]
    return {(entry["agent"], kind): entry[kind] for entry in entries for kind in KINDS & entry.keys()}


def missed(folder, me):
    return {(event["round"], peer) for event in running.events(folder, me, "missing") for peer in event["peers"]}


@both_ways
def test_dropped_mail_is_missed_by_its_receiver_alone_and_in_its_rounds_alone(way, tmp_path):
    world, _ = ran(way, tmp_path, {"kind": "drop", "senders": ["a1"], "receivers": ["a0"], "rounds": [1, 2]})
    assert {me: missed(tmp_path, me) for me in world.seats if missed(tmp_path, me)} == {"a0": {(1, "a1")}}
    assert done(tmp_path, world) == {("a1", "drop"): 1}


@both_ways
@pytest.mark.parametrize(
    "fault", [{"kind": "delay", "seconds": 0.2}, {"kind": "duplicate"}, {"kind": "reorder"}], ids=lambda f: f["kind"]
)
def test_mail_that_comes_late_or_twice_or_in_another_order_changes_no_bit(way, fault, tmp_path):
    world, states = ran(way, tmp_path, fault | {"probability": 0.5}, clocks=PATIENT)
    assert running.differing(states, running.simulated(running.world(clocks=PATIENT))) == []
    assert {kind for _, kind in done(tmp_path, world)} == {fault["kind"]}
    if fault["kind"] != "duplicate":
        slowest = max(e["seconds"] for me in world.seats for e in running.events(tmp_path, me, "round"))
        assert slowest >= 0.2


@both_ways
def test_corrupt_mail_is_refused_and_counted_and_poisons_nobody(way, tmp_path):
    world, _ = ran(way, tmp_path, {"kind": "corrupt", "senders": ["a1", "a3"], "probability": 0.7}, rounds=5)
    refused = [event for me in world.seats for event in running.events(tmp_path, me, "refused")]
    assert refused and {event["peer"] for event in refused} <= {"a1", "a3", "a stranger"}
    assert {me for me, _ in done(tmp_path, world)} == {"a1", "a3"}


def test_two_runs_draw_the_same_fates_and_end_alike(tmp_path):
    faults = [{"kind": "drop", "probability": 0.3}, {"kind": "corrupt", "probability": 0.2}]
    (world, one), (_, other) = (ran("memory", tmp_path / name, *faults) for name in "ab")
    assert done(tmp_path / "a", world) == done(tmp_path / "b", world)
    assert running.differing(one, other) == []
    assert running.differing(one, running.simulated(running.world())) != []


@both_ways
def test_a_partition_heals(way, tmp_path):
    first, healed, rounds = 2, 10, 40
    clocks = CLOCKS | {"lost": 1.5, "exchange": 0.3}
    cut = {"kind": "partition", "groups": [["a0", "a1"]], "rounds": [first, healed]}
    world, _ = ran(way, tmp_path, cut, clocks=clocks, rounds=rounds)
    across = {(me, peer) for me in world.seats for peer in world.neighbours(me)
              if (me in ("a0", "a1")) != (peer in ("a0", "a1"))}  # fmt: skip
    assert across
    last = set(range(rounds - 10, rounds))
    for me, peer in across:
        assert (first, peer) in missed(tmp_path, me)
        told = [event["event"] for event in running.events(tmp_path, me) if event.get("peer") == peer]
        assert told[0] == "found" and "lost" in told and told[-1] == "found"
        sent = {event["round"] for event in running.events(tmp_path, me, "round") if peer in event["sent"]}
        assert last <= sent, "mail crosses again"
        assert set(range(first)) <= sent and not set(range(rounds)) <= sent
    for me in world.seats:
        assert not [round for round, _ in missed(tmp_path, me) if round in last]
        assert running.events(tmp_path, me, "round")[-10]["alive"] == len(world.neighbours(me))
        assert running.events(tmp_path, me, "refused") == []
