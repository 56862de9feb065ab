"""Messages inside one event loop: the real runtime without sockets, for tests and for many agents in one process.

Buffers are handed over, not copied. All transports of a run share a ``MemoryNetwork``; its ``lose``
is a place to script faults.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Self

from parse_p2p.core.types import PeerId
from parse_p2p.transports.base import Arrival, Plane, ignore
from parse_p2p.wire.framing import Frames


class MemoryNetwork:
    """The mailboxes of all agents; ``lose(sender, receiver, plane)`` says which messages vanish."""

    def __init__(self, lose: Callable[[PeerId, PeerId, Plane], bool] = lambda sender, receiver, plane: False) -> None:
        self.boxes: dict[PeerId, asyncio.Queue[Arrival]] = {}
        self.lose = lose


class MemoryTransport:
    def __init__(self, me: PeerId, network: MemoryNetwork) -> None:
        self._me = me
        self._network = network
        self.on_disconnect: Callable[[PeerId], None] = ignore
        self.on_rejected: Callable[[], None] = ignore

    async def __aenter__(self) -> Self:
        self._network.boxes[self._me] = asyncio.Queue()
        return self

    async def __aexit__(self, *error: object) -> None:
        self._network.boxes.pop(self._me, None)

    async def send(self, to: PeerId, frames: Frames, plane: Plane) -> None:
        while plane == Plane.DATA and to not in self._network.boxes:
            await asyncio.sleep(0.01)
        if to in self._network.boxes and not self._network.lose(self._me, to, plane):
            self._network.boxes[to].put_nowait((self._me, plane, frames))

    async def trouble(self, peer: PeerId) -> str:
        return ""

    async def arrivals(self) -> AsyncIterator[Arrival]:
        box = self._network.boxes[self._me]
        while True:
            yield await box.get()
