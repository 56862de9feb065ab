"""What a way of discovery of one's own may look like, to Python and to mypy."""

import asyncio
from types import TracebackType

from parse_p2p.core.peer_info import Card
from parse_p2p.discovery.base import Discovery, Send, WithoutGossip


class Usual(WithoutGossip):
    """One whose end of a context is annotated as is usual, which mypy must take for a ``Discovery``."""

    def __init__(self) -> None:
        self.ended: list[object] = []

    async def announce(self, card: Card, send: Send) -> None: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.append(kind)


def test_one_that_closes_something_hears_how_it_ended():
    usual = Usual()

    async def run(discovery: Discovery) -> None:
        async with discovery as entered:
            assert entered is discovery

    asyncio.run(run(usual))
    assert usual.ended == [None]
