"""Encrypted links: who is in the keyring speaks as itself, and nobody else is heard at all."""

import asyncio
from contextlib import AsyncExitStack, suppress
from tempfile import TemporaryDirectory

import pytest
import zmq
import zmq.asyncio
from hypothesis import given
from hypothesis import strategies as st

from parse_p2p.core.errors import ConfigError
from parse_p2p.transports import curve
from parse_p2p.transports.base import Plane
from parse_p2p.transports.curve import CurveKeys, ZapHandler
from parse_p2p.transports.zmq import ZmqTransport

PATIENCE = 60


@pytest.fixture
def keyring(tmp_path):
    curve.make(tmp_path / "keys", ["a", "b", "c"])
    return tmp_path / "keys"


@pytest.fixture
def addresses():
    with TemporaryDirectory(prefix="p2p-") as folder:  # the path of a socket must be short
        yield {me: (f"ipc://{folder}/{me}.data", f"ipc://{folder}/{me}.control") for me in "abcx"}


def transport(me, addresses, curve_keys, peers="ab"):
    return ZmqTransport(me, {peer: addresses[peer] for peer in {me, *peers}}, drain=0.2, curve_keys=curve_keys)


async def heard(a, b_speaks, unknown_peers):
    """What a hears once b's messages has come through; whatever the unknown sent first would be there by then."""
    found = []
    for _ in range(25):
        for unknown in unknown_peers:
            await unknown()
        await asyncio.sleep(0.02)
    await b_speaks()
    async for sender, plane, frames in a.arrivals():
        found.append((sender, plane, [bytes(f) for f in frames]))
        if found[-1][2] == [b"from b"]:
            return found


def test_an_encrypted_link_carries_messages_under_the_name_of_the_key(keyring, addresses):
    async def run():
        # b calls itself x, which is of no use: its key is that of b
        mine, theirs = curve.read(keyring, "a", ["b"]), curve.read(keyring, "b", ["a"])
        async with (
            asyncio.timeout(PATIENCE),
            transport("a", addresses, mine) as a,
            transport("x", addresses, theirs, peers="a") as b,
        ):
            await b.send("a", [b"from b"], Plane.DATA)
            return await anext(a.arrivals())

    sender, plane, _ = asyncio.run(run())
    assert (sender, plane) == ("b", Plane.DATA)


def test_who_was_not_let_in_is_once_its_key_is_known(keyring, addresses, monkeypatch):
    asked = []
    answer = ZapHandler._answer

    def noted(self, request):
        asked.append(answer(self, request))
        return asked[-1]

    monkeypatch.setattr(ZapHandler, "_answer", noted)

    async def run():
        mine, unaware, aware = (curve.read(keyring, me, peers) for me, peers in [("a", "b"), ("b", "c"), ("b", "a")])
        async with asyncio.timeout(PATIENCE), transport("a", addresses, mine, peers="b") as a:
            async with transport("b", addresses, unaware, peers="c"):
                while sum(b"400" in reply for reply in asked) < len(Plane):
                    await asyncio.sleep(0.02)
            async with transport("b", addresses, aware, peers="a") as b:
                speaking = asyncio.create_task(a.send("b", [b"here I am"], Plane.DATA))
                sender, _, frames = await anext(b.arrivals())
                await speaking
                return sender, bytes(frames[0])

    assert asyncio.run(run()) == ("a", b"here I am")


def raw(context, addresses, options):
    """A socket of somebody who is no agent, dialling a's data address."""
    socket = context.socket(zmq.DEALER)
    socket.set(zmq.LINGER, 0)
    for option, value in options.items():
        socket.set(option, value)
    socket.connect(addresses["a"][0])
    return socket


def key_options(curve_keys, public=None, secret=None, server=None):
    return {
        zmq.CURVE_SERVERKEY: server or curve_keys.public,
        zmq.CURVE_PUBLICKEY: public,
        zmq.CURVE_SECRETKEY: secret,
    }


def test_no_frame_of_an_unknown_peer_is_heard(keyring, addresses):
    """Nor one of an agent that is no neighbour, or of whom knows but half of a key."""
    mine = curve.read(keyring, "a", ["b"])
    public, secret = zmq.curve_keypair()
    other, _ = zmq.curve_keypair()
    b = curve.read(keyring, "b", ["a"])
    attempts = {
        "plain": {zmq.ROUTING_ID: b"b"},
        "unlisted": key_options(mine, public, secret) | {zmq.ROUTING_ID: b"b"},
        "in the keyring but no neighbour": key_options(mine, *_pair(keyring, "c")),
        "not its secret": key_options(mine, b.public, secret),
        "another server": key_options(mine, b.public, b.secret, server=other),
        "a password": {zmq.PLAIN_USERNAME: b"b", zmq.PLAIN_PASSWORD: b"b"},
    }

    async def run():
        context = zmq.asyncio.Context()
        sockets = [raw(context, addresses, options) for options in attempts.values()]

        async def shout(socket, name):
            with suppress(zmq.Again):
                await socket.send_multipart([f"from {name}".encode()], flags=zmq.DONTWAIT)

        try:
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(asyncio.timeout(PATIENCE))
                a = await stack.enter_async_context(transport("a", addresses, mine))
                there = await stack.enter_async_context(transport("b", addresses, b, peers="a"))
                unknown_peers = [lambda s=s, n=n: shout(s, n) for s, n in zip(sockets, attempts, strict=True)]
                return await heard(a, lambda: there.send("a", [b"from b"], Plane.DATA), unknown_peers)
        finally:
            for socket in sockets:
                socket.close(0)
            context.term()

    assert asyncio.run(run()) == [("b", Plane.DATA, [b"from b"])]


def _pair(keyring, me):
    return (keyring / f"{me}.pub").read_bytes().strip(), (keyring / f"{me}.key").read_bytes().strip()


def test_one_agent_cannot_speak_for_another(keyring, addresses):
    """c is a neighbour and claims b's name in every way a socket allows."""
    mine = curve.read(keyring, "a", ["b", "c"])

    async def run():
        context = zmq.asyncio.Context()
        liar = raw(context, addresses, key_options(mine, *_pair(keyring, "c")) | {zmq.ROUTING_ID: b"b"})
        try:
            async with asyncio.timeout(PATIENCE), transport("a", addresses, mine, peers="abc") as a:
                await liar.send_multipart([b"from b"])
                return (await anext(a.arrivals()))[0]
        finally:
            liar.close(0)
            context.term()

    assert asyncio.run(run()) == "c"


async def _recorded(tape, reader, writer, port):
    """Pass a connection on to a port, and keep what the one who connected said."""
    theirs, mine = await asyncio.open_connection("127.0.0.1", port)

    async def carry(source, sink, kept):
        while said := await source.read(4096):
            kept += said
            sink.write(said)
            await sink.drain()

    try:
        await asyncio.gather(carry(reader, mine, tape), carry(theirs, writer, bytearray()), return_exceptions=True)
    finally:
        mine.close()
        writer.close()


def test_a_connection_that_is_replayed_says_nothing(keyring):
    """Whoever hears a whole connection and says the same again is not let in: each has keys of its own."""
    mine, theirs = curve.read(keyring, "a", ["b"]), curve.read(keyring, "b", ["a"])
    free = ("tcp://127.0.0.1:*", "tcp://127.0.0.1:*")

    async def run():
        tape = bytearray()
        async with asyncio.timeout(PATIENCE), ZmqTransport("a", {"a": free}, 0.2, mine) as a:
            port = int(a.endpoints[0].rpartition(":")[2])
            proxy = await asyncio.start_server(lambda r, w: _recorded(tape, r, w, port), "127.0.0.1", 0)
            through = f"tcp://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
            async with ZmqTransport("b", {"b": free, "a": (through, through)}, 0.2, theirs) as b:
                await b.send("a", [b"pay me"], Plane.DATA)
                heard = [bytes((await anext(a.arrivals()))[2][0])]
                rejections = asyncio.Queue()
                a.on_rejected = lambda: rejections.put_nowait(None)
                _, thief = await asyncio.open_connection("127.0.0.1", port)
                thief.write(bytes(tape))
                await thief.drain()
                await rejections.get()  # it has been heard, and was not let in
                thief.close()
                await b.send("a", [b"the end"], Plane.DATA)
                heard.append(bytes((await anext(a.arrivals()))[2][0]))
            proxy.close()
        return heard

    assert asyncio.run(run()) == [b"pay me", b"the end"]


@given(st.lists(st.binary(max_size=64), max_size=9))
def test_nothing_that_is_asked_ends_the_authenticator_or_lets_an_unknown_key_in(request):
    public, secret = zmq.curve_keypair()
    keeper = ZapHandler.__new__(ZapHandler)
    keeper._keys = CurveKeys(public, secret, {"b": zmq.curve_keypair()[0]})
    answer = keeper._answer(request)
    assert answer[2] == b"400" and len(answer) == 6


def test_private_keys_are_private_and_are_never_replaced(keyring):
    assert {path.stat().st_mode & 0o777 for path in keyring.glob("*.key")} == {0o600}
    before = {path: path.read_bytes() for path in keyring.iterdir()}
    assert curve.make(keyring, ["a", "b", "d"]) == ["d"]
    assert all(path.read_bytes() == text for path, text in before.items())
    assert "secret" not in repr(curve.read(keyring, "a", ["b"]))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda keys: (keys / "b.pub").unlink(), r"b\.pub cannot be read: no such file.*parse-agent keys"),
        (lambda keys: (keys / "b.pub").write_text("short"), r"b\.pub cannot be read: it holds no key"),
        (lambda keys: (keys / "b.pub").write_bytes(b"\xff" * 40), r"b\.pub cannot be read: it holds no key"),
        (lambda keys: (keys / "a.key").chmod(0o644), r"a\.key can be read by others: chmod 600"),
        (lambda keys: (keys / "a.pub").write_bytes((keys / "b.pub").read_bytes()), r"are no pair"),
    ],
    ids=["missing", "short", "no text", "open to all", "no pair"],
)
def test_a_keyring_that_is_no_good_is_refused_in_one_sentence(keyring, spoil, says):
    spoil(keyring)
    with pytest.raises(ConfigError, match=says):
        curve.read(keyring, "a", ["b"])
