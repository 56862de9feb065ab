"""What each fault does to messages, over memory and over sockets; nothing else about a transport changes."""

import asyncio
from collections import Counter

import pytest
from opening import CONTROL, DATA, run, take, until_heard
from pydantic import TypeAdapter

from parse_p2p.core.errors import MalformedFrame
from parse_p2p.core.message import Message
from parse_p2p.transports.faulty import HELD, FaultyTransport
from parse_p2p.wire.codecs import raw
from parse_p2p.wire.faults.base import Fault
from parse_p2p.wire.framing import Header, pack, unpack

FAULT = TypeAdapter(Fault)
ROUND, AFTER = 3, 9
LAST = 99
pytestmark = pytest.mark.parametrize("opened", ["memory", "ipc"], indirect=True)


def faulty(inner, *faults, counted=None, begun=ROUND, drain=60.0):
    """The transport of a; all faults are for one round, so that what is sent in another arrives."""
    read = [FAULT.validate_python({"rounds": [ROUND, ROUND + 1]} | fault) for fault in faults]
    made = FaultyTransport(inner, "a", read, 0, drain, counted.update if counted is not None else lambda counts: None)
    if begun is not None:
        made.begin(begun)
    return made


def message(number, round=ROUND, sender="a"):
    [frames] = pack(Header("run", sender, round, "x"), Message(meta={"number": number}), raw.CODEC)
    return frames


async def numbers(transport, count):
    """Of the next so many messages."""
    return [unpack(frames)[0].meta["number"] for _, _, frames in await take(transport, count)]


def arrived(opened, *faults, sent=20, to="b", **options):
    """What comes of so many numbered messages, up to an unhurt last one."""

    async def scenario():
        found = []
        async with opened("b") as b, faulty(opened("a"), *faults, **options) as a:
            for i in range(sent):
                await a.send("b", message(i), DATA)
            await a.send("b", message(LAST, AFTER), DATA)
            while LAST not in found:
                found += await numbers(b, 1)
        return found[:-1]

    return run(scenario())


def test_what_is_dropped_never_comes_and_the_rest_does_in_order(opened):
    counted = Counter()
    found = arrived(opened, {"kind": "drop", "probability": 0.5}, counted=counted)
    assert found == sorted(found) and 0 < counted["drop"] == 20 - len(found) < 20
    assert arrived(opened, {"kind": "drop", "probability": 0.5}) == found, "the same fates once more"


def test_what_is_lost_meets_no_other_fault(opened):
    counted = Counter()
    assert (
        arrived(opened, {"kind": "delay", "seconds": 60}, {"kind": "drop"}, {"kind": "duplicate"}, counted=counted)
        == []
    )
    assert counted == {"delay": 20, "drop": 20}


def test_what_is_duplicated_comes_twice(opened):
    counted = Counter()
    assert arrived(opened, {"kind": "duplicate"}, sent=3, counted=counted) == [0, 0, 1, 1, 2, 2]
    assert counted == {"duplicate": 3}


def test_what_is_reordered_comes_after_the_next_one(opened):
    counted = Counter()
    assert arrived(opened, {"kind": "reorder", "seconds": 60}, sent=6, counted=counted) == [1, 0, 3, 2, 5, 4]
    assert counted == {"reorder": 3}


def test_what_is_reordered_comes_all_the_same_where_there_is_no_next_one(opened):
    async def scenario():
        async with opened("b") as b, faulty(opened("a"), {"kind": "reorder", "seconds": 0.05}) as a:
            await a.send("b", message(0), DATA)
            assert await numbers(b, 1) == [0]

    run(scenario())


def test_delayed_messages_come_later_and_hold_up_nothing(opened):
    async def scenario():
        clock = asyncio.get_running_loop().time
        async with opened("b") as b, faulty(opened("a"), {"kind": "delay", "seconds": 0.3}) as a:
            sent = clock()
            await a.send("b", message(0), DATA)
            await a.send("b", message(LAST, AFTER), DATA)
            assert await numbers(b, 1) == [LAST]
            assert await numbers(b, 1) == [0]
            assert clock() - sent >= 0.3

    run(scenario())


def test_who_leaves_waits_for_the_messages_it_holds_back(opened):
    async def scenario():
        async with opened("b") as b:
            async with faulty(opened("a"), {"kind": "delay", "seconds": 0.1}) as a:
                await a.send("b", message(0), DATA)
            assert await numbers(b, 1) == [0]

    run(scenario())


def test_messages_held_back_for_long_do_not_keep_one_that_leaves(opened):
    async def scenario():
        async with opened("b") as b:
            async with faulty(opened("a"), {"kind": "delay", "seconds": 1e6}, drain=0.05) as a:
                await a.send("b", message(0), DATA)
            async with opened("a") as a:
                await a.send("b", message(LAST, AFTER), DATA)
                assert await numbers(b, 1) == [LAST]

    run(scenario())


def test_the_transport_below_hears_of_the_error_that_ends_it(opened, monkeypatch):
    ended = []

    async def scenario():
        inner = opened("a")
        leave = type(inner).__aexit__

        async def watched(self, kind, error, trace):
            ended.append((kind, error))
            await leave(self, kind, error, trace)

        monkeypatch.setattr(type(inner), "__aexit__", watched)
        async with faulty(inner, {"kind": "delay", "seconds": 1.0}):
            raise failed

    failed = OSError("no more")
    with pytest.raises(OSError, match="no more"):
        run(scenario())
    assert ended == [(OSError, failed)]


def test_no_more_than_so_many_messages_are_held_back(opened):
    async def scenario():
        async with opened("b") as b, faulty(opened("a"), {"kind": "delay", "seconds": 1e6}, drain=0.0) as a:
            for i in range(HELD + 1):
                await a.send("b", message(i), DATA)
            assert await numbers(b, 1) == [HELD]

    run(scenario())


def test_a_corrupt_message_is_another_and_mostly_no_message_at_all(opened):
    count = 20

    async def scenario():
        counted = Counter()
        async with opened("b") as b, faulty(opened("a"), {"kind": "corrupt"}, counted=counted) as a:
            for i in range(count):
                await a.send("b", message(i), DATA)
            found = await take(b, count)
        assert counted == {"corrupt": count}
        for i, (_, _, frames) in enumerate(found):
            assert len(frames[0]) == len(message(i)[0]) and frames[0] != message(i)[0]
        return [reads(frames) for _, _, frames in found]

    assert sum(run(scenario())) < count / 2


def reads(frames):
    try:
        unpack(frames)
    except MalformedFrame:
        return False
    return True


def test_a_partition_cuts_both_planes_for_its_rounds(opened):
    async def scenario():
        async with opened("b") as b, faulty(opened("a"), {"kind": "partition", "groups": [["a"]]}, begun=2) as a:
            assert await until_heard(a, b, "b") == ("a", CONTROL, [b"hello"])
            for round in (2, ROUND, AFTER):
                a.begin(round)
                for plane in (DATA, CONTROL):
                    await a.send("b", message(round, round), plane)
            arrivals = await take(b, 4, lambda plane, frames: bytes(frames[0]) != b"hello")
            assert {(plane, unpack(frames)[0].round) for _, plane, frames in arrivals} == {
                (plane, round) for plane in (DATA, CONTROL) for round in (2, AFTER)
            }

    run(scenario())


def test_message_faults_spare_heartbeats_unless_the_file_says_otherwise(opened):
    async def scenario():
        async with opened("b") as b, faulty(opened("a"), {"kind": "drop"}) as a:
            assert await until_heard(a, b, "b") == ("a", CONTROL, [b"hello"])
        async with opened("b") as b, faulty(opened("a"), {"kind": "drop", "plane": "control"}) as a:
            for _ in range(20):
                await a.send("b", [b"hello"], CONTROL)
            await a.send("b", message(0), DATA)
            assert await numbers(b, 1) == [0]

    run(scenario())


def test_nothing_is_hurt_before_the_first_round(opened):
    assert arrived(opened, {"kind": "drop"}, begun=None, sent=3) == [0, 1, 2]


def test_a_broken_link_is_still_reported(opened):
    a = faulty(opened("a"))
    counted = []
    a.on_disconnect = counted.append
    a.on_disconnect("b")
    a._inner.on_disconnect("c")
    assert counted == ["b", "c"]
