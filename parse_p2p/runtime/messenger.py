"""An agent's messages: what goes out, what comes in, and what is refused.

Each neighbour has an outbox of its own, so that a slow reader holds up nobody else. Whatever comes is looked at
before anything is made of it; a peer that sends too much that cannot be read is not listened to for a while.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

from pydantic import BaseModel, ConfigDict, Field

from parse_p2p.core import events
from parse_p2p.core.errors import MalformedFrame, WireError, WrongRun
from parse_p2p.core.event_log import EventLog, Ledger
from parse_p2p.core.message import Fact, Message
from parse_p2p.core.peer_info import Card
from parse_p2p.core.types import PeerId
from parse_p2p.transports.base import Plane, Transport
from parse_p2p.wire.codecs import raw
from parse_p2p.wire.codecs.base import Codec, suited
from parse_p2p.wire.framing import Assembler, Frames, Header, pack, unpack

GOSSIP = "gossip"  # the topic of control messages by which agents find each other
COMPLAINTS = 10  # lines in the log about one peer and one kind of bad message; the rest are counted
UNKNOWN_PEER = PeerId("an unknown peer")
OUTBOX = 8  # messages waiting for one peer before the oldest is given up


class Limits(BaseModel):
    """How many unreadable messages are borne from one peer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    refused: int = Field(100, ge=1, description="refused messages within limits.window until a peer is blocked")
    window: float = Field(10.0, gt=0, description="seconds")
    shut: float = Field(30.0, gt=0, description="seconds for which nothing of a peer that is blocked is read")


Hear = Callable[[PeerId, Card], Awaitable[None]]
Overhear = Callable[[PeerId, Mapping[str, Fact]], Awaitable[None]]
"""Sender and what it gossips; raises WireError for what no honest peer would say."""
Deliver = Callable[[PeerId, int, str, Message, bool], None]
"""Sender, round, topic and what came; raises WireError for what an honest peer could not have sent."""


class Messenger:
    """``round`` is the agent's present one, for the log. ``members`` may gossip, without being neighbours."""

    def __init__(self, me: PeerId, run: str, neighbours: Iterable[PeerId], transport: Transport, codec: Codec,
                 limits: Limits, log: EventLog, members: Collection[PeerId] = ()) -> None:  # fmt: skip
        self.me = me
        self.neighbours = frozenset(neighbours)
        self._speakers = self.neighbours | frozenset(members)
        self.round = 0
        self.ledger = Ledger()
        self.refusals: Counter[tuple[PeerId, str]] = Counter()
        self.of_other_runs: dict[PeerId, str] = {}
        """What neighbours with another run file say of its keys, see ``RunKeys``."""
        self._run = run
        self._transport = transport
        self._codec = codec
        self._limits = limits
        self._log = log
        self._assembler = Assembler({c.name: c for c in (codec, raw.CODEC)}.values())
        self._outboxes: dict[PeerId, asyncio.Queue[list[Frames]]] = {p: asyncio.Queue(OUTBOX) for p in self.neighbours}
        self._lately: dict[PeerId, deque[float]] = {p: deque(maxlen=limits.refused) for p in self._speakers}
        self._shut: dict[PeerId, float] = {}  # until when

    # out

    def post(self, peer: PeerId, round: int, topic: str, message: Message, newest: bool = False) -> None:
        """Queue a message for a neighbour; ``newest``: it serves in any round there."""
        box = self._outboxes[peer]
        if box.full():  # this far behind it is as good as lost
            self.complain(peer, "slow", f"it does not read, and what waited for it is given up: {OUTBOX} messages")
            self.empty(peer)
        box.put_nowait(pack(Header(self._run, self.me, round, topic, newest=newest), message, self._codec))
        for name, tensor in message.tensors.items():
            self.ledger.post(peer, name, suited(self._codec, tensor).length(tensor.numel()))

    def empty(self, peer: PeerId) -> None:
        """Throw away what waits for a peer."""
        while not self._outboxes[peer].empty():
            self._outboxes[peer].get_nowait()
            self._outboxes[peer].task_done()

    async def say(self, peer: PeerId, card: Card) -> None:
        await self._tell(peer, "card", card.facts())

    async def trouble(self, peer: PeerId) -> str:
        """Why nothing comes from a peer, where the transport can tell."""
        return await self._transport.trouble(peer)

    async def gossip(self, peer: PeerId, facts: Mapping[str, Fact]) -> None:
        """To a neighbour, or to one that the transport visits."""
        await self._tell(peer, GOSSIP, facts)

    async def _tell(self, peer: PeerId, topic: str, facts: Mapping[str, Fact]) -> None:
        [frames] = pack(Header(self._run, self.me, 0, topic), Message(meta=facts), raw.CODEC)
        await self._transport.send(peer, frames, Plane.CONTROL)
        self.ledger.wire_out += sum(map(len, frames))

    async def deliver(self, peer: PeerId) -> None:
        """Carry a peer's messages, for ever."""
        box = self._outboxes[peer]
        while True:
            for frames in await box.get():
                await self._transport.send(peer, frames, Plane.DATA)
                self.ledger.wire_out += sum(map(len, frames))
            box.task_done()

    async def drain(self, peers: Iterable[PeerId]) -> None:
        """Wait until the outboxes of these peers are empty."""
        await asyncio.gather(*(self._outboxes[peer].join() for peer in peers))

    # in

    async def listen(self, hear: Hear, overhear: Overhear, deliver: Deliver) -> None:
        """Take in what comes, for ever."""
        async for sender, plane, frames in self._transport.arrivals():
            self.ledger.wire_in += sum(map(len, frames))
            if self._shut.get(sender, 0.0) > time.monotonic():
                self.refusals[sender, "blocked"] += 1
                continue
            try:
                await self._take(sender, plane, frames, hear, overhear, deliver)
            except WrongRun as error:
                self.complain(sender, "wrong run", str(error))
            except WireError as error:
                self.complain(sender, "malformed", str(error))
                self._count(sender)

    def forget(self, round: int) -> None:
        """Throw away the parts of messages of earlier rounds."""
        self._assembler.forget(round)

    def complain(self, peer: PeerId, kind: str, why: str) -> None:
        """Count what is wrong with a peer or its messages, and say so in the log."""
        if peer not in self._speakers:
            peer = UNKNOWN_PEER  # who may come under any number of names
        self.refusals[peer, kind] += 1
        if self.refusals[peer, kind] <= COMPLAINTS:
            self._log.write(events.Refused(round=self.round, peer=peer, kind=kind, why=why))

    def rejected(self) -> None:
        """Somebody connected who does not speak our language, has no key, or says nothing."""
        self.refusals[UNKNOWN_PEER, "handshake"] += 1
        if self.refusals[UNKNOWN_PEER, "handshake"] <= COMPLAINTS:
            self._log.write(events.HandshakeFailed(round=self.round))

    async def _take(self, sender: PeerId, plane: Plane, frames: Frames, hear: Hear, overhear: Overhear,
                    deliver: Deliver) -> None:  # fmt: skip
        header, buffers = unpack(frames)
        if header.run != self._run:
            if sender in self.neighbours and isinstance(said := header.meta.get("keys"), str):
                self.of_other_runs[sender] = said
            raise WrongRun(f"a message of the run {header.run!r}, not {self._run!r}")
        gossips = plane == Plane.CONTROL and header.topic == GOSSIP
        if header.sender != sender or sender not in (self._speakers if gossips else self.neighbours):
            raise MalformedFrame(f"{sender!r} is no neighbour of mine or speaks for {header.sender!r}")
        if gossips:
            await overhear(sender, header.meta)
        elif plane == Plane.CONTROL:
            await hear(sender, Card.read(header.meta))
        elif (message := self._assembler.add(header, buffers)) is not None:
            deliver(sender, header.round, header.topic, message, header.newest)

    def _count(self, sender: PeerId) -> None:
        """Block one that sends refused messages faster than the limit; an unknown peer's are never read anyway."""
        if sender not in self._speakers:
            return
        lately, now = self._lately[sender], time.monotonic()
        lately.append(now)
        if len(lately) == self._limits.refused and now - lately[0] <= self._limits.window:
            self._shut[sender] = now + self._limits.shut
            lately.clear()
            self._log.write(events.Blocked(round=self.round, peer=sender, seconds=self._limits.shut))
