"""Every address stands in the run file: nothing to find and nobody to tell."""

from parse_p2p.core.peer_info import Card
from parse_p2p.discovery.base import DiscoveryOptions, Send, Site, WithoutGossip


class Static(WithoutGossip):
    """Nothing to find and nobody to tell."""

    async def announce(self, card: Card, send: Send) -> None:
        pass


class StaticOptions(DiscoveryOptions):
    """Every address stands in the run file, or is a socket of this host."""

    kind: str = "static"

    def open(self, site: Site) -> Static:
        return Static()


DISCOVERY = StaticOptions
