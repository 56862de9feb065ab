"""Neighbours found by gossip (``gossiper.py``), from one contact whose address all agents know, or a few.

Who is in the run and who is whose neighbour follows from the run file, and so does what each agent begins with: a
message of any other, and a descriptor that says otherwise, are refused. What is found is where everybody listens.
Gossip goes as control messages between any two agents of the run; a neighbour is dialled when its address is first
heard of, and from the moment on at which it has spoken for itself nobody else can say where it is.
"""

import asyncio
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, field_validator

from parse_p2p.core import peer_info
from parse_p2p.core.errors import ConfigError, JoinTimeout, MalformedFrame, WrongRun
from parse_p2p.core.message import Fact
from parse_p2p.core.types import PeerId
from parse_p2p.discovery.addresses import ENDPOINT, agent_address, reached
from parse_p2p.discovery.base import FoundOptions, Send, Site
from parse_p2p.discovery.gossip.gossiper import Gossiper
from parse_p2p.discovery.gossip.messages import GossipMessage, PeerDescriptor, label, read, write

FIRST = 0.1  # seconds to the next tick at the start, and when a neighbour was found
SLOWER = 1.5  # times as long to each tick after it, up to a heartbeat
CALM = 2  # heartbeats between two ticks when all neighbours are found
RECALL = 1  # ticks until the contacts are asked again: one that was restarted knows nobody

_ENDPOINT = re.compile(ENDPOINT)


class GossipDiscovery:
    """Finds an agent's neighbours. ``descriptors`` are those of all agents of the run, but for their addresses."""

    def __init__(self, site: Site, descriptors: Mapping[PeerId, PeerDescriptor]) -> None:
        self.me = site.me
        self.members = frozenset(descriptors) - {site.me}
        self._site = site
        self._descriptors = descriptors
        self._gossiper: Gossiper | None = None  # until it is known where I listen
        self._send: Send | None = None  # until I am announced
        self._heard = asyncio.Event()
        self._news = False
        self._ticking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Raises ConfigError if nobody could dial me, or my card holds more than gossip can tell."""
        mine, listens = self._site.contacts.get(self.me), self._site.transport.endpoints
        if mine is None and listens is not None:
            mine = reached(self.me, listens, self._site.host)
        descriptor = replace(self._descriptors[self.me], addresses=mine or ())
        try:
            self._check(read(write(GossipMessage((descriptor,)))).descriptors[0])
        except MalformedFrame as error:
            raise ConfigError(f"gossip cannot tell of {self.me}, {error}: find each other in another way") from None
        known = [PeerDescriptor(peer, address) for peer, address in self._site.contacts.items()]
        self._gossiper = Gossiper(descriptor, known, self._site.seed, self._site.neighbours, RECALL)
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
            with suppress(asyncio.CancelledError):
                await self._ticking

    async def announce(self, descriptor: peer_info.Card, send: Send) -> None:
        """Raises JoinTimeout if no contact answers in time one that comes for the first time and is no contact."""
        self._send = send
        self._ticking = asyncio.create_task(self._tick())
        if self.me in self._site.contacts:
            return
        try:
            async with asyncio.timeout(self._site.clocks.join):
                await self._heard.wait()
        except TimeoutError:
            if self._site.returning:
                return  # all may have ended while it was away: it goes on by itself
            where = ", ".join(f"{peer} at {data}" for peer, (data, _) in self._site.contacts.items())
            raise JoinTimeout(
                f"no contact of {self.me} answered within {self._site.clocks.join:g} s ({where}): start it, or correct "
                "discovery.contacts"
            ) from None

    async def hear(self, sender: PeerId, facts: Mapping[str, Fact]) -> None:
        """Raises MalformedFrame, and WrongRun for an agent with other modalities or slices than this run gives it."""
        message = read(facts)
        for descriptor in message.descriptors:
            self._check(descriptor)
        if self._gossiper is None or self._send is None:
            return
        lacked = sender in self._gossiper.wanted
        answers = self._gossiper.receive(sender, message)
        self._dial(sender, message.descriptors[0].addresses)
        self._news |= lacked
        self._heard.set()
        await self._post(answers)

    def _check(self, descriptor: PeerDescriptor) -> None:
        if descriptor.id not in self._descriptors:
            raise MalformedFrame(f"{descriptor.id} is no agent of this run")
        if len(descriptor.addresses) not in (0, 2) or not all(map(_ENDPOINT.fullmatch, descriptor.addresses)):
            raise MalformedFrame(f"the card of {descriptor.id} has neither two endpoints that can be dialled nor none")
        if not replace(self._descriptors[descriptor.id], addresses=descriptor.addresses).alike(descriptor):
            raise WrongRun(f"{descriptor.id} senses or holds other than this run gives it: is it the same version?")

    async def _tick(self) -> None:
        assert self._gossiper is not None
        pause = FIRST
        while True:
            await self._post(self._gossiper.tick())
            await asyncio.sleep(pause)
            longest = self._site.clocks.heartbeat * (1 if self._gossiper.wanted else CALM)
            pause = FIRST if self._news else min(SLOWER * pause, longest)
            self._news = False

    async def _post(self, messages: Mapping[PeerId, GossipMessage]) -> None:
        assert self._gossiper is not None and self._send is not None
        for peer, message in messages.items():
            if peer in self._gossiper.wanted or peer not in self._site.neighbours:
                self._dial(peer, self._gossiper.addresses(peer))
            await self._send(peer, write(message))

    def _dial(self, peer: PeerId, addresses: tuple[str, ...]) -> None:
        if not addresses:  # it dials me, or the table of peers is full
            return
        data, control = addresses
        if peer in self._site.neighbours:
            self._site.transport.connect(peer, (data, control))
        else:
            self._site.transport.visit(peer, control)


class GossipDiscoveryOptions(FoundOptions):
    """Agents find each other from one contact, or a few, whose addresses all know."""

    contacts: dict[str, Annotated[str, AfterValidator(lambda text: text and agent_address(text))]] = Field(
        min_length=1,
        description="agents that all know: [a0], at their addresses, or {a0: tcp://host:port}",
        json_schema_extra={"type": ["object", "array"], "items": {"type": "string"}, "minItems": 1},
    )

    @field_validator("contacts", mode="before")
    @classmethod
    def _by_name(cls, given: Any) -> Any:
        """A list names agents whose addresses stand elsewhere in the file: here they are empty."""
        return dict.fromkeys(given, "") if isinstance(given, list) and all(isinstance(x, str) for x in given) else given

    def known_addresses(self) -> Mapping[str, str]:
        return self.contacts

    def open(self, site: Site) -> GossipDiscovery:
        descriptors = {
            me: PeerDescriptor(me, (), each.modalities, frozenset(label(*slice) for slice in each.slices.items()))
            for me, each in site.everyone().items()
        }
        return GossipDiscovery(site, descriptors)


DISCOVERY = GossipDiscoveryOptions
