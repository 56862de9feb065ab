"""The way to one neighbour on one plane: the link that I opened to it, or the one that it opened to me.

Where both can dial each other there are two links and each sends along its own. Where only one can, behind NAT or a
firewall, both use the one that there is: messages go back along it by the routing id under which the other's came.
Under CURVE that id is known from authenticated messages alone; without it, it is the name that the other gave itself.
"""

import asyncio
import contextlib
import os
import re
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import zmq
import zmq.asyncio
from zmq.utils.monitor import recv_monitor_message

from parse_p2p.transports.base import Address
from parse_p2p.wire.framing import Frames

GRACE = 2.0  # seconds for my own link to come up before messages go along the other's
PAUSES = (0.001, 0.02)  # seconds until a full queue is tried again: at first, at most
PROBE = 2.0  # seconds for somebody to answer
RETRY_AFTER_DENIAL = 1.0  # seconds after one was not let in
GREETING = b""  # what a link says when it is up: here is a way back
OPENED = zmq.EVENT_HANDSHAKE_SUCCEEDED
GONE = zmq.EVENT_DISCONNECTED
DENIED = zmq.EVENT_HANDSHAKE_FAILED_AUTH
GARBLED = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
MAPPED = re.compile(r"\[::ffff:([0-9.]+)\]")  # an address of IPv4 as a socket of IPv6 has it


class Link:
    """``dealer`` dials the peer, ``router`` takes what dials me. ``address`` is None while it is not known where."""

    def __init__(self, dealer: zmq.asyncio.Socket, router: zmq.asyncio.Socket) -> None:
        self.up = False  # the link that I opened
        self.denied = False  # the peer did not let me in when I dialled it last
        self.called = False  # the peer ever opened one to me
        self._dealer = dealer
        self._monitor = dealer.get_monitor_socket(OPENED | GONE | DENIED | GARBLED)
        self._router = router
        self._way: bytes | None = None  # of the link that the peer opened
        self._past: bytes | None = None  # the one before: messages still under way say nothing of where the peer is
        self._descriptor = -1  # of that link
        self._back = False  # messages go along it
        self._news = asyncio.Event()
        self._down_since = self._dialled = time.monotonic()
        self.address: str | None = None
        self._moved: str | None = None  # from there: for a moment ZeroMQ may still tell of a link to it

    def dial(self, address: str | None) -> None:
        """The peer listens here from now on. Raises ZMQError if that is no address."""
        address = None if address is None else plain(address)
        before, self.address, self.up = self.address, address, False
        if before != address:  # it moved, or is found
            self._moved, self.denied, self._back = before, False, False
            self._down_since = self._dialled = time.monotonic()
        if before is not None:
            with contextlib.suppress(zmq.ZMQError):  # it was no address
                self._dealer.disconnect(before)
        if address is not None:
            self._dealer.connect(address)
        self._news.set()

    async def watch(self, on_gone: Callable[[], None]) -> None:
        """Follow what becomes of the link that I open, for as long as it lasts."""
        while True:
            event = await self._event()
            if event == OPENED:
                await self._opened()
            elif event is not None:
                self._broke(event)
            if event == GONE:
                on_gone()
            elif event == DENIED:
                await asyncio.sleep(RETRY_AFTER_DENIAL)  # ZeroMQ never would, and my key may be known there by then
                self.dial(self.address)

    async def _event(self) -> int | None:
        """What becomes of the link next; None where that was one to where the peer is no more."""
        message = await recv_monitor_message(self._monitor)
        just_now = time.monotonic() - self._dialled < GRACE
        return None if just_now and plain(message["endpoint"].decode()) == self._moved else message["event"]

    async def _opened(self) -> None:
        """My link is up: say so, so that the peer knows a way back."""
        self.up, self.denied = True, False
        self._news.set()
        for _ in range(10):  # the socket may be a moment behind the news of it
            with contextlib.suppress(zmq.Again):
                await self._dealer.send(GREETING, flags=zmq.DONTWAIT)
                return
            await asyncio.sleep(PAUSES[0])

    def _broke(self, event: int) -> None:
        """My link is gone, or did not come up."""
        if self.up:
            self._down_since = time.monotonic()
        self.up, self.denied = False, event == DENIED
        self._news.set()

    async def close(self, drain: float) -> None:
        """What waits for a peer that is there may go out for ``drain`` seconds; one that has left holds up nobody."""
        while await self._monitor.poll(0):
            if (event := await self._event()) is not None:
                self.up = event == OPENED
        self._monitor.close(0)
        self._dealer.close(int(1000 * drain) if self.up else 0)

    def came(self, way: bytes, frame: Any) -> None:
        """A message of the peer came along a link that it opened."""
        self.called = True
        if way != self._way:
            if way == self._past:
                return
            self._way, self._past = way, self._way
            self._news.set()
        with contextlib.suppress(zmq.ZMQError):  # links of an old protocol do not say
            self._descriptor = frame.get(zmq.SRCFD)

    def left(self, descriptor: int) -> bool:
        """A link that was opened to me broke, known by its file descriptor: whether it was the peer's."""
        if mine := descriptor == self._descriptor:
            self._lose()
        return mine

    def _lose(self) -> None:
        # messages of an earlier link may have been read after that of a later one
        self._way, self._past, self._descriptor = self._past, None, -1
        self._back = self._back and self._way is not None

    async def carry(self, frames: Frames) -> None:
        """Hand over a message; waits until there is a way, and room on it."""
        pause = PAUSES[0]
        while not await self.give(frames):
            if self._reaches:
                await asyncio.sleep(pause)
                pause = min(2 * pause, PAUSES[1])
            else:
                self._news.clear()
                with contextlib.suppress(TimeoutError):  # not wait_for: it may swallow a cancellation
                    async with asyncio.timeout(GRACE):
                        await self._news.wait()

    async def give(self, frames: Frames) -> bool:
        """Hand over a message without waiting; whether there was a way, and room on it.

        Whichever link was chosen is kept for as long as it holds, so that messages stay in order.
        """
        while self._back and self._way is not None:
            try:
                return await _sent(self._router, [self._way, *frames])
            except zmq.ZMQError:  # it is there no more
                self._lose()
        if self.up:
            return await _sent(self._dealer, list(frames))
        if self._way is not None and self._failures:
            self._back = True
            return await self.give(frames)
        return False

    @property
    def _failures(self) -> bool:
        """Whether it is no use to wait for my own link."""
        return self.address is None or time.monotonic() - self._down_since > GRACE

    @property
    def _reaches(self) -> bool:
        return self.up or self._way is not None


async def _sent(socket: zmq.asyncio.Socket, frames: list[Any]) -> bool:
    """Whether there was room. Raises ZMQError where a router knows no such way."""
    try:
        await socket.send_multipart(frames, flags=zmq.DONTWAIT, copy=False)
    except zmq.Again:
        return False
    return True


def plain(endpoint: str) -> str:
    """As people write it."""
    return MAPPED.sub(r"\1", endpoint)


async def probe(address: str) -> str:
    """What keeps a plain connection from being opened; empty if somebody is there."""
    kind, _, rest = address.partition("://")
    host, _, port = rest.rpartition(":")
    try:
        async with asyncio.timeout(PROBE):
            if kind == "ipc":
                _, writer = await asyncio.open_unix_connection(rest)
            else:
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        writer.close()
    except TimeoutError:
        return "no answer, as where a firewall drops what comes"
    except (socket.gaierror, UnicodeError):
        return f"the name {host} is not known here"
    except OSError as error:
        return os.strerror(error.errno).lower() if error.errno else str(error).lower()
    return ""


async def view(me: str, peer: str, mine: Address | None, links: Sequence[Link]) -> str:
    """Both sides of why nothing came: what dialling the peer says, and whether it dialled me."""
    link = next((link for link in links if not link.up), links[0])
    refused = "" if link.address is None or link.up or link.denied else await probe(link.address)
    if link.address is None:
        there = f"{me} has been told no address of {peer}"
    elif link.up:
        there = f"{me} has a link to {link.address}, over which nothing came"
    elif refused:
        there = f"{me} cannot reach {link.address} ({refused})"
    else:
        known = f"it does not know the key of {me}"
        why = known if link.denied else "the handshake fails, as with another program or other keys"
        there = f"somebody answers at {link.address}, but {why}"
    if mine is None:
        return f"{there}, and {me} only dials out"
    called = "has called" if any(link.called for link in links) else "has not called"
    return f"{there}, and {peer} {called} at {' or '.join(mine)}"
