"""An agent's presence among its neighbours: its card, what it hears of others, how it joins and what it announces."""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import replace

from parse_p2p.core import events
from parse_p2p.core.errors import JoinTimeout, MalformedFrame, WrongRun
from parse_p2p.core.event_log import EventLog
from parse_p2p.core.membership import Modalities
from parse_p2p.core.peer_info import NEVER, Card, Clocks
from parse_p2p.core.run_keys import RunKeys
from parse_p2p.core.types import PeerId
from parse_p2p.runtime.agent_state import AgentState
from parse_p2p.runtime.announcements import Announcer
from parse_p2p.runtime.messenger import Messenger
from parse_p2p.runtime.peer_table import PeerTable

JOIN_BEAT = 0.1  # seconds between heartbeats until all are there
NAMED = 3  # neighbours of whom it is said why they did not come
ANSWERS = 2.5  # seconds for neighbours to find one that comes back: a socket dials again within one


class Presence:
    """``start`` is the round to begin with; None asks the running neighbours. ``look`` is told of all that may end a
    wait for messages, ``met`` of who is new or came back."""

    def __init__(self, agent_state: AgentState, messenger: Messenger, clocks: Clocks, start: int | None,
                 announcer: Announcer | None, log: EventLog, look: Callable[[], None],
                 met: Callable[[PeerId], None], keys: RunKeys) -> None:  # fmt: skip
        self.agent_state = agent_state
        self.messenger = messenger
        self.clocks = clocks
        self.start = start
        self.announcer = announcer
        self.log = log
        self.look = look
        self.met = met
        self.keys = keys
        # one that starts with all the others knows from the outset where it joins; one that comes back has to ask
        joins = NEVER if start is None else start
        changes = () if announcer is None else tuple(announcer.mine)
        self.card = Card(int.from_bytes(os.urandom(6), "big"), start or 0, joins, changes=changes, keys=keys.said)
        self.peer_table = PeerTable(messenger.neighbours, clocks, self.card.incarnation)
        self.begun = False
        self.at(self.card.round)

    def propose(self, round: int) -> None:
        """The round I could go on with, for neighbours that are starting too."""
        self.at(round)
        self.card = replace(self.card, joins=NEVER)

    def at(self, round: int) -> None:
        """I am at the beginning of a round: my card says so, and what I offer in it."""
        self.messenger.round = round
        self.card = replace(self.card, round=round)
        me, overlays = self.agent_state.me, self.agent_state.overlays(round)
        if me in overlays.members:
            mine = tuple(map(str, overlays.members[me].modalities))
            self.card = replace(self.card, modalities=mine, layout=overlays.layout(me))

    def takes_part(self, peer: PeerId, round: int) -> bool:
        return self.peer_table.takes_part(peer, round, time.monotonic())

    def alive(self) -> list[PeerId]:
        """Neighbours that speak and have not said bye."""
        return self.peer_table.alive(time.monotonic())

    async def bye(self, until: int) -> None:
        """Say that I leave, with the first round that will have no message of mine."""
        self.card = replace(self.card, until=until)
        await self._say_card()

    # joining

    async def join(self) -> int:
        """The round to begin with, once the neighbours are there."""
        end = time.monotonic() + self.clocks.join
        while self._unheard() and time.monotonic() < end and not self._invited():
            await asyncio.sleep(JOIN_BEAT / 2)
        first = self.start
        if first is None:
            first = await self._late_start()
        elif unheard := self._unheard():
            raise JoinTimeout(await self._absent(sorted(unheard)))
        if not self.agent_state.span:
            first = await self._come(first)
        await self._due(first)
        self.begun = True
        self.peer_table.begin(first)
        self.at(first)
        self.card = replace(self.card, joins=first)
        self.log.write(events.Joined(round=first, neighbours=sorted(self.messenger.neighbours)))
        await self._say_card()
        return first

    def _unheard(self) -> list[PeerId]:
        """Neighbours that should be there from the outset and were never heard."""
        if not self.agent_state.span and self.alive():
            return []  # I come when nobody expects me: some may be gone
        return [peer for peer in self.peer_table.unheard() if self.agent_state.present(peer, self.card.round)]

    async def newcomers(self, round: int) -> None:
        """Wait, as for all at the outset, for those who are planned to join in this round and were never heard."""
        new = {p for p in self.peer_table.unheard() if self.agent_state.joins(p, round)}
        end = time.monotonic() + self.clocks.join
        while (missing := new & {*self.peer_table.unheard()}) and time.monotonic() < end:
            await asyncio.sleep(JOIN_BEAT / 2)
        if missing:
            self.log.write(events.Absent(round=round, peers=sorted(missing)))

    async def _due(self, first: int) -> None:
        """Wait until the others have come to the round in which a late agent is planned to join."""
        if first == 0 or first != self.agent_state.span.start:
            return  # I was there before
        while (self.peer_table.front(time.monotonic()) or 0) < first - 1 and self.alive():
            await asyncio.sleep(JOIN_BEAT)

    async def _come(self, round: int) -> int:
        """Announce myself, whom nobody expects at any time: the round in which I am there."""
        await asyncio.sleep(self.clocks.heartbeat + 3 * JOIN_BEAT)  # all who are there have spoken
        if self.announcer is not None:
            self.announcer.come(self.agent_state.learner.holder.modalities)
        await self.announce(round)
        if not self.agent_state.span:
            raise JoinTimeout(
                f"{self.agent_state.me} comes too late: before the others could take it in, their "
                f"{self.agent_state.rounds} rounds would be over"
            )
        return self.agent_state.span.start

    def without(self, failed: Modalities) -> None:
        """Some of my sensors are broken: I am to lose these modalities, if any is left."""
        if self.announcer is not None:
            self.announcer.want(lambda now: tuple(m for m in now if m not in failed))

    async def announce(self, round: int) -> None:
        """Tell all what I am to have and from when on, and go on when they have heard."""
        if self.announcer is None:
            return
        refused = self.announcer.look()
        # no agent is further from another than there are agents, if nobody is beyond the front
        front = max(round, self.peer_table.front(time.monotonic()) or 0)
        change = self.announcer.announce(front + len(self.messenger.neighbours) + 1, self.agent_state.rounds, refused)
        for why in refused:
            self.log.write(events.OrderRefused(round=round, why=why))
        if change is None:
            return
        self.log.write(events.ChangeAnnounced(round=change.round, modalities=list(change.modalities)))
        self.card = replace(self.card, changes=tuple(self.announcer.mine))
        await self._say_card()
        end = time.monotonic() + self.clocks.exchange
        while self._unaware(len(self.announcer.mine)) and time.monotonic() < end:
            await asyncio.sleep(JOIN_BEAT / 10)

    def _unaware(self, announced: int) -> list[PeerId]:
        return [peer for peer in self.alive() if self.peer_table.acknowledged(peer) < announced]

    async def _absent(self, unheard: list[PeerId]) -> str:
        other = [peer for peer in unheard if self.messenger.refusals[peer, "wrong run"]]
        if other:
            said = self.messenger.of_other_runs
            odd = sorted({key for peer in other if peer in said for key in self.keys.differing(said[peer])})
            return (
                f"{', '.join(other)} is there but runs another configuration than {self.agent_state.me}"
                f"{_differ(odd)}: start all agents with the same files and options"
            )
        seen = await asyncio.gather(*(self.messenger.trouble(peer) for peer in unheard[:NAMED]))
        views = "".join(f"{view}; " for view in seen if view)
        remedy = "start it, open its two ports to others, or let it dial out (dial_only: true)" if views else "start it"
        return (
            f"{', '.join(unheard)} did not come up for {self.agent_state.me} within {self.clocks.join:g} s: "
            f"{views}{remedy}, or raise clocks.join"
        )

    def _invited(self) -> bool:
        return self.start is None and bool(self.peer_table.invitations())

    async def _late_start(self) -> int:
        """Where neighbours are running: the latest of the rounds from which they wait for me."""
        end = time.monotonic() + ANSWERS
        while time.monotonic() < end and self.peer_table.undecided():
            await asyncio.sleep(JOIN_BEAT / 2)
        invitations = self.peer_table.invitations()
        if invitations:
            return max(invitations.values())
        return max([self.card.round, *self.peer_table.starting().values()])

    # hearing and speaking

    async def beat(self) -> None:
        while True:
            await self._say_card()
            await asyncio.sleep(self.clocks.heartbeat if self.begun else JOIN_BEAT)
            for peer in self.peer_table.newly_lost(time.monotonic()):
                self.messenger.empty(peer)
                self.log.write(events.Lost(round=self.card.round, peer=peer))
                self.look()

    async def _say_card(self) -> None:
        for peer in self.messenger.neighbours:
            await self._say_card_to(peer)

    async def _say_card_to(self, peer: PeerId) -> None:
        card = self.peer_table.to(peer, self.card, None if self.announcer is None else self.announcer.heard(peer))
        await self.messenger.say(peer, card if self.begun else replace(card, welcome=NEVER))

    def _recognise(self, sender: PeerId, card: Card) -> None:
        """Refuse who offers other slices than this run gives it. Raises WrongRun."""
        if not 0 <= card.round < self.agent_state.rounds:
            return
        overlays = self.agent_state.overlays(card.round)
        holder = overlays.members.get(sender)
        if holder is None or card.modalities != holder.modalities:
            return  # one of us has not heard of a change yet
        if card.layout != overlays.layout(sender):
            raise WrongRun(f"{sender} has slices of another layout than this run gives it: is it the same version?")

    def _learn(self, sender: PeerId, card: Card) -> bool:
        """Take in what a peer announced; whether anything was new."""
        if self.announcer is None:
            return False
        news = self.announcer.take(sender, card.changes)
        for change in news:
            late = change.round <= self.card.round
            gained = list(change.modalities)
            self.log.write(events.ChangeHeard(round=change.round, peer=sender, modalities=gained, late=late))
        return bool(news)

    async def hear(self, sender: PeerId, card: Card) -> None:
        if max(card.round, card.joins, card.until, card.welcome) > self.agent_state.rounds + 1:
            raise MalformedFrame(f"{sender} speaks of rounds beyond the last")
        self._recognise(sender, card)
        if self._learn(sender, card):
            await self._say_card_to(sender)
        running = self.card.round if self.begun else None
        if self.peer_table.heard(sender, card, time.monotonic(), running):
            self.messenger.empty(sender)  # messages for who it was before
            self.met(sender)
            self.log.write(events.Found(round=self.card.round, peer=sender))
            await self._say_card_to(sender)
        self.look()

    def disconnected(self, peer: PeerId) -> None:
        self.peer_table.broken(peer, time.monotonic())


def _differ(keys: list[str]) -> str:
    named = [f"{key}, the copies of the data set," if key == "fingerprint" else key for key in keys]
    return f" ({' and '.join(named)} differ)" if named else ""
