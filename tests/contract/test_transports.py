"""One contract for every transport; what only sockets can do comes last."""

import asyncio
import os
import subprocess
import sys
from tempfile import TemporaryDirectory

import pytest
import zmq
from opening import CONTROL, DATA, GUARD, SOCKETS, left_after_sending, numbered, run, send_all, take, until_heard

from parse_p2p.core.errors import ConfigError, MalformedFrame
from parse_p2p.transports.base import Plane
from parse_p2p.transports.memory import MemoryNetwork, MemoryTransport
from parse_p2p.transports.zmq import VISITS, WAITING, ZmqTransport
from parse_p2p.wire.framing import CHUNK

sockets_only = pytest.mark.parametrize("opened", list(SOCKETS), indirect=True)


def test_data_comes_in_order_however_much_there_is(opened):
    async def scenario():
        async with opened("a") as a, opened("b") as b:
            sending = asyncio.create_task(send_all(a, "b", numbered(600)))
            found = await take(b, 600)
            await sending
            assert found == [("a", DATA, frames) for frames in numbered(600)]

    run(scenario())


def test_control_comes_in_order_once_the_link_is_up(opened):
    async def scenario():
        async with opened("a") as a, opened("b") as b:
            await until_heard(a, b, "b")
            await send_all(a, "b", numbered(20), CONTROL)
            found = await take(b, 20, lambda plane, frames: bytes(frames[0]) != b"hello")
            assert found == [("a", CONTROL, frames) for frames in numbered(20)]

    run(scenario())


def test_both_planes_in_both_directions(opened):
    async def scenario():
        async with opened("a") as a, opened("b") as b:
            for sender, receiver, names in ((a, b, "ab"), (b, a, "ba")):
                assert await until_heard(sender, receiver, names[1]) == (names[0], CONTROL, [b"hello"])
                await sender.send(names[1], [b"model"], DATA)
                [found] = await take(receiver, 1, lambda plane, frames: plane == DATA)
                assert found == (names[0], DATA, [b"model"])

    run(scenario())


def test_a_large_message_of_many_frames_comes_whole(opened):
    frames = [b"header", os.urandom(CHUNK), b"", *(os.urandom(i) for i in range(1, 200)), os.urandom(CHUNK)]

    async def scenario():
        async with opened("a") as a, opened("b") as b:
            sending = asyncio.create_task(send_all(a, "b", 3 * [frames]))
            assert await take(b, 3) == 3 * [("a", DATA, frames)]
            await sending

    run(scenario())


def test_control_to_an_absent_peer_is_dropped_at_once(opened):
    async def scenario():
        async with opened("a") as a:
            await send_all(a, "b", 200 * [[b"stale"]], CONTROL)
            async with opened("b") as b:
                assert await until_heard(a, b, "b", [b"fresh"]) == ("a", CONTROL, [b"fresh"])

    run(scenario())


def test_data_waits_for_a_peer_that_comes_later(opened):
    async def scenario():
        async with opened("a") as a:
            sending = asyncio.create_task(send_all(a, "b", numbered(5)))
            await asyncio.sleep(0.05)
            assert not sending.done()
            async with opened("b") as b:
                assert await take(b, 5) == [("a", DATA, frames) for frames in numbered(5)]
                await sending

    run(scenario())


def test_an_absent_peer_holds_up_nobody_else(opened):
    async def scenario():
        async with opened("a") as a, opened("b") as b:
            unreachable = asyncio.create_task(a.send("c", [b"model"], DATA))
            await send_all(a, "b", numbered(5))
            assert await take(b, 5) == [("a", DATA, frames) for frames in numbered(5)]
            assert not unreachable.done()
            unreachable.cancel()
            await asyncio.gather(unreachable, return_exceptions=True)

    run(scenario())


def test_who_leaves_right_after_sending_is_heard_to_the_end(opened):
    run(left_after_sending(opened))


def test_a_restarted_peer_is_heard_and_reached_again(opened):
    async def scenario():
        async with opened("a") as a:
            for life in (b"first", b"second", b"third"):
                async with opened("b") as b:
                    assert await until_heard(b, a, "a", [life]) == ("b", CONTROL, [life])
                    await b.send("a", [life], DATA)
                    [found] = await take(a, 1, lambda plane, frames: plane == DATA)
                    assert found == ("b", DATA, [life])
                    assert await until_heard(a, b, "b", [life]) == ("a", CONTROL, [life])

    run(scenario())


def test_leaving_is_possible_with_messages_for_nobody(opened):
    async def scenario():
        async with opened("a") as a:
            unreachable = asyncio.create_task(a.send("c", [b"model"], DATA))
            await a.send("c", [b"hello"], CONTROL)
            unreachable.cancel()
            await asyncio.gather(unreachable, return_exceptions=True)

    run(scenario())


@sockets_only
def test_a_peer_to_which_my_own_link_holds_is_not_gone(opened):
    async def scenario():
        async with opened("a") as a, opened("b") as b:
            reported = asyncio.Queue()
            a.on_disconnect = reported.put_nowait
            await a.send("b", [b"model"], DATA)
            await b.send("a", [b"model"], DATA)
            assert await take(a, 1) == [("b", DATA, [b"model"])]
            while not a._links["b", DATA].up:
                await asyncio.sleep(0.01)
            b.connect("a", opened.addresses["other"])
            while a._links["b", DATA]._way is not None:
                await asyncio.sleep(0.01)
            assert reported.empty()
            await a.send("b", [b"more"], DATA)
            assert await take(b, 2) == [("a", DATA, [b"model"]), ("a", DATA, [b"more"])]

    run(scenario())


@sockets_only
def test_a_second_connection_takes_over_the_name_of_a_half_open_one(opened):
    async def scenario():
        async with opened("a") as a, opened("b") as gone:
            assert await until_heard(gone, a, "a", [b"old"]) == ("b", CONTROL, [b"old"])
            async with opened("b", at="other") as b:
                sending = asyncio.create_task(b.send("a", [b"model"], DATA))
                [found] = await take(a, 1, lambda plane, frames: plane == DATA)
                assert found == ("b", DATA, [b"model"])
                await sending

    run(scenario())


def test_who_connects_and_speaks_no_zeromq_is_reported():
    """A greeting of no known mechanism, and a half-open connection that is closed before it said who it is."""

    async def scenario():
        rejections = asyncio.Queue()
        async with ZmqTransport("a", {"a": ("tcp://127.0.0.1:*", "tcp://127.0.0.1:*")}) as a:
            port = int(a.endpoints[0].rpartition(":")[2])
            a.on_rejected = lambda: rejections.put_nowait(None)
            for said in (b"\xff" + bytes(8) + b"\x7f\x03\x00XXXX" + bytes(48), b"\xff\x00"):
                _, unknown = await asyncio.open_connection("127.0.0.1", port)
                unknown.write(said)
                await unknown.drain()
                unknown.close()
                await rejections.get()

    run(scenario())


FLOODED = """
import asyncio, sys, time, zmq
from parse_p2p.transports.base import Plane
from parse_p2p.transports.zmq import ZmqTransport

mine, theirs = sys.argv[1:]

def flood(socket, *to):
    socket.set(zmq.SNDTIMEO, 500)
    try:
        while True:
            socket.send_multipart([*to, bytes(1000)])
    except zmq.Again:
        socket.close(0)

def both_ways():
    with zmq.Context() as context:
        talker, listener = context.socket(zmq.DEALER), context.socket(zmq.ROUTER)
        talker.connect(mine + "data")
        flood(talker)
        listener.set(zmq.ROUTER_MANDATORY, 1)  # to be told when it is full
        listener.bind(theirs + "data")
        flood(listener, listener.recv_multipart()[0])

async def main():
    addresses = {me: (place + "data", place + "control") for me, place in (("a", mine), ("b", theirs))}
    async with ZmqTransport("a", addresses, drain=0) as transport:
        flooding = asyncio.create_task(asyncio.to_thread(both_ways))
        await transport.send("b", [b"hello"], Plane.DATA)
        await flooding
        await asyncio.sleep(3)  # whatever falls due meanwhile

asyncio.run(main())
print("alive")
"""


def test_who_leaves_more_than_was_read_and_goes_takes_nobody_along():
    """Whoever it is: one that knocked, or one that was dialled. In a process of its own, which might abort."""
    with TemporaryDirectory(prefix="p2p-") as folder:
        addresses = [f"ipc://{folder}/{name}." for name in "ab"]
        ended = subprocess.run(
            [sys.executable, "-c", FLOODED, *addresses], capture_output=True, text=True, timeout=GUARD
        )
    assert (ended.returncode, ended.stdout) == (0, "alive\n"), ended.stderr


@sockets_only
def test_a_peer_that_goes_is_reported_by_name(opened):
    async def scenario():
        reported = asyncio.Queue()
        async with opened("a") as a:
            a.on_disconnect = reported.put_nowait
            async with opened("b") as b:
                await a.send("b", [b"model"], DATA)
                await take(b, 1)
                assert reported.empty()
            assert await reported.get() == "b"

    run(scenario())


@pytest.mark.parametrize("opened", ["tcp"], indirect=True)
def test_an_occupied_port_is_named_in_one_sentence_and_free_after_its_owner(opened):
    async def scenario():
        async with opened("a"):
            with pytest.raises(ConfigError, match=r"agent a cannot listen on tcp://127.0.0.1:\d+: address") as refused:
                await opened("a").__aenter__()
            assert "\n" not in str(refused.value) and ". " not in str(refused.value)
        async with opened("a") as a, opened("b") as b:
            await b.send("a", [b"model"], DATA)
            assert await take(a, 1) == [("b", DATA, [b"model"])]

    run(scenario())


@pytest.mark.parametrize("opened", ["tcp"], indirect=True)
def test_an_unknown_peer_whose_name_is_no_text_does_no_harm(opened):
    async def scenario():
        async with opened("a") as a, opened("b") as b:
            with zmq.Context() as context, context.socket(zmq.DEALER) as unknown:
                unknown.set(zmq.ROUTING_ID, b"\xff\xfe")
                unknown.connect(opened.addresses["a"][DATA])
                unknown.send(b"boo")
                [found] = await take(a, 1)
                assert found[1:] == (DATA, [b"boo"])
            await b.send("a", [b"model"], DATA)
            assert await take(a, 1) == [("b", DATA, [b"model"])]

    run(scenario())


UNKNOWN = {"ipc": "ipc://*", "tcp": "tcp://127.0.0.1:*"}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_a_peer_whose_address_is_not_known_yet_is_reached_once_it_is_and_wherever_it_goes(kind):
    def opened(me, other):
        return ZmqTransport(me, {me: (UNKNOWN[kind],) * 2, other: None}, drain=0.2)

    async def scenario():
        async with opened("a", "b") as a:
            await send_all(a, "b", 200 * [[b"dropped"]], CONTROL)
            waiting = asyncio.create_task(send_all(a, "b", numbered(5)))
            for life in range(3):
                async with opened("b", "a") as b:
                    assert len({*a.endpoints, *b.endpoints}) == 4
                    a.connect("b", b.endpoints)
                    a.connect("b", b.endpoints)  # said again
                    b.connect("a", a.endpoints)
                    if life == 0:
                        assert await take(b, 5) == [("a", DATA, frames) for frames in numbered(5)]
                        await waiting
                    assert await until_heard(b, a, "a", [b"%d" % life]) == ("b", CONTROL, [b"%d" % life])
                    await a.send("b", [b"model %d" % life], DATA)
                    assert await take(b, 1) == [("a", DATA, [b"model %d" % life])]
                    await b.send("a", [b"%d" % life], DATA)
                    assert await take(a, 1, lambda plane, _: plane == DATA) == [("b", DATA, [b"%d" % life])]

    run(scenario())


@pytest.mark.parametrize("nonsense", ["", "nowhere", "tcp://", "tcp://;", "tcp://127.0.0.1:*", "carrier://pigeon"])
def test_what_is_no_address_is_refused_and_the_next_one_taken(nonsense):
    async def scenario():
        place = ("tcp://127.0.0.1:*",) * 2
        async with ZmqTransport("a", {"a": place, "b": None}) as a, ZmqTransport("b", {"b": place, "a": None}) as b:
            for good in (False, True):
                if good:
                    a.connect("b", b.endpoints)
                    assert await until_heard(a, b, "b") == ("a", CONTROL, [b"hello"])
                else:
                    with pytest.raises(MalformedFrame, match="is no address"):
                        a.connect("b", (nonsense, nonsense))

    run(scenario())


def test_no_more_peers_are_visited_at_a_time_than_it_may_and_each_can_be_again():
    place = ("tcp://127.0.0.1:*",) * 2

    async def scenario():
        async with ZmqTransport("a", {"a": place}) as a, ZmqTransport("b", {"b": place}) as b:
            for life in (b"first", b"second"):
                a.visit("b", b.endpoints[CONTROL])
                await a.send("b", [life], CONTROL)  # which waits for the link
                assert await take(b, 1) == [("a", CONTROL, [life])]
                for i in range(VISITS):
                    a.visit(f"n{i}", "tcp://127.0.0.1:9")
                    await send_all(a, f"n{i}", 2 * WAITING * [[b"into the void"]], CONTROL)
                assert len(a._visits) == VISITS and "b" not in a._visits
            a.visit("n1", b.endpoints[CONTROL])  # it is where b was
            await a.send("n1", [b"moved"], CONTROL)
            assert await take(b, 1) == [("a", CONTROL, [b"moved"])]
            with pytest.raises(MalformedFrame, match="is no address"):
                a.visit("n2", "nowhere")

    run(scenario())


def test_scripted_faults_lose_what_they_say():
    async def scenario():
        post = MemoryNetwork(lose=lambda sender, receiver, plane: (sender, receiver, plane) == ("a", "b", DATA))
        async with MemoryTransport("a", post) as a, MemoryTransport("b", post) as b:
            for sender, to in ((a, "b"), (b, "a")):
                for plane in Plane:
                    await sender.send(to, [b"x"], plane)
            assert await take(a, 2) == [("b", DATA, [b"x"]), ("b", CONTROL, [b"x"])]
            assert await take(b, 1) == [("a", CONTROL, [b"x"])]

    run(scenario())
