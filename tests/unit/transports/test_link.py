"""One connection serves both directions, where only one of two agents can dial the other."""

import asyncio
import socket
import subprocess
import sys
from tempfile import TemporaryDirectory

import ports
import pytest
import zmq
from opening import (
    CONTROL,
    DATA,
    GUARD,
    left_after_sending,
    numbered,
    run,
    send_all,
    take,
    until_heard,
)

from parse_p2p.transports import curve
from parse_p2p.transports import link as links
from parse_p2p.transports.zmq import ZmqTransport
from parse_p2p.wire.framing import CHUNK


class Opener:
    """Makes a transport: a listens and b only dials, as c does."""

    def __init__(self, folder, keys):
        self.address = f"ipc://{folder}/a.data", f"ipc://{folder}/a.control"
        self.keys = keys

    def __call__(self, me, at=None, drain=GUARD):
        """``at`` is where a thinks that b is."""
        curve_keys = None if self.keys is None else curve.read(self.keys, me, set("abc") - {me})
        mine = {"a": self.address, "b": at, "c": None} if me == "a" else {me: None, "a": self.address}
        return ZmqTransport(me, mine, drain=drain, curve_keys=curve_keys)


@pytest.fixture(params=["named", "curve"])
def opened(request, tmp_path, monkeypatch):
    monkeypatch.setattr(links, "GRACE", 0.2)
    curve.make(tmp_path, "abc")
    with TemporaryDirectory(prefix="p2p-") as folder:  # the path of a socket must be short
        yield Opener(folder, tmp_path if request.param == "curve" else None)


def test_messages_go_both_ways_in_order_on_both_planes(opened):
    frames = [[b"%d" % i, bytes(1000 * i), b""] for i in range(300)]

    async def scenario():
        async with opened("a") as a, opened("b") as b:
            assert b.endpoints is None
            waiting = asyncio.create_task(send_all(a, "b", frames))  # which b has not asked for
            assert await take(b, 300, lambda plane, _: plane == DATA) == [("a", DATA, each) for each in frames]
            await waiting
            assert await until_heard(a, b, "b") == ("a", CONTROL, [b"hello"])
            for plane in (DATA, CONTROL):
                await send_all(b, "a", numbered(40), plane)
                assert await take(a, 40) == [("b", plane, each) for each in numbered(40)]

    run(scenario())


def test_one_that_connects_again_is_heard_and_reached_again(opened):
    async def scenario():
        async with opened("a") as a:
            reported = asyncio.Queue()
            a.on_disconnect = reported.put_nowait
            for life in (b"first", b"second", b"third"):
                waiting = asyncio.create_task(a.send("b", [life], DATA))
                async with opened("b") as b:
                    assert await take(b, 1) == [("a", DATA, [life])]
                    await waiting
                    assert await until_heard(a, b, "b", [life]) == ("a", CONTROL, [life])
                    assert await until_heard(b, a, "a", [life]) == ("b", CONTROL, [life])
                    assert reported.empty()
                assert await reported.get() == "b"

    run(scenario())


def test_an_address_that_nobody_answers_is_no_hindrance(opened):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        unreachable = (f"tcp://127.0.0.1:{nobody.getsockname()[1]}",) * 2

        async def scenario():
            async with opened("a", at=unreachable, drain=0) as a, opened("b") as b:
                await a.send("b", [b"model"], DATA)
                assert await take(b, 1) == [("a", DATA, [b"model"])]
                assert await until_heard(a, b, "b") == ("a", CONTROL, [b"hello"])

        run(scenario())


def test_who_leaves_right_after_sending_is_heard_to_the_end(opened):
    run(left_after_sending(opened))


def test_who_left_before_it_was_greeted_is_not_waited_for(opened):
    async def scenario():
        async with opened("b") as b:
            reported = asyncio.Queue()
            b.on_disconnect = reported.put_nowait
            with zmq.Context() as context, context.socket(zmq.ROUTER) as host:
                if opened.keys is not None:
                    curve.read(opened.keys, "a", "bc").as_server(host)
                with host.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED) as monitor:
                    host.bind(opened.address[DATA])
                    assert monitor.poll(1000 * GUARD)  # b, which stands still meanwhile, hears of it when it is over
                    host.disable_monitor()
            assert await reported.get() == "a"

    run(scenario())


def test_one_that_does_not_read_is_waited_for_and_holds_up_nobody_else(opened):
    chunk = [bytes(CHUNK)]

    async def scenario():
        async with opened("a", drain=0) as a, opened("b") as b, opened("c") as c:
            flood = asyncio.create_task(send_all(a, "b", 600 * [chunk]))
            while not b._arrived.full():
                await asyncio.sleep(0.05)
            await a.send("c", [b"model"], DATA)
            assert await take(c, 1) == [("a", DATA, [b"model"])]
            await asyncio.sleep(0.5)
            assert not flood.done(), "there is no end to what is kept for it"
            found = await take(b, 600)
            await flood
            assert len(found) == 600 and all(frames == chunk for _, _, frames in found)

    run(scenario())


def test_messages_for_one_never_go_to_another_that_takes_its_name(opened):
    """With keys, since without them there are no more than names."""
    if opened.keys is None:
        pytest.skip("without keys a name is all there is")

    async def scenario():
        async with opened("a") as a:
            liar = zmq.asyncio.Context()
            with liar.socket(zmq.DEALER) as thief:
                curve.read(opened.keys, "c", "ab").as_client_of("a", thief)
                thief.set(zmq.ROUTING_ID, b"b")
                thief.connect(opened.address[DATA])
                await thief.send(b"I am b")
                assert await take(a, 1) == [("c", DATA, [b"I am b"])]
                waiting = asyncio.create_task(a.send("b", [b"for b"], DATA))
                await a.send("c", [b"for c"], DATA)
                assert await thief.recv() == b"for c"
                async with opened("b") as b:
                    assert await take(b, 1) == [("a", DATA, [b"for b"])]
                    await waiting
                assert not await thief.poll(100)
            liar.term()

    run(scenario())


def test_gossip_is_answered_along_the_link_of_one_that_is_no_neighbour():
    async def scenario():
        async with ZmqTransport("a", {"a": ("tcp://127.0.0.1:*",) * 2}) as a, ZmqTransport("b", {"b": None}) as b:
            b.visit("a", a.endpoints[CONTROL])
            assert await until_heard(b, a, "a", [b"who is there?"]) == ("b", CONTROL, [b"who is there?"])
            assert await until_heard(a, b, "b", [b"I am"]) == ("a", CONTROL, [b"I am"])
            await a.send("nobody", [b"lost"], CONTROL)

    run(scenario())


async def troubled(mine, theirs, *guards, until=lambda transport: True):
    """What a says of b, whose address is ``theirs``."""
    async with ZmqTransport("a", {"a": mine, "b": theirs}, 0.1, *guards) as a:
        while not until(a):
            await asyncio.sleep(0.02)
        return await a.trouble("b")


def test_why_a_neighbour_is_not_there_is_reported_from_both_sides(tmp_path):
    first = ports.free(6)
    mine, unreachable = ((f"tcp://127.0.0.1:{first + i}", f"tcp://127.0.0.1:{first + i + 1}") for i in (0, 2))
    foreign = "tcp://there.is.no.such.host.invalid:7000", "tcp://there.is.no.such.host.invalid:7001"
    asked = f"b has not called at {mine[0]} or {mine[1]}"

    async def scenario():
        assert await troubled(mine, unreachable) == f"a cannot reach {unreachable[1]} (connection refused), and {asked}"
        assert (
            await troubled(None, unreachable)
            == f"a cannot reach {unreachable[1]} (connection refused), and a only dials out"
        )
        assert await troubled(mine, None) == f"a has been told no address of b, and {asked}"
        assert "(the name there.is.no.such.host.invalid is not known here)" in await troubled(mine, foreign)
        async with await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", first + 3):
            said = await troubled(mine, unreachable)
            reason = "the handshake fails, as with another program or other keys"
            assert said == f"somebody answers at {unreachable[1]}, but {reason}, and {asked}"
        async with ZmqTransport("b", {"b": unreachable, "a": None}) as b:  # only one of its two ports is open to others
            half = unreachable[0], f"tcp://127.0.0.1:{first + 5}"
            said = await troubled(mine, half, until=lambda a: a._links["b", DATA].up)
            assert said.startswith(f"a cannot reach {half[1]} (connection refused)")
            said = await troubled(mine, unreachable, until=lambda a: all(link.up for link in a._links.values()))
            assert said == f"a has a link to {unreachable[1]}, over which nothing came, and {asked}"
            b.connect("a", mine)
            said = await troubled(mine, unreachable, until=lambda a: a._links["b", CONTROL].called)
            assert said.endswith(f"and b has called at {mine[0]} or {mine[1]}")

    run(scenario())


def test_a_key_that_the_other_does_not_know_is_named(tmp_path):
    curve.make(tmp_path, "abc")
    address = tuple(f"tcp://127.0.0.1:{ports.free(2) + i}" for i in range(2))

    async def scenario():
        mine, unaware = curve.read(tmp_path, "a", "b"), curve.read(tmp_path, "b", "c")
        async with ZmqTransport("b", {"b": address, "c": None}, 0.1, unaware):
            said = await troubled(None, address, mine, until=lambda a: a._links["b", CONTROL].denied)
            assert said == f"somebody answers at {address[1]}, but it does not know the key of a, and a only dials out"

    run(scenario())


def test_a_wait_for_a_way_ends_when_it_is_cancelled():
    """Also in the moment in which there is news."""

    async def scenario():
        for turns in range(5):
            link = links.Link(context.socket(zmq.DEALER), None)
            waiting = asyncio.create_task(link.carry([b"model"]))
            await asyncio.sleep(0)
            link.dial(None)
            for _ in range(turns):
                await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(waiting, GUARD)
            await link.close(0)

    with zmq.asyncio.Context() as context:
        run(scenario())


@pytest.mark.parametrize("left", [b"tcp://127.0.0.1:1", b"tcp://[::ffff:127.0.0.1]:1"])  # dialled once, or again
def test_events_of_an_address_that_was_left_change_nothing(left, monkeypatch):
    new = b"tcp://127.0.0.1:2"
    story = [
        (links.OPENED, left, False),
        (links.OPENED, new, True),
        (links.GONE, left, True),
        (links.DENIED, left, True),
        (links.GARBLED, left, True),
        (links.GONE, new, False),
    ]

    async def scenario():
        reported, lost = asyncio.Queue(), []
        monkeypatch.setattr(links, "recv_monitor_message", lambda monitor: reported.get())
        monkeypatch.setattr(links, "GRACE", GUARD)  # however slow this goes
        link = links.Link(context.socket(zmq.DEALER), None)
        for address in (left, new):
            link.dial(address.decode())
        watching = asyncio.create_task(link.watch(lambda: lost.append(address)))
        for event, address, up in story:
            reported.put_nowait({"event": event, "endpoint": address})
            for _ in range(5):
                await asyncio.sleep(0)
            assert (link.up, reported.empty()) == (up, True)
        assert lost == [new]
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await link.close(0)

    with zmq.asyncio.Context() as context:
        run(scenario())


def test_another_spelling_of_where_a_neighbour_is_leaves_the_link_to_it_alone():
    first, hosts = ports.free(2), ("127.0.0.1", "[::ffff:127.0.0.1]")

    async def scenario():
        address, mapped = ((f"tcp://{host}:{first}", f"tcp://{host}:{first + 1}") for host in hosts)
        async with ZmqTransport("b", {"b": address, "a": None}), ZmqTransport("a", {"a": None, "b": address}) as a:
            while not all(link.up for link in a._links.values()):
                await asyncio.sleep(0.01)
            a.connect("b", mapped)
            assert all(link.up for link in a._links.values())

    run(scenario())


def test_a_neighbour_that_hung_and_moved_is_reached_at_its_new_address(monkeypatch):
    """Also when the life that hung ends at last, with messages for it that never went out, and long after the move."""

    async def scenario():
        lost = asyncio.Queue()
        with zmq.Context() as context, context.socket(zmq.ROUTER) as hung:
            hung.rcvhwm = 1
            address = tuple(f"tcp://127.0.0.1:{hung.bind_to_random_port('tcp://127.0.0.1')}" for _ in range(2))
            async with ZmqTransport("a", {"a": None, "b": address}, drain=5) as a:
                a.on_disconnect = lost.put_nowait
                while not a._links["b", DATA].up:
                    await asyncio.sleep(0.01)
                for _ in range(3):  # until it is full, and what is in between too
                    while await a._links["b", DATA].give([bytes(CHUNK)]):
                        await asyncio.sleep(0)
                    await asyncio.sleep(0.05)
                async with ZmqTransport("b", {"b": ("tcp://127.0.0.1:*",) * 2, "a": None}) as b:
                    a.connect("b", b.endpoints)
                    await a.send("b", [b"first"], DATA)
                    assert await take(b, 1) == [("a", DATA, [b"first"])]
                    monkeypatch.setattr(links, "GRACE", 0)
                    hung.close(0)
                    await asyncio.sleep(0.3)
                    await a.send("b", [b"second"], DATA)
                    assert await take(b, 1) == [("a", DATA, [b"second"])]
                    assert lost.empty()

    run(scenario())


def test_one_that_may_open_too_few_files_for_its_neighbours_says_so():
    script = """
import asyncio, resource
from parse_p2p.core.errors import ConfigError
from parse_p2p.transports.zmq import ZmqTransport

async def opened():
    async with ZmqTransport("a", {"a": None} | {f"b{i}": None for i in range(100)}):
        pass

for limit in range(60, 200, 10):
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    try:
        asyncio.run(opened())
    except ConfigError as error:
        print(error)
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=GUARD, check=True)
    sentences = said.stdout.splitlines()
    assert len(sentences) == 14 and set(sentences) == {
        "agent a cannot open sockets for 100 neighbours: they need more files than this process may open: raise that "
        "limit (ulimit -n)"
    }


def test_what_comes_back_along_a_link_is_bounded(opened):
    """The one that was dialled answers with more than a chunk: the link is broken, and nothing of it gets through."""

    async def scenario():
        async with opened("b") as b:
            with zmq.asyncio.Context() as context, context.socket(zmq.ROUTER) as host:
                host.setsockopt(zmq.LINGER, 0)
                if opened.keys is not None:
                    curve.read(opened.keys, "a", "bc").as_server(host)
                host.bind(opened.address[DATA])
                way, _ = await host.recv_multipart()
                link = b._links["a", DATA]
                while not link.up:
                    await asyncio.sleep(0.01)
                await host.send_multipart([way, bytes(3 * CHUNK)])
                while link.up:
                    await asyncio.sleep(0.01)
                assert b._arrived.empty()

    run(scenario())
