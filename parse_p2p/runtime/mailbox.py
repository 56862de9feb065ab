"""Pairs what a script waits for with what comes: early messages are kept, late ones counted.

A message is kept by (round, topic) and sender. What is kept is bounded: only rounds up to ``AHEAD`` from mine, one
message for each sender and topic. Before my first round, which one that comes back does not know, it is so many rounds
of each sender, whichever they are. Where messages of any round will do, the rounds of agents may drift apart without
bound: there it is one message for each sender and topic, of whatever round, and older messages give way to newer.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

from parse_p2p.core.errors import MalformedFrame, WireError
from parse_p2p.core.message import Message
from parse_p2p.core.types import PeerId
from parse_p2p.methods.base import Exchange

AHEAD = 16  # rounds a neighbour may be ahead of me
TOPICS = 16  # topics a neighbour may use in one round
LOOK_AGAIN = 0.25  # seconds between two looks at who is still alive


def nobody(peer: PeerId) -> bool:
    return False


@dataclass
class Received:
    """What came, what was refused and why, and whose message was missing."""

    inbox: dict[PeerId, Message] = field(default_factory=dict)
    refused: dict[PeerId, str] = field(default_factory=dict)
    missing: list[PeerId] = field(default_factory=list)


@dataclass
class _Newest:
    """The newest message of one sender on one topic; empty once it is handed out."""

    round: int
    message: Message | None
    last: bool = False  # of an earlier life of the sender, so that whatever comes next is newer


class Mailbox:
    def __init__(self) -> None:
        self.round = 0
        self.late = 0
        self._begun = False
        self._messages: dict[tuple[int, str], dict[PeerId, Message]] = {}
        self._newest: dict[PeerId, dict[str, _Newest]] = {}
        self._news = asyncio.Event()

    def open(self, round: int) -> None:
        """Begin a round; messages of earlier ones are thrown away."""
        self.round, self._begun = round, True
        for key in [key for key in self._messages if key[0] < round]:
            del self._messages[key]

    def deliver(self, sender: PeerId, round: int, topic: str, message: Message, newest: bool = False) -> None:
        """Take in a message; ``newest``: it serves in any round, until a newer one of its sender comes.

        Raises MalformedFrame for one that an honest peer could not have sent.
        """
        if newest:
            self._replace(sender, round, topic, message)
        else:
            self._keep(sender, round, topic, message)

    def _replace(self, sender: PeerId, round: int, topic: str, message: Message) -> None:
        topics = self._newest.setdefault(sender, {})
        if topic not in topics and len(topics) >= TOPICS:
            raise MalformedFrame(f"{sender} uses more than {TOPICS} topics")
        kept = topics.get(topic)
        if kept is not None and round <= kept.round and not kept.last:
            self.late += 1
            return
        topics[topic] = _Newest(round, message)
        self._news.set()

    def _keep(self, sender: PeerId, round: int, topic: str, message: Message) -> None:
        if round < self.round:
            self.late += 1
            return
        if self._begun and round > self.round + AHEAD:
            raise MalformedFrame(f"{sender} sends messages of round {round} while I am in {self.round}")
        if (
            not self._begun
            and len({r for (r, _), by_sender in self._messages.items() if sender in by_sender} | {round}) > AHEAD
        ):
            raise MalformedFrame(f"{sender} sends messages of more than {AHEAD} rounds while I am in none")
        mine = [by_sender for (r, _), by_sender in self._messages.items() if r == round and sender in by_sender]
        if len(mine) >= TOPICS:
            raise MalformedFrame(f"{sender} uses more than {TOPICS} topics in round {round}")
        self._messages.setdefault((round, topic), {}).setdefault(sender, message)
        self._news.set()

    def restarted(self, sender: PeerId) -> None:
        """The sender may count its rounds anew: whatever it sends next is newer than what is here."""
        for kept in self._newest.get(sender, {}).values():
            kept.last = True

    def look(self) -> None:
        """Something changed that may end a wait."""
        self._news.set()

    async def collect(self, exchange: Exchange, takes_part: Callable[[PeerId], bool], seconds: float,
                      behind: Callable[[PeerId], bool] = nobody) -> Received:  # fmt: skip
        """Wait for the exchange's messages from all who take part.

        For each it is ``seconds`` from the moment on at which it is no longer ``behind``, and twice that at most: who
        waited for nothing in the last round is late in this one by as long as others wait, and would be missed for it.
        """
        found, clock = Received(), asyncio.get_running_loop().time
        longest, ends = clock() + 2 * seconds, dict[PeerId, float]()
        while True:
            self._sort(exchange, found)
            waiting = [p for p in exchange.expect - found.inbox.keys() - found.refused.keys() if takes_part(p)]
            for peer in waiting:
                if not behind(peer):
                    ends.setdefault(peer, min(clock() + seconds, longest))
            left = max((ends.get(peer, longest) for peer in waiting), default=0.0) - clock()
            if left <= 0:
                self._settle(exchange, found, waiting)
                found.inbox = dict(sorted(found.inbox.items()))
                return found
            self._news.clear()
            # not wait_for: it may swallow a cancellation that comes together with the news
            with contextlib.suppress(TimeoutError):  # then look again at who is alive
                async with asyncio.timeout(min(left, LOOK_AGAIN)):
                    await self._news.wait()

    def _settle(self, exchange: Exchange, found: Received, waited_for: list[PeerId]) -> None:
        """The wait is over: what is older will do, where it may, and nobody is missed there."""
        if exchange.newest:
            self._sort(exchange, found, over=True)
        else:
            found.missing = sorted(waited_for)

    def _sort(self, exchange: Exchange, found: Received, over: bool = False) -> None:
        for sender in sorted(exchange.expect - found.inbox.keys() - found.refused.keys()):
            message = self._handed_out(sender, exchange, over)
            if message is None:
                continue
            try:
                exchange.check(sender, message)
                found.inbox[sender] = message
            except WireError as error:
                found.refused[sender] = str(error)

    def _handed_out(self, sender: PeerId, exchange: Exchange, over: bool) -> Message | None:
        """The message of a sender for this exchange, once; one of an earlier round only when the wait is over."""
        if not exchange.newest:
            return self._messages.get((self.round, exchange.topic), {}).pop(sender, None)
        kept = self._newest.get(sender, {}).get(exchange.topic)
        if kept is None or (kept.round < self.round and not over):
            return None
        message, kept.message = kept.message, None
        return message
