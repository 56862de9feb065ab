"""Who is there: what each neighbour last said of itself, and whether to wait for it in a round.

The topology says who should be there; this says who is. An agent that takes part from round j to round u says so
in every heartbeat (``joins`` = j, ``until`` = u), so that a bye or a heartbeat that overtakes a model on its way
never makes anyone stop waiting for that model. A restarted agent comes with a new incarnation and asks in; each
neighbour answers with the first round it will wait for it and send to it (``welcome``), and the latest of these is
where it joins. Two that lost each other for a while may be many rounds apart when they meet again: each then says
from which round on it sends, and nobody waits for what was never sent.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from parse_p2p.core.errors import MalformedFrame
from parse_p2p.core.peer_info import NEVER, Card, Clocks
from parse_p2p.core.types import PeerId

LIVES = 1000  # each is told of in the log


@dataclass
class _Presence:
    card: Card | None = None
    deadline: float = 0.0  # silence beyond this moment means lost
    joins: int = NEVER  # its first round: what it said, or what I promised to wait for
    serves: int = NEVER  # from this round on I send to it
    settled: bool = False  # it said itself where it joins
    reported: bool = False  # as lost
    lives: int = 0  # incarnations it came with


class PeerTable:
    """Times are seconds of one monotonic clock, given by the caller."""

    def __init__(self, neighbours: Iterable[PeerId], clocks: Clocks, incarnation: int) -> None:
        self._clocks = clocks
        self._incarnation = incarnation  # mine
        self._peers = {peer: _Presence() for peer in neighbours}

    def heard(self, peer: PeerId, card: Card, now: float, my_round: int | None) -> bool:
        """Take in a card; ``my_round`` is None while I have not begun. True if the peer is new or came back.

        Raises MalformedFrame for a peer that comes back without end.
        """
        entry = self._peers[peer]
        fresh = entry.card is None or entry.card.incarnation != card.incarnation
        if fresh and entry.lives == LIVES:
            raise MalformedFrame(f"{peer} says that it has been started more than {LIVES} times")
        entry.lives += fresh
        back = fresh or entry.reported
        entry.card, entry.deadline, entry.reported = card, now + self._clocks.lost, False
        if fresh:
            entry.joins, entry.settled = NEVER, False
        if card.joins != NEVER and not entry.settled:
            entry.joins, entry.settled = card.joins, True
        elif entry.joins == NEVER and my_round is not None:
            entry.joins = my_round + 1  # the first round in which I can wait for it and send to it
        return back

    def begin(self, round: int) -> None:
        """I take part from this round on, and so may those who are starting too: I have sent nothing yet."""
        for peer in self.starting():
            entry = self._peers[peer]
            if entry.joins == NEVER:
                entry.joins = round

    def skipped(self, peer: PeerId, round: int) -> None:
        """I sent nothing to this peer in this round of mine."""
        entry = self._peers[peer]
        entry.serves = max(entry.serves, round + 1)

    def broken(self, peer: PeerId, now: float) -> None:
        """The link broke: unless the peer speaks within two heartbeats it counts as lost."""
        entry = self._peers[peer]
        entry.deadline = min(entry.deadline, now + 2 * self._clocks.heartbeat)

    def takes_part(self, peer: PeerId, round: int, now: float) -> bool:
        """Whether a message of this round is to be expected from the peer."""
        entry = self._peers[peer]
        if entry.card is None or entry.joins == NEVER or round < self._first(entry):
            return False
        if entry.card.until != NEVER:
            # what it still sent is on its way at most this long; it may have left in the middle of a round
            return round < entry.card.until and now < entry.deadline + self._clocks.drain
        return now < entry.deadline

    def round(self, peer: PeerId) -> int:
        """The round that the peer was in when it last spoke."""
        card = self._peers[peer].card
        return NEVER if card is None else card.round

    def back_later(self, peer: PeerId, round: int, now: float) -> bool:
        """Whether the peer is there again but takes part only from a later round on."""
        entry = self._peers[peer]
        return self._speaks(entry, now) and self._first(entry) > round

    def _first(self, entry: _Presence) -> int:
        """The first round in which we send to each other."""
        return max(entry.joins, entry.serves, NEVER if entry.card is None else self._welcomed(entry.card))

    def _welcomed(self, card: Card) -> int:
        return card.welcome if card.known == self._incarnation else NEVER

    def _speaks(self, entry: _Presence, now: float) -> bool:
        return entry.card is not None and entry.card.until == NEVER and now < entry.deadline

    def alive(self, now: float) -> list[PeerId]:
        """Neighbours that speak and have not said bye."""
        return [peer for peer, entry in self._peers.items() if self._speaks(entry, now)]

    def newly_lost(self, now: float) -> list[PeerId]:
        """Neighbours that fell silent since the last call."""
        lost = [
            p
            for p, e in self._peers.items()
            if e.card and e.card.until == NEVER and now >= e.deadline and not e.reported
        ]
        for peer in lost:
            self._peers[peer].reported = True
        return lost

    def acknowledged(self, peer: PeerId) -> int:
        """How many of my announcements this peer knows."""
        card = self._peers[peer].card
        return card.heard if card is not None and card.known == self._incarnation else 0

    def front(self, now: float) -> int | None:
        """The latest round that a neighbour that has begun is in; None where there is none."""
        cards = (self._peers[peer].card for peer in self.alive(now))
        return max((c.round for c in cards if c is not None and self._welcomed(c) != NEVER), default=None)

    def unheard(self) -> list[PeerId]:
        return [peer for peer, entry in self._peers.items() if entry.card is None]

    def to(self, peer: PeerId, card: Card, heard: int | None = None) -> Card:
        """My card for this peer, with the first round in which I send to it and wait for it.

        ``heard`` is the number of its announcements that I know.
        """
        entry = self._peers[peer]
        if entry.card is None:
            return card
        welcome = max(entry.joins, entry.serves)
        return replace(card, welcome=welcome, known=entry.card.incarnation, heard=heard or 0)

    def invitations(self) -> dict[PeerId, int]:
        """The rounds from which running neighbours wait for me."""
        rounds = {peer: self._welcomed(entry.card) for peer, entry in self._peers.items() if entry.card is not None}
        return {peer: round for peer, round in rounds.items() if round != NEVER}

    def undecided(self) -> list[PeerId]:
        """Neighbours of which I do not know yet whether they run and wait for me, or are starting too."""
        known = self.invitations().keys() | self.starting().keys()
        left = {p for p, entry in self._peers.items() if entry.card is not None and entry.card.until != NEVER}
        return [peer for peer in self._peers if peer not in known | left]

    def starting(self) -> dict[PeerId, int]:
        """Neighbours that have not begun, with the round they would begin with."""
        cards = {peer: entry.card for peer, entry in self._peers.items() if entry.card is not None}
        return {peer: card.round for peer, card in cards.items() if card.joins == NEVER and card.until == NEVER}
