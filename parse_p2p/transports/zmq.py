"""ZeroMQ between processes: per plane one ROUTER that listens and one DEALER per neighbour that dials it.

Messages go out by the DEALER, and where that reaches nobody by the ROUTER, along the link that the neighbour
opened (see ``link.py``): so an agent takes part that nobody can dial. Agents that are no neighbours may be visited with
control messages, a bounded number at a time.

Each plane has a context, hence an I/O thread, of its own, so that heartbeats pass while a model is on its way.
The options below each answer a trap of ZeroMQ: a ROUTER that ignores a restarted peer (HANDOVER), a close that hangs
for ever (LINGER), frames without bound (MAXMSGSIZE), a host that vanished and is never noticed (TCP_KEEPALIVE,
TCP_MAXRT), and reconnects that eat a core (RECONNECT_IVL_MAX). ZeroMQ's own heartbeats are no answer to that: libzmq
4.3 aborts the process when one is due on a link whose other end is gone and whose messages have not been read (its
issue 4364). Who hangs is noticed by the agents' cards. Nor is IMMEDIATE one to queues for dead endpoints: a DEALER
that has it throws away what came and was not read when its link breaks, and aborts the process if that is half a
message. A monitor tells which links are up.
"""

import asyncio
import contextlib
import errno
import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import zmq
import zmq.asyncio
from zmq.utils.monitor import recv_monitor_message

from parse_p2p.core.errors import ConfigError, MalformedFrame
from parse_p2p.core.types import PeerId
from parse_p2p.transports.base import Address, Arrival, Plane, cannot_listen, ignore
from parse_p2p.transports.curve import CurveKeys, ZapHandler
from parse_p2p.transports.link import DENIED, GARBLED, GONE, GREETING, Link, plain, view
from parse_p2p.wire.framing import CHUNK, MAX_HEADER, MAX_TENSORS, Frames

QUEUE = 64  # messages; a message is at most a chunk
VISITS = 64  # agents that are no neighbours and are talked to at a time
WAITING = 4  # messages for one of them that is not there
YIELD_EVERY = 8  # receives, or an always-readable socket starves the loop


@dataclass(frozen=True)
class Visit:
    """A link to one that is no neighbour, for control messages."""

    address: str
    dealer: zmq.asyncio.Socket
    answers: asyncio.Task[None]

    def end(self) -> None:
        self.answers.cancel()
        self.dealer.close(0)


class ZmqTransport:
    """``addresses`` has one entry for me and one for every neighbour; ``drain`` is in seconds.

    A neighbour's entry may be None: it dials me, or ``connect`` says where it listens once that is known. Mine may end
    in ``:*`` for ports that are free, ``endpoints`` says which they are; with None I dial and nobody dials me.

    With a ``curve_keys`` every link is encrypted, only the guard's peers are let in, and the sender of a message is the
    owner of the key it came under. Without one a sender is who it says it is.
    """

    def __init__(
        self,
        me: PeerId,
        addresses: Mapping[PeerId, Address | None],
        drain: float = 5.0,
        curve_keys: CurveKeys | None = None,
    ) -> None:
        self._me = me
        self._mine = addresses[me]
        self._addresses = {peer: address for peer, address in addresses.items() if peer != me}
        self._drain = drain
        self._keys = curve_keys
        self._zap_handlers: list[ZapHandler] = []
        self._contexts: dict[Plane, zmq.asyncio.Context] = {}
        self._routers: dict[Plane, zmq.asyncio.Socket] = {}
        self._links: dict[tuple[PeerId, Plane], Link] = {}
        self._visits: dict[PeerId, Visit] = {}  # those not visited for longest come first
        self._visitors: dict[PeerId, bytes] = {}  # the ways back to those that are no neighbours, likewise
        self._monitors: list[zmq.asyncio.Socket] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._arrived: asyncio.Queue[Arrival] = asyncio.Queue(maxsize=256)
        self.on_disconnect: Callable[[PeerId], None] = ignore
        self.on_rejected: Callable[[], None] = ignore

    async def __aenter__(self) -> Self:
        try:
            for plane in Plane:
                self._open(plane)
        except BaseException as error:
            await self._close(0)
            if isinstance(error, zmq.ZMQError) and error.errno == errno.EMFILE:
                raise ConfigError(
                    f"agent {self._me} cannot open sockets for {len(self._addresses)} neighbours: they need more files "
                    "than this process may open: raise that limit (ulimit -n)"
                ) from None
            raise
        return self

    async def __aexit__(self, kind: object, *rest: object) -> None:
        await self._close(self._drain if kind is None else 0)

    @property
    def endpoints(self) -> Address | None:
        """Where I listen, from the moment on at which I do; None where nobody dials me."""
        if self._mine is None:
            return None
        data, control = (self._routers[plane].get_string(zmq.LAST_ENDPOINT) for plane in Plane)
        return plain(data), plain(control)

    def connect(self, peer: PeerId, address: Address) -> None:
        """A neighbour listens here from now on. Raises MalformedFrame if that is no address.

        What is on its way to where it was before is lost; what still waits goes to the new place. One that never
        moved, and is dialled again for another's lie, may lose the first message.
        """
        self._addresses[peer] = address
        for plane in Plane:
            link = self._links[peer, plane]
            if link.address == plain(address[plane]):
                continue
            try:
                link.dial(address[plane])
            except zmq.ZMQError:
                raise MalformedFrame(f"{address[plane]!r} is no address") from None

    def visit(self, peer: PeerId, address: str) -> None:
        """One that is no neighbour takes control messages here. Raises MalformedFrame if that is no address.

        Beyond ``VISITS`` at a time the one that was visited longest ago is left.
        """
        before = self._visits.pop(peer, None)
        if before is not None and before.address == address:
            self._visits[peer] = before  # the last of them now
            return
        if before is not None:
            before.end()
        elif len(self._visits) >= VISITS:
            self._visits.pop(next(iter(self._visits))).end()
        self._visits[peer] = self._visit(peer, address)

    def _visit(self, peer: PeerId, address: str) -> "Visit":
        dealer = self._caller(self._contexts[Plane.CONTROL], peer)
        dealer.set(zmq.SNDHWM, WAITING)
        try:
            dealer.connect(address)
        except zmq.ZMQError:
            dealer.close(0)
            raise MalformedFrame(f"{address!r} is no address") from None
        return Visit(address, dealer, asyncio.create_task(self._answers(peer, Plane.CONTROL, dealer)))

    async def send(self, to: PeerId, frames: Frames, plane: Plane) -> None:
        if (to, plane) not in self._links:
            await self._call(to, list(frames))
        elif plane == Plane.CONTROL:
            await self._links[to, plane].give(frames)
        else:
            await self._links[to, plane].carry(frames)

    async def _call(self, to: PeerId, frames: list[Any]) -> None:
        """Control messages for one that is no neighbour: along the link it opened, else where it is visited."""
        with contextlib.suppress(zmq.Again):
            if (way := self._visitors.get(to)) is not None:
                try:
                    await self._routers[Plane.CONTROL].send_multipart([way, *frames], flags=zmq.DONTWAIT)
                    return
                except zmq.Again:
                    return
                except zmq.ZMQError:
                    del self._visitors[to]  # it is there no more
            if (visit := self._visits.get(to)) is not None:
                await visit.dealer.send_multipart(frames, flags=zmq.DONTWAIT)

    async def trouble(self, peer: PeerId) -> str:
        # cards come as control messages
        return await view(self._me, peer, self.endpoints, [self._links[peer, p] for p in (Plane.CONTROL, Plane.DATA)])

    async def arrivals(self) -> AsyncIterator[Arrival]:
        while True:
            yield await self._arrived.get()

    def _open(self, plane: Plane) -> None:
        context = self._contexts[plane] = zmq.asyncio.Context()
        context.set(zmq.MAX_SOCKETS, 4096)
        if self._keys is not None:  # before anyone can connect
            zap_handler = ZapHandler(context, self._keys)
            self._zap_handlers.append(zap_handler)
            self._spawn(zap_handler.serve(), f"doorkeeper-{plane.name.lower()}")
        self._routers[plane] = self._listen(context, plane)
        for peer in self._addresses:
            self._link(context, peer, plane)
        self._spawn(self._receive(plane), f"receive-{plane.name.lower()}")

    def _listen(self, context: zmq.asyncio.Context, plane: Plane) -> zmq.asyncio.Socket:
        router = self._socket(context, zmq.ROUTER)
        if self._keys is not None:
            self._keys.as_server(router)
        else:
            router.set(zmq.ROUTER_HANDOVER, 1)
        router.set(zmq.ROUTER_MANDATORY, 1)
        monitor = router.get_monitor_socket(GONE | DENIED | GARBLED)
        self._monitors.append(monitor)
        self._spawn(self._watch_handshakes(plane, monitor), f"door-{plane.name.lower()}")
        if self._mine is None:
            return router
        address = self._mine[plane]
        try:
            router.bind(address)
        except zmq.ZMQError as error:
            router.close(0)
            raise cannot_listen(self._me, address, error.errno, error.strerror) from None
        return router

    def _link(self, context: zmq.asyncio.Context, peer: PeerId, plane: Plane) -> None:
        dealer = self._caller(context, peer)
        link = self._links[peer, plane] = Link(dealer, self._routers[plane])
        address = self._addresses[peer]
        link.dial(None if address is None else address[plane])
        self._spawn(link.watch(lambda: self._lost(peer, plane)), f"watch-{peer}-{plane.name.lower()}")
        self._spawn(self._answers(peer, plane, dealer), f"answers-{peer}-{plane.name.lower()}")

    def _caller(self, context: zmq.asyncio.Context, peer: PeerId) -> zmq.asyncio.Socket:
        dealer = self._socket(context, zmq.DEALER)
        if self._keys is not None:
            self._keys.as_client_of(peer, dealer)
        else:
            dealer.set(zmq.ROUTING_ID, self._me.encode())
        return dealer

    def _socket(self, context: zmq.asyncio.Context, kind: int) -> zmq.asyncio.Socket:
        socket: zmq.asyncio.Socket = context.socket(kind)
        socket.set(zmq.LINGER, 0)  # of a place that is left nothing stays; who closes says for how long
        socket.set(zmq.SNDHWM, QUEUE)
        socket.set(zmq.RCVHWM, QUEUE)
        socket.set(zmq.MAXMSGSIZE, CHUNK + MAX_HEADER)
        socket.set(zmq.TCP_KEEPALIVE, 1)  # for a link on which nothing is on its way; MAXRT for one with messages
        socket.set(zmq.TCP_KEEPALIVE_IDLE, 5)  # seconds
        socket.set(zmq.TCP_KEEPALIVE_INTVL, 2)
        socket.set(zmq.TCP_KEEPALIVE_CNT, 3)
        socket.set(zmq.TCP_MAXRT, 10000)
        socket.set(zmq.RECONNECT_IVL, 100)
        socket.set(zmq.RECONNECT_IVL_MAX, 1000)
        socket.set(zmq.IPV6, 1)
        return socket

    async def _receive(self, plane: Plane) -> None:
        async for way, *frames in _messages(self._routers[plane]):
            if 0 < len(frames) <= MAX_TENSORS + 1:
                sender = self._name(way, frames)
                self._remember(sender, plane, way.bytes, frames[0])
                await self._take_in(sender, plane, frames)

    async def _answers(self, peer: PeerId, plane: Plane, dealer: zmq.asyncio.Socket) -> None:
        """What comes back along a link that I opened: whoever answers there is the one that I dialled."""
        async for frames in _messages(dealer):
            if len(frames) <= MAX_TENSORS + 1:
                await self._take_in(peer, plane, frames)

    async def _take_in(self, sender: PeerId, plane: Plane, frames: list[Any]) -> None:
        if len(frames) > 1 or len(frames[0].buffer) > len(GREETING):
            await self._arrived.put((sender, plane, [frame.buffer for frame in frames]))

    def _remember(self, sender: PeerId, plane: Plane, way: bytes, frame: Any) -> None:
        """The way back to who has dialled me."""
        if (link := self._links.get((sender, plane))) is not None:
            link.came(way, frame)
        elif plane == Plane.CONTROL:
            self._visitors.pop(sender, None)
            if len(self._visitors) >= VISITS:
                self._visitors.pop(next(iter(self._visitors)))
            self._visitors[sender] = way

    def _name(self, way: Any, frames: list[Any]) -> PeerId:
        if self._keys is not None:  # what the doorkeeper made of the key
            return PeerId(frames[0].get("User-Id"))
        return PeerId(way.bytes.decode(errors="replace"))

    def _lost(self, peer: PeerId, plane: Plane) -> None:
        if plane == Plane.DATA:
            self.on_disconnect(peer)

    async def _watch_handshakes(self, plane: Plane, monitor: Any) -> None:
        """What becomes of links that others open to me."""
        while True:
            event = await recv_monitor_message(monitor)
            if event["event"] != GONE:
                self.on_rejected()
                continue
            for (peer, its), link in self._links.items():
                if its == plane and link.left(event["value"]) and not link.up:
                    self._lost(peer, plane)

    def _spawn(self, work: Any, name: str) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))

    async def _close(self, drain: float) -> None:
        for visit in self._visits.values():
            visit.end()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for link in self._links.values():
            await link.close(drain)
        for monitor in self._monitors:
            monitor.close(0)
        for router in self._routers.values():
            router.close(int(1000 * drain))
        for zap_handler in self._zap_handlers:
            zap_handler.close()
        if not drain:
            for context in self._contexts.values():
                context.destroy(0)  # and what was not opened to the end
        # term waits for the last messages, at most the linger time, so it must not hold up the loop
        await asyncio.gather(*(asyncio.to_thread(context.term) for context in self._contexts.values()))


async def _messages(socket: zmq.asyncio.Socket) -> AsyncIterator[list[Any]]:
    """Whatever comes on a socket, with a turn for the rest of the loop every few messages."""
    for count in itertools.count(1):
        yield await socket.recv_multipart(copy=False)
        if count % YIELD_EVERY == 0:
            await asyncio.sleep(0)
