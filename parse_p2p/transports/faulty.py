"""Any transport, with the faults of a run file done to what is sent over it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from types import TracebackType
from typing import Self

from parse_p2p.core.types import PeerId
from parse_p2p.transports.base import Arrival, Plane, Transport
from parse_p2p.wire.faults.base import Delivery, DrawnFault, Envelope, Fault, draw_faults
from parse_p2p.wire.framing import Frames, unpack

HELD = 256  # messages held back at a time; beyond it they go at once

Link = tuple[PeerId, Plane]


class FaultyTransport:
    """Wraps the transport of the agent ``me``.

    Until the first ``begin`` nothing is hurt: agents must meet before anything can come between them. A message
    belongs to the round in its header, a heartbeat to the round that was begun last. ``counts`` says how many
    messages each kind of fault has struck, ``tell`` is called with it at the end, and ``drain`` is how many seconds
    messages that are held back keep the transport open.
    """

    def __init__(
        self,
        inner: Transport,
        me: PeerId,
        faults: Sequence[Fault],
        seed: int,
        drain: float,
        tell: Callable[[Counter[str]], None] = lambda counts: None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._inner = inner
        self._me = me
        self._faults = faults
        self._seed = seed
        self._drain = drain
        self._tell = tell
        self._round: int | None = None
        self._numbers: dict[Link, tuple[int, int]] = {}
        self._held: set[asyncio.Task[None]] = set()
        self._behind: dict[Link, tuple[asyncio.Task[None], list[Frames]]] = {}

    @property
    def on_disconnect(self) -> Callable[[PeerId], None]:
        return self._inner.on_disconnect

    @on_disconnect.setter
    def on_disconnect(self, callback: Callable[[PeerId], None]) -> None:
        self._inner.on_disconnect = callback

    @property
    def on_rejected(self) -> Callable[[], None]:
        return self._inner.on_rejected

    @on_rejected.setter
    def on_rejected(self, callback: Callable[[], None]) -> None:
        self._inner.on_rejected = callback

    def begin(self, round: int) -> None:
        """The agent begins a round."""
        self._round = round

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._held and kind is None:
            await asyncio.wait(self._held, timeout=self._drain)
        for task in self._held:
            task.cancel()
        await asyncio.gather(*self._held, return_exceptions=True)
        self.tell()
        await self._inner.__aexit__(kind, error, trace)

    def tell(self) -> None:
        """Say what was done since the last time."""
        self._tell(self.counts)
        self.counts = Counter()

    async def trouble(self, peer: PeerId) -> str:
        return await self._inner.trouble(peer)

    def arrivals(self) -> AsyncIterator[Arrival]:
        return self._inner.arrivals()

    async def send(self, to: PeerId, frames: Frames, plane: Plane) -> None:
        link = to, plane
        delivery = Delivery(frames, overtakes=link in self._behind)
        for fault, rng in self._draw_faults(link, frames):
            if (changed := fault.apply(delivery, rng)) is not None:
                delivery = changed
                self.counts[fault.kind] += 1
            if not delivery.copies:
                return
        room = len(self._held) < HELD
        for _ in range(delivery.copies):
            if delivery.delay and room:
                self._hold(self._go_late(link, delivery.frames, delivery.delay))
            elif delivery.behind and room:
                self._step_aside(link, delivery.frames, delivery.behind)
            else:
                await self._go(link, delivery.frames)

    def _draw_faults(self, link: Link, frames: Frames) -> list[DrawnFault]:
        if self._round is None:
            return []
        to, plane = link
        round = unpack(frames)[0].round if plane == Plane.DATA else self._round
        last, number = self._numbers.get(link, (round, -1))
        number = number + 1 if last == round else 0
        self._numbers[link] = round, number
        return draw_faults(self._faults, self._seed, Envelope(self._me, to, round, plane.name.lower(), number))

    async def _go(self, link: Link, frames: Frames) -> None:
        await self._inner.send(link[0], frames, link[1])
        if link in self._behind:
            timer, waiting = self._behind.pop(link)
            timer.cancel()
            for overtaken in waiting:
                await self._inner.send(link[0], overtaken, link[1])

    async def _go_late(self, link: Link, frames: Frames, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._inner.send(link[0], frames, link[1])

    def _step_aside(self, link: Link, frames: Frames, seconds: float) -> None:
        if link not in self._behind:
            self._behind[link] = self._hold(self._go_alone(link, seconds)), []
        self._behind[link][1].append(frames)

    async def _go_alone(self, link: Link, seconds: float) -> None:
        await asyncio.sleep(seconds)
        for frames in self._behind.pop(link)[1]:
            await self._inner.send(link[0], frames, link[1])

    def _hold(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._held.add(task)
        task.add_done_callback(self._held.discard)
        return task
