"""ZeroMQ between processes: per plane one ROUTER that listens and one DEALER per neighbour that talks.

Agents that are no neighbours may be visited with control mail, a bounded number at a time.

Each plane has a context, hence an I/O thread, of its own, so that heartbeats pass while a model is on its way.
The options below each answer a trap of ZeroMQ: a ROUTER that ignores a restarted peer (HANDOVER), queues to dead
endpoints (IMMEDIATE), a close that hangs for ever (LINGER), frames without bound (MAXMSGSIZE), a host that vanished
and is never noticed (TCP_KEEPALIVE, TCP_MAXRT), and reconnects that eat a core (RECONNECT_IVL_MAX). ZeroMQ's own
heartbeats are no answer to that: libzmq 4.3 aborts the process when one is due on a link whose other end is gone
and whose mail has not been read (its issue 4364). Who hangs is noticed by the agents' cards.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, Self

import zmq
import zmq.asyncio
from zmq.utils.monitor import recv_monitor_message

from parse_p2p.errors import ConfigError, MalformedFrame
from parse_p2p.framing import CHUNK, MAX_HEADER, MAX_TENSORS, Frames
from parse_p2p.names import PeerId
from parse_p2p.transports.base import Address, Arrival, Plane, ignore
from parse_p2p.transports.curve import Doorkeeper, Guard

QUEUE = 64  # messages; a message is at most a chunk
DENIED = zmq.EVENT_HANDSHAKE_FAILED_AUTH
GARBLED = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
KNOCK_AGAIN = 1.0  # seconds after one was not let in
VISITS = 64  # agents that are no neighbours and are talked to at a time
WAITING = 4  # messages for one of them that is not there
YIELD_EVERY = 8  # receives, or an always-readable socket starves the loop


class ZmqTransport:
    """``addresses`` has one entry for me and one for every neighbour; ``drain`` is in seconds.

    A neighbour's entry may be None: ``connect`` says where it listens once that is known. Mine may end in ``:*`` for
    ports that are free; ``endpoints`` says which they are.

    With a ``guard`` every link is encrypted, only the guard's peers are let in, and the sender of a message is the
    owner of the key it came under. Without one a sender is who it says it is.
    """

    def __init__(
        self, me: PeerId, addresses: Mapping[PeerId, Address | None], drain: float = 5.0, guard: Guard | None = None
    ) -> None:
        mine = addresses[me]
        assert mine is not None, "one must know where to listen"
        self._me = me
        self._mine = mine
        self._addresses = {peer: address for peer, address in addresses.items() if peer != me}
        self._drain = drain
        self._guard = guard
        self._doorkeepers: list[Doorkeeper] = []
        self._contexts: dict[Plane, zmq.asyncio.Context] = {}
        self._routers: dict[Plane, zmq.asyncio.Socket] = {}
        self._dealers: dict[tuple[PeerId, Plane], zmq.asyncio.Socket] = {}
        self._visits: dict[PeerId, tuple[str, zmq.asyncio.Socket]] = {}  # those not visited for longest come first
        self._monitors: list[zmq.asyncio.Socket] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._arrived: asyncio.Queue[Arrival] = asyncio.Queue(maxsize=256)
        self.on_disconnect: Callable[[PeerId], None] = ignore
        self.on_knock: Callable[[], None] = ignore

    async def __aenter__(self) -> Self:
        try:
            for plane in Plane:
                self._open(plane)
        except BaseException:
            await self._close(0)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close(self._drain if kind is None else 0)

    @property
    def endpoints(self) -> Address:
        """Where I listen, from the moment on at which I do."""
        data, control = (self._routers[plane].get_string(zmq.LAST_ENDPOINT) for plane in Plane)
        return data, control

    def connect(self, peer: PeerId, address: Address) -> None:
        """A neighbour listens here from now on. Raises MalformedFrame if that is no address.

        What is on its way to where it was before is lost; what still waits goes to the new place. One that never
        moved, and is dialled again for another's lie, may lose the first message.
        """
        before, self._addresses[peer] = self._addresses[peer], address
        if before == address:
            return
        for plane in Plane:
            dealer = self._dealers[peer, plane]
            if before is not None:
                with contextlib.suppress(zmq.ZMQError):  # it was no address
                    dealer.disconnect(before[plane])
            try:
                dealer.connect(address[plane])
            except zmq.ZMQError:
                raise MalformedFrame(f"{address[plane]!r} is no address") from None

    def visit(self, peer: PeerId, address: str) -> None:
        """One that is no neighbour takes control mail here. Raises MalformedFrame if that is no address.

        Beyond ``VISITS`` at a time the one that was visited longest ago is left.
        """
        before = self._visits.pop(peer, None)
        if before is not None and before[0] == address:
            self._visits[peer] = before  # the last of them now
            return
        if before is not None:
            before[1].close(0)
        elif len(self._visits) >= VISITS:
            self._visits.pop(next(iter(self._visits)))[1].close(0)
        self._visits[peer] = address, self._visitor(peer, address)

    def _visitor(self, peer: PeerId, address: str) -> zmq.asyncio.Socket:
        dealer = self._caller(self._contexts[Plane.CONTROL], peer)
        dealer.set(zmq.SNDHWM, WAITING)
        try:
            dealer.connect(address)
        except zmq.ZMQError:
            dealer.close(0)
            raise MalformedFrame(f"{address!r} is no address") from None
        return dealer

    async def send(self, to: PeerId, frames: Frames, plane: Plane) -> None:
        dealer = self._visits[to][1] if to in self._visits else self._dealers[to, plane]
        if plane == Plane.CONTROL:
            with contextlib.suppress(zmq.Again):
                await dealer.send_multipart(list(frames), flags=zmq.DONTWAIT)
        else:
            await dealer.send_multipart(list(frames), copy=False)

    async def arrivals(self) -> AsyncIterator[Arrival]:
        while True:
            yield await self._arrived.get()

    def _open(self, plane: Plane) -> None:
        context = self._contexts[plane] = zmq.asyncio.Context()
        context.set(zmq.MAX_SOCKETS, 4096)
        if self._guard is not None:  # before anyone can knock
            doorkeeper = Doorkeeper(context, self._guard)
            self._doorkeepers.append(doorkeeper)
            self._spawn(doorkeeper.serve(), f"doorkeeper-{plane.name.lower()}")
        self._routers[plane] = self._listen(context, plane)
        for peer in self._addresses:
            self._dealers[peer, plane] = self._dealer(context, peer, plane)
        self._spawn(self._receive(plane), f"receive-{plane.name.lower()}")

    def _listen(self, context: zmq.asyncio.Context, plane: Plane) -> zmq.asyncio.Socket:
        router = self._socket(context, zmq.ROUTER)
        if self._guard is not None:
            self._guard.as_server(router)
        else:
            router.set(zmq.ROUTER_HANDOVER, 1)
        router.set(zmq.ROUTER_MANDATORY, 1)
        router.set(zmq.MAXMSGSIZE, CHUNK + MAX_HEADER)
        monitor = router.get_monitor_socket(DENIED | GARBLED)
        self._monitors.append(monitor)
        self._spawn(self._hear_knocks(monitor), f"knocks-{plane.name.lower()}")
        address = self._mine[plane]
        try:
            router.bind(address)
        except zmq.ZMQError as error:
            router.close(0)
            raise ConfigError(
                f"agent {self._me} cannot listen on {address}: {error.strerror.lower()}; end the program that has it, "
                "or give another address or base_port"
            ) from None
        return router

    def _dealer(self, context: zmq.asyncio.Context, peer: PeerId, plane: Plane) -> zmq.asyncio.Socket:
        dealer = self._caller(context, peer)
        dealer.set(zmq.IMMEDIATE, 1)
        monitor = dealer.get_monitor_socket(zmq.EVENT_DISCONNECTED | DENIED)
        self._monitors.append(monitor)
        self._spawn(self._watch(peer, plane, monitor), f"watch-{peer}-{plane.name.lower()}")
        if (address := self._addresses[peer]) is not None:
            dealer.connect(address[plane])
        return dealer

    def _caller(self, context: zmq.asyncio.Context, peer: PeerId) -> zmq.asyncio.Socket:
        dealer = self._socket(context, zmq.DEALER)
        if self._guard is not None:
            self._guard.as_client_of(peer, dealer)
        else:
            dealer.set(zmq.ROUTING_ID, self._me.encode())
        return dealer

    def _socket(self, context: zmq.asyncio.Context, kind: int) -> zmq.asyncio.Socket:
        socket: zmq.asyncio.Socket = context.socket(kind)
        socket.set(zmq.LINGER, int(1000 * self._drain))
        socket.set(zmq.SNDHWM, QUEUE)
        socket.set(zmq.RCVHWM, QUEUE)
        socket.set(zmq.TCP_KEEPALIVE, 1)  # for a link on which nothing is on its way; MAXRT for one with mail
        socket.set(zmq.TCP_KEEPALIVE_IDLE, 5)  # seconds
        socket.set(zmq.TCP_KEEPALIVE_INTVL, 2)
        socket.set(zmq.TCP_KEEPALIVE_CNT, 3)
        socket.set(zmq.TCP_MAXRT, 10000)
        socket.set(zmq.RECONNECT_IVL, 100)
        socket.set(zmq.RECONNECT_IVL_MAX, 1000)
        socket.set(zmq.IPV6, 1)
        return socket

    async def _receive(self, plane: Plane) -> None:
        router = self._routers[plane]
        count = 0
        while True:
            sender, *frames = await router.recv_multipart(copy=False)
            count += 1
            if 0 < len(frames) <= MAX_TENSORS + 1:
                await self._arrived.put((self._name(sender, frames), plane, [frame.buffer for frame in frames]))
            if count % YIELD_EVERY == 0:
                await asyncio.sleep(0)

    def _name(self, sender: Any, frames: list[Any]) -> PeerId:
        if self._guard is not None:  # what the doorkeeper made of the key
            return PeerId(frames[0].get("User-Id"))
        return PeerId(sender.bytes.decode(errors="replace"))

    async def _watch(self, peer: PeerId, plane: Plane, monitor: Any) -> None:
        while True:
            event = await recv_monitor_message(monitor)
            if event["event"] == zmq.EVENT_DISCONNECTED:
                if plane == Plane.DATA:
                    self.on_disconnect(peer)
                continue
            await asyncio.sleep(KNOCK_AGAIN)  # ZeroMQ never would, and my key may be known there by then
            if (address := self._addresses[peer]) is not None:
                dealer = self._dealers[peer, plane]
                with contextlib.suppress(zmq.ZMQError):  # it has just been dialled elsewhere
                    dealer.disconnect(address[plane])
                dealer.connect(address[plane])

    async def _hear_knocks(self, monitor: Any) -> None:
        while True:
            await recv_monitor_message(monitor)
            self.on_knock()

    def _spawn(self, work: Any, name: str) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))

    async def _close(self, drain: float) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for monitor in self._monitors:
            monitor.close(0)
        for dealer in self._dealers.values():
            dealer.close(int(1000 * drain))
        for socket in (*(dealer for _, dealer in self._visits.values()), *self._routers.values()):
            socket.close(0)
        for doorkeeper in self._doorkeepers:
            doorkeeper.close()
        # term waits for the last mail, at most the linger time, so it must not hold up the loop
        await asyncio.gather(*(asyncio.to_thread(context.term) for context in self._contexts.values()))
