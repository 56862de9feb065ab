"""How a running agent learns where its neighbours listen.

Who is a neighbour follows from the run file; where each of them listens may stand there too, or be found while the
agents run. A finder says of its own agent where it listens, and tells the transport of every neighbour it finds
(``ZmqTransport.connect``), again whenever one has moved.
"""

from types import TracebackType
from typing import Annotated, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field

from parse_p2p.directory import Card

HOST = r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:.]{2,45})$"
"""A host's name or address; one of IPv6 without brackets."""


class FileOptions(BaseModel):
    """Every address stands in the run file, or is a socket of this host."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["file"] = "file"


class MqttOptions(BaseModel):
    """Agents find each other through an MQTT broker."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["mqtt"]
    broker: str = Field(description="mqtt://[user@]host[:1883], or mqtts:// for TLS; a password is none of the file's")
    bind: str = Field("127.0.0.1", pattern=HOST, description="IP address of an agent that the file gives no address")
    advertise: str | None = Field(None, pattern=HOST, description="host by which others reach it; else what it bound")


DiscoveryOptions = Annotated[FileOptions | MqttOptions, Field(discriminator="kind")]


class Finder(Protocol):
    """Used inside ``async with``, and that inside the transport's: it needs the ports that were bound."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def announce(self, card: Card) -> None:
        """Say that I am here, and look for my neighbours from now on. Raises JoinTimeout if there is no way to."""
        ...


class FromFile:
    """Nothing to find and nobody to tell."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    async def announce(self, card: Card) -> None:
        pass
