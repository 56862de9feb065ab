"""Pairs what a script waits for with what comes: early mail is kept, late mail is counted.

Mail is kept by (round, topic) and sender. What is kept is bounded: only rounds up to ``AHEAD`` from mine, one
parcel for each sender and topic. Before my first round, which one that comes back does not know, it is so many rounds
of each sender, whichever they are.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

from parse_p2p.errors import MalformedFrame, WireError
from parse_p2p.methods.base import Exchange
from parse_p2p.names import PeerId
from parse_p2p.parcel import Parcel

AHEAD = 16  # rounds a neighbour may be ahead of me
TOPICS = 16  # topics a neighbour may use in one round
LOOK_AGAIN = 0.25  # seconds between two looks at who is still alive


@dataclass
class Collected:
    """What came, what was refused and why, and who was waited for in vain."""

    inbox: dict[PeerId, Parcel] = field(default_factory=dict)
    refused: dict[PeerId, str] = field(default_factory=dict)
    missing: list[PeerId] = field(default_factory=list)


class Desk:
    def __init__(self) -> None:
        self.round = 0
        self.late = 0
        self._begun = False
        self._mail: dict[tuple[int, str], dict[PeerId, Parcel]] = {}
        self._news = asyncio.Event()

    def open(self, round: int) -> None:
        """Begin a round; mail of earlier ones is thrown away."""
        self.round, self._begun = round, True
        for key in [key for key in self._mail if key[0] < round]:
            del self._mail[key]

    def deliver(self, sender: PeerId, round: int, topic: str, parcel: Parcel) -> None:
        """Take in a parcel. Raises MalformedFrame for one that an honest peer could not have sent."""
        if round < self.round:
            self.late += 1
            return
        if self._begun and round > self.round + AHEAD:
            raise MalformedFrame(f"{sender} sends mail of round {round} while I am in {self.round}")
        if not self._begun and len({r for (r, _), mail in self._mail.items() if sender in mail} | {round}) > AHEAD:
            raise MalformedFrame(f"{sender} sends mail of more than {AHEAD} rounds while I am in none")
        mine = [mail for (r, _), mail in self._mail.items() if r == round and sender in mail]
        if len(mine) >= TOPICS:
            raise MalformedFrame(f"{sender} uses more than {TOPICS} topics in round {round}")
        self._mail.setdefault((round, topic), {}).setdefault(sender, parcel)
        self._news.set()

    def look(self) -> None:
        """Something changed that may end a wait."""
        self._news.set()

    async def collect(self, exchange: Exchange, takes_part: Callable[[PeerId], bool], seconds: float) -> Collected:
        """Wait for the exchange's mail from all who take part, at most ``seconds``."""
        found = Collected()
        end = asyncio.get_running_loop().time() + seconds
        while True:
            self._sort(exchange, found)
            waiting = [p for p in exchange.expect if p not in found.inbox and p not in found.refused]
            left = end - asyncio.get_running_loop().time()
            if left <= 0 or not any(takes_part(p) for p in waiting):
                found.missing = sorted(filter(takes_part, waiting))
                found.inbox = dict(sorted(found.inbox.items()))
                return found
            self._news.clear()
            # not wait_for: it may swallow a cancellation that comes together with the news
            with contextlib.suppress(TimeoutError):  # then look again at who is alive
                async with asyncio.timeout(min(left, LOOK_AGAIN)):
                    await self._news.wait()

    def _sort(self, exchange: Exchange, found: Collected) -> None:
        mail = self._mail.get((self.round, exchange.topic), {})
        for sender in [s for s in mail if s in exchange.expect and s not in found.inbox and s not in found.refused]:
            parcel = mail.pop(sender)
            try:
                exchange.check(sender, parcel)
                found.inbox[sender] = parcel
            except WireError as error:
                found.refused[sender] = str(error)
