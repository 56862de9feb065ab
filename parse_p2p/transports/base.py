"""What the runtime asks of a transport, and what it may count on.

Messages come at most once, in order for each pair of agents and plane, without acknowledgement; any may be lost.
There are two planes, so that a heartbeat never waits behind a model: data and control.
"""

import errno
from collections.abc import AsyncIterator, Callable
from enum import IntEnum
from types import TracebackType
from typing import Protocol, Self

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import PeerId
from parse_p2p.wire.framing import Frames


class Plane(IntEnum):
    DATA = 0
    CONTROL = 1


Address = tuple[str, str]
"""Where an agent listens: for data and for control."""

Arrival = tuple[PeerId, Plane, Frames]
"""Who the transport says it is from, on which plane, and the frames as they came, unchecked."""


class Transport(Protocol):
    """Used inside ``async with``; leaving it sends what was accepted, for as long as the drain clock allows."""

    on_disconnect: Callable[[PeerId], None]
    """Called on the loop when the link to a peer breaks, where the transport can tell."""

    on_rejected: Callable[[], None]
    """Called on the loop when somebody connects who does not get through the handshake: half open, garbage, no key."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def send(self, to: PeerId, frames: Frames, plane: Plane) -> None:
        """Accept a message for a peer; waits while its queue is full or its link is down.

        The frames' memory must not change afterwards. Control messages never wait: they are dropped instead.
        """
        ...

    async def trouble(self, peer: PeerId) -> str:
        """Why nothing comes from a peer, as seen from both sides; empty where the transport cannot tell."""
        ...

    def arrivals(self) -> AsyncIterator[Arrival]:
        """Whatever comes, in order for each sender and plane."""
        ...


def ignore(*arguments: PeerId) -> None:
    """The callback of nobody."""


REMEDIES = {
    errno.EADDRNOTAVAIL: "that is no address of this host: give the agent bind: 0.0.0.0 or one that the host has, or "
    "start it on its own host, with --id",
    errno.EACCES: "give a port above 1023",
}


def cannot_listen(me: PeerId, address: str, number: int | None, reason: str) -> ConfigError:
    """What to say where the system gives no port, with its error's number and text."""
    remedy = REMEDIES.get(number or 0, "end the program that has the port, or give another address or base_port")
    return ConfigError(f"agent {me} cannot listen on {address}: {reason.lower()}; {remedy}")
