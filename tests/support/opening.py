"""Transports of every kind, opened for a few agents in one event loop, and what tests do with them."""

import asyncio
import socket
from contextlib import ExitStack, aclosing

from parse_p2p.transports.base import Plane
from parse_p2p.transports.memory import MemoryNetwork, MemoryTransport
from parse_p2p.transports.zmq import ZmqTransport

DATA, CONTROL = Plane.DATA, Plane.CONTROL
GUARD = 60  # seconds after which a test has failed


def in_memory(folder):
    post = MemoryNetwork()
    return lambda me, at=None: MemoryTransport(me, post)


class OverSockets:
    """Opens the agents a and b; c is never there."""

    def __init__(self, address):
        self.addresses = {name: tuple(address(name, plane) for plane in Plane) for name in ("a", "b", "c", "other")}

    def __call__(self, me, at=None):
        """``at`` is another address to listen at."""
        known = {peer: self.addresses[peer] for peer in "abc"} | {me: self.addresses[at or me]}
        return ZmqTransport(me, known, drain=GUARD)


def over_ipc(folder):
    return OverSockets(lambda name, plane: f"ipc://{folder}/{name}{plane:d}")


def over_tcp(folder):
    with ExitStack() as held:

        def address(name, plane):
            free = held.enter_context(socket.socket())  # held until all are found, so that no two are the same
            free.bind(("127.0.0.1", 0))
            return f"tcp://127.0.0.1:{free.getsockname()[1]}"

        return OverSockets(address)


SOCKETS = {"ipc": over_ipc, "tcp": over_tcp}
TRANSPORTS = {"memory": in_memory} | SOCKETS


def run(scenario):
    async def guarded():
        async with asyncio.timeout(GUARD):
            return await scenario

    return asyncio.run(guarded())


async def take(transport, count, wanted=lambda plane, frames: True):
    """The next so many arrivals that are wanted, as (sender, plane, frames as bytes)."""
    found = []
    async with aclosing(transport.arrivals()) as arrivals:
        async for sender, plane, frames in arrivals:
            if wanted(plane, frames):
                found.append((sender, plane, [bytes(frame) for frame in frames]))
            if len(found) == count:
                return found


async def until_heard(sender, receiver, to, frames=(b"hello",)):
    """Repeat a control message, as heartbeats do, until one comes through: what came.

    Repetitions of an earlier one, which may still be on their way, are passed over.
    """

    async def repeat():
        while True:
            await sender.send(to, frames, CONTROL)
            await asyncio.sleep(0.02)

    repeating = asyncio.create_task(repeat())
    try:

        def wanted(plane, came):
            return plane == CONTROL and list(map(bytes, came)) == list(frames)

        [first] = await take(receiver, 1, wanted)
        return first
    finally:
        repeating.cancel()
        await asyncio.gather(repeating, return_exceptions=True)


async def send_all(transport, to, messages, plane=DATA):
    for frames in messages:
        await transport.send(to, frames, plane)


def numbered(count, size=1):
    return [[b"%d" % i, bytes(size)] for i in range(count)]


async def left_after_sending(opened):
    messages = numbered(50, size=100_000)
    async with opened("b") as b:
        async with opened("a") as a:
            await send_all(a, "b", messages)
        assert await take(b, 50) == [("a", DATA, frames) for frames in messages]
