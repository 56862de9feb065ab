"""What agents have in common that are no more than a transport, a log and a way to find others."""

from contextlib import asynccontextmanager
from typing import Any

from parse_p2p.core.peer_info import Card, Clocks
from parse_p2p.discovery.base import Site


def site(me, neighbours, transport, log, **known) -> Site:
    """What a discovery may know of its agent, with as little in it as ``known`` leaves."""
    usual: dict[str, Any] = {
        "host": None, "contacts": {}, "clocks": Clocks(), "folder": None, "seed": 0, "returning": False,
        "profile": lambda: None, "everyone": dict,
    }  # fmt: skip
    return Site(me, neighbours, transport, log=log, **usual | known)


class Finding:
    """Needs what stands here, each of its test's own kind."""

    transport: Any
    discovery: Any
    log: Any

    @asynccontextmanager
    async def there(self, incarnation=1):
        try:
            async with self.transport, self.discovery:
                await self.discovery.announce(Card(incarnation, 0), nobody)
                yield self
        finally:
            self.log.close()

    async def heard(self):
        async for sender, _, frames in self.transport.arrivals():
            return sender, [bytes(frame) for frame in frames]


async def nobody(peer, facts):
    raise AssertionError("nobody gossips here")
