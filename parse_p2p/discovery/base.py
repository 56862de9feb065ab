"""How a running agent learns where its neighbours listen.

Who is a neighbour follows from the run file; where each of them listens may stand there too, or be found while the
agents run. A finder says of its own agent where it listens, and tells the transport of every neighbour it finds
(``ZmqTransport.connect``), again whenever one has moved.
"""

from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Annotated, Any, Literal, Protocol, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from parse_p2p.core.errors import MalformedFrame
from parse_p2p.core.message import Fact
from parse_p2p.core.peer_info import Card
from parse_p2p.core.types import PeerId
from parse_p2p.discovery.addresses import HOST, agent_address, binding, dialable_host


class StaticOptions(BaseModel):
    """Every address stands in the run file, or is a socket of this host."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["static"] = "static"


class FoundOptions(BaseModel):
    """Where an agent listens whom the others have to find."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bind: Annotated[str, AfterValidator(binding)] = Field(
        "127.0.0.1", description="IP address of an agent that the file gives no address"
    )
    advertise: Annotated[str, AfterValidator(dialable_host)] | None = Field(
        None, pattern=HOST, max_length=253, description="host by which others reach it; else what it bound"
    )


class MqttOptions(FoundOptions):
    """Agents find each other through an MQTT broker."""

    kind: Literal["mqtt"]
    broker: str = Field(description="mqtt://[user@]host[:1883], or mqtts:// for TLS; a password is none of the file's")


class SharedFolderOptions(FoundOptions):
    """Agents find each other by small files in a folder that all of them see."""

    kind: Literal["shared-folder"]
    folder: str | None = Field(None, description="beside this file; by default the run folder's addresses/")


class GossipDiscoveryOptions(FoundOptions):
    """Agents find each other from one contact, or a few, whose places all know."""

    kind: Literal["gossip"]
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


DiscoveryOptions = Annotated[
    StaticOptions | MqttOptions | GossipDiscoveryOptions | SharedFolderOptions, Field(discriminator="kind")
]

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


class WithoutGossip:
    """What finders have in common that gossip with nobody."""

    members: frozenset[PeerId] = frozenset()

    async def hear(self, sender: PeerId, facts: Mapping[str, Fact]) -> None:
        raise MalformedFrame(f"{sender} gossips, which in this run nobody does")
