"""What agents have in common that are no more than a transport, a log and a way to find others."""

from contextlib import asynccontextmanager
from typing import Any

from parse_p2p.core.peer_info import Card


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
