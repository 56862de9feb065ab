"""How a running agent learns where its neighbours listen.

Who is a neighbour follows from the run file; where each of them listens may stand there too, or be found while the
agents run. A finder says of its own agent where it listens, and tells the transport of every neighbour it finds
(``ZmqTransport.connect``), again whenever one has moved.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Annotated, ClassVar, Protocol, Self

from pydantic import AfterValidator, Field

from parse_p2p.core import plugins
from parse_p2p.core.errors import MalformedFrame
from parse_p2p.core.event_log import EventLog
from parse_p2p.core.message import Fact
from parse_p2p.core.peer_info import Card, Clocks
from parse_p2p.core.plugin_options import ByKind
from parse_p2p.core.types import PeerId
from parse_p2p.discovery.addresses import HOST, binding, dialable_host
from parse_p2p.discovery.advertisement import Profile
from parse_p2p.transports.base import Address
from parse_p2p.transports.zmq import ZmqTransport

Send = Callable[[PeerId, Mapping[str, Fact]], Awaitable[None]]
"""Says something to an agent that the transport knows how to reach; it may be lost."""


class Discovery(Protocol):
    """Used inside ``async with``, and that inside the transport's: it needs the ports that were bound.

    ``members`` are the agents that may gossip with this one, its neighbours or not.
    """

    @property
    def members(self) -> frozenset[PeerId]: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def announce(self, card: Card, send: Send) -> None:
        """Say that I am here, and look for my neighbours from now on. Raises JoinTimeout if there is no way to."""
        ...

    async def hear(self, sender: PeerId, facts: Mapping[str, Fact]) -> None:
        """Take in the gossip of a member. Raises WireError."""
        ...


@dataclass(frozen=True)
class Site:
    """What a discovery may know of the agent it works for, and of its run.

    ``host`` is where others reach the agent, None: at what it bound. ``contacts`` is where those listen of whom the
    options say so (``known_addresses``). ``folder`` is a folder of the run for what agents leave each other, where all
    of them see it. ``returning``: the agent was there before and comes back. ``profile`` makes what it begins with,
    ``everyone`` what the run file says of every agent.
    """

    me: PeerId
    neighbours: Collection[PeerId]
    transport: ZmqTransport
    host: str | None
    contacts: Mapping[PeerId, Address]
    clocks: Clocks
    folder: Path
    log: EventLog
    seed: int
    returning: bool
    profile: Callable[[], Profile]
    everyone: Callable[[], Mapping[PeerId, Profile]]


class DiscoveryOptions(ByKind):
    """How agents learn where the others listen: what the run file's ``discovery`` says.

    A plug-in is a file in this folder whose ``DISCOVERY`` is a class derived from this one, or from FoundOptions where
    agents find out the addresses while they run.
    """

    plugin_kind: ClassVar = plugins.DISCOVERIES

    def open(self, site: Site) -> Discovery:
        """The discovery of one agent."""
        raise NotImplementedError

    def known_addresses(self) -> Mapping[str, str]:
        """Agents that all others know from the start, at ``tcp://host:port``, or empty: at the agent's own address."""
        return {}


class FoundOptions(DiscoveryOptions):
    """Where an agent listens whom the others have to find."""

    bind: Annotated[str, AfterValidator(binding)] = Field(
        "127.0.0.1", description="IP address of an agent that the file gives no address"
    )
    advertise: Annotated[str, AfterValidator(dialable_host)] | None = Field(
        None, pattern=HOST, max_length=253, description="host by which others reach it; else what it bound"
    )


class WithoutGossip:
    """What finders have in common that gossip with nobody; by default there is nothing to open and to close."""

    members: frozenset[PeerId] = frozenset()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    async def hear(self, sender: PeerId, facts: Mapping[str, Fact]) -> None:
        raise MalformedFrame(f"{sender} gossips, which in this run nobody does")
