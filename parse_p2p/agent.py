"""One agent among others: join, take part round by round, leave.

The loop carries mail and heartbeats; all that computes runs on one thread of the agent's own. A round's beginning
is kept in memory until the next, so a round that cannot be finished (quorum lost, stopped) can be taken back and
whoever leaves can leave a checkpoint.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from parse_p2p import checkpoint
from parse_p2p.codecs import raw
from parse_p2p.codecs.base import Codec
from parse_p2p.courier import Courier, Limits
from parse_p2p.desk import Collected, Desk
from parse_p2p.directory import NEVER, Card, Clocks, Directory
from parse_p2p.errors import Interrupted, JoinTimeout, QuorumLost
from parse_p2p.methods.base import Done, Exchange, Inbox, advance
from parse_p2p.names import PeerId
from parse_p2p.participant import Participant
from parse_p2p.runlog import RunLog
from parse_p2p.transports.base import Transport

T = TypeVar("T")

JOIN_BEAT = 0.1  # seconds between heartbeats until all are there


@dataclass
class Settings:
    """``start`` is the round to begin with; None asks the running neighbours. ``folder`` takes checkpoints."""

    run: str
    clocks: Clocks
    codec: Codec = raw.CODEC
    start: int | None = 0
    folder: Path | None = None
    every: int = 1
    keep: int = 8
    threads: int = 1
    limits: Limits = field(default_factory=Limits)


class Agent:
    """Runs a participant over a transport. ``neighbours`` are all it may ever exchange with."""

    def __init__(self, participant: Participant, transport: Transport, neighbours: frozenset[PeerId],
                 settings: Settings, log: RunLog) -> None:  # fmt: skip
        self.participant = participant
        self.me = participant.me
        self.neighbours = neighbours
        self.settings = settings
        self.log = log
        self.desk = Desk()
        self.courier = Courier(self.me, settings.run, neighbours, transport, settings.codec, settings.limits, log)
        # one that starts with all the others knows from the outset where it joins; one that comes back has to ask
        joins = NEVER if settings.start is None else settings.start
        self.card = Card(int.from_bytes(os.urandom(6), "big"), settings.start or 0, joins)
        self.directory = Directory(neighbours, settings.clocks, self.card.incarnation)
        self._transport = transport
        self._begun = False
        self._posted = False
        self._abandoned: float | None = None  # since when I have been waiting for a coordinator that is gone
        self._on_my_own = False  # no longer waiting for it
        self._boundary: tuple[int, dict[str, Tensor]] | None = None
        self._thread = ThreadPoolExecutor(1, f"compute-{self.me}", torch.set_num_threads, (settings.threads,))

    def propose(self, round: int) -> None:
        """The round I could go on with, for neighbours that are starting too."""
        self.card = Card(self.card.incarnation, round)

    async def run(self, stop: asyncio.Event) -> int:
        """Take part until the last round or until ``stop``; the round that would come next.

        Raises JoinTimeout, TrainingError, ConfigError; whatever happens, a checkpoint of the last complete round
        is left behind.
        """
        self._transport.on_disconnect = self._disconnected
        try:
            async with self._transport:
                return await self._present(stop)
        finally:
            self.participant.learner.halted = True
            self._thread.shutdown()
            self._save()
            self.log.close()

    async def _present(self, stop: asyncio.Event) -> int:
        mail = (self.courier.deliver(peer) for peer in self.neighbours)
        work = [self.courier.listen(self._hear, self.desk.deliver), self._beat(), *mail]
        tasks = [asyncio.create_task(coroutine) for coroutine in work]
        rounds = asyncio.create_task(self._rounds())
        stopped = asyncio.create_task(_set(stop))
        try:
            await asyncio.wait([rounds, stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()  # these run for ever: whatever ended one is an error to raise
            if not rounds.done():
                return await self._interrupt(rounds)
            return rounds.result()
        finally:
            rounds.cancel()
            await self._leave()
            for task in [*tasks, stopped]:
                task.cancel()
            await asyncio.gather(*tasks, stopped, rounds, return_exceptions=True)

    # the rounds

    async def _rounds(self) -> int:
        first = await self._join()
        for round in range(first, self.participant.rounds):
            await self._round(round)
        self._boundary = (self.participant.rounds, await self._compute(self.participant.state))
        self.card = to_round(self.card, self.participant.rounds)
        self.log.write("end", round=self.participant.rounds)
        return self.participant.rounds

    async def _round(self, round: int) -> None:
        began = time.perf_counter()
        state = await self._compute(self.participant.state)
        self._boundary = (round, state)
        if round % self.settings.every == 0:
            await self._compute(self._save)
        self.desk.open(round)
        self.courier.forget(round)
        self.courier.round = round
        self.card = to_round(self.card, round)
        self._posted = False
        try:
            metrics = await self._conversation(round)
        except QuorumLost as error:
            await self._compute(self.participant.restore, state)
            self.log.write("void", round=round, why=str(error))
            return
        evaluation = await self._compute(self.participant.learner.evaluate)
        self._record(round, {**metrics, **evaluation}, time.perf_counter() - began)

    async def _conversation(self, round: int) -> Mapping[str, float]:
        script = self.participant.begin(round)
        answer: Inbox | QuorumLost | None = None
        while True:
            step = await self._compute(advance, script, answer)
            if isinstance(step, Done):
                return step.metrics
            answer = await self._exchange(round, step)

    async def _exchange(self, round: int, exchange: Exchange) -> Inbox | QuorumLost:
        for peer, parcel in exchange.send.items():
            if self._takes_part(peer, round):
                self.courier.post(peer, round, exchange.topic, parcel)
            else:
                self.directory.skipped(peer, round)
        self._posted = True
        found = await self.desk.collect(exchange, lambda peer: self._awaited(peer, round), self._patience(exchange))
        self._report(round, found)
        if len(found.inbox) < exchange.quorum:
            return QuorumLost(f"{len(found.inbox)} of {exchange.quorum} answers came on {exchange.topic!r}")
        return found.inbox

    def _takes_part(self, peer: PeerId, round: int) -> bool:
        return self.directory.takes_part(peer, round, time.monotonic())

    def _awaited(self, peer: PeerId, round: int) -> bool:
        """Whether mail may still come: from a coordinator even when it is gone, for as long as the clock says."""
        coordinator = peer == self.participant.coordinator
        if self._takes_part(peer, round):
            if coordinator:
                self._abandoned, self._on_my_own = None, False
            return True
        now = time.monotonic()
        if not coordinator or self.directory.back_later(peer, round, now):
            return False
        if self._abandoned is None:
            self._abandoned = now
            self.log.write("waiting", round=round, peer=peer, seconds=self.settings.clocks.coordinator)
        if now - self._abandoned < self.settings.clocks.coordinator:
            return True
        if not self._on_my_own:
            self._on_my_own = True
            self.log.write("on my own", round=round, peer=peer)
        return False

    def _patience(self, exchange: Exchange) -> float:
        clocks = self.settings.clocks
        longest = clocks.exchange + (clocks.coordinator if self.participant.coordinator in exchange.expect else 0.0)
        return longest if exchange.deadline is None else min(exchange.deadline, longest)

    def _report(self, round: int, found: Collected) -> None:
        for peer, why in found.refused.items():
            self.courier.complain(peer, "refused", why)
        if found.missing:
            self.log.write("missing", round=round, peers=found.missing)

    def _record(self, round: int, metrics: Mapping[str, float], seconds: float) -> None:
        self.log.write(
            "round",
            round=round,
            **metrics,
            seconds=seconds,
            alive=len(self.directory.alive(time.monotonic())),
            late=self.desk.late,
            **self.courier.ledger.close(),
        )

    async def _compute(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    # joining and leaving

    async def _join(self) -> int:
        """The round to begin with, once the neighbours are there."""
        self._log_start()
        clocks = self.settings.clocks
        end = time.monotonic() + clocks.join
        while self.directory.unheard() and time.monotonic() < end and not self._invited():
            await asyncio.sleep(JOIN_BEAT / 2)
        first = self.settings.start
        if first is None:
            first = await self._late_start()
        elif unheard := self.directory.unheard():
            raise JoinTimeout(self._absent(unheard))
        self._begun = True
        self.card = Card(self.card.incarnation, first, joins=first)
        self.log.write("joined", round=first, neighbours=sorted(self.neighbours))
        await self._say_card()
        return first

    def _absent(self, unheard: list[PeerId]) -> str:
        other = [peer for peer in unheard if self.courier.refusals[peer, "wrong run"]]
        if other:
            return (
                f"{', '.join(other)} is there but runs another configuration than {self.me}: "
                "start all agents with the same files and options"
            )
        return (
            f"{', '.join(unheard)} did not come up for {self.me} within {self.settings.clocks.join:g} s: start it, "
            "or raise clocks.join"
        )

    def _invited(self) -> bool:
        return self.settings.start is None and bool(self.directory.invitations())

    async def _late_start(self) -> int:
        """Where neighbours are running: the latest of the rounds from which they wait for me."""
        await asyncio.sleep(3 * JOIN_BEAT)  # the answers of the others
        invitations = self.directory.invitations()
        if invitations:
            return max(invitations.values())
        return max([self.card.round, *self.directory.starting().values()])

    def _log_start(self) -> None:
        learner = self.participant.learner
        self.log.write(
            "start",
            modalities=list(learner.holder.modalities),
            parameters=learner.arena.size,
            samples=learner.samples,
            rounds=self.participant.rounds,
            device=str(learner.arena.values.device),
            pid=os.getpid(),
        )

    async def _interrupt(self, rounds: "asyncio.Task[int]") -> int:
        self.participant.learner.halted = True
        rounds.cancel()
        with contextlib.suppress(asyncio.CancelledError, Interrupted):
            await rounds
        round = self._boundary[0] if self._boundary else self.card.round
        self.log.write("stopped", round=round)
        return round

    async def _leave(self) -> None:
        """Say bye, with the first round that will have no mail of mine, and let the last mail go."""
        until = self.card.round + (1 if self._posted and self.card.round < self.participant.rounds else 0)
        self.card = Card(self.card.incarnation, self.card.round, self.card.joins, until)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.settings.clocks.drain):
                await self._say_card()
                await self.courier.drain(self.directory.alive(time.monotonic()))

    def _save(self) -> None:
        if self._boundary is not None and self.settings.folder is not None:
            checkpoint.save(self.settings.folder, *self._boundary, keep=self.settings.keep)

    # who is there

    async def _beat(self) -> None:
        while True:
            await self._say_card()
            await asyncio.sleep(self.settings.clocks.heartbeat if self._begun else JOIN_BEAT)
            for peer in self.directory.newly_lost(time.monotonic()):
                self.courier.empty(peer)
                self.log.write("lost", round=self.card.round, peer=peer)
                self.desk.look()

    async def _say_card(self) -> None:
        for peer in self.neighbours:
            await self._say_card_to(peer)

    async def _say_card_to(self, peer: PeerId) -> None:
        await self.courier.say(peer, self.directory.to(peer, self.card) if self._begun else self.card)

    async def _hear(self, sender: PeerId, card: Card) -> None:
        running = self.card.round if self._begun else None
        if self.directory.heard(sender, card, time.monotonic(), running):
            self.courier.empty(sender)  # mail for who it was before
            self.log.write("found", round=self.card.round, peer=sender)
            await self._say_card_to(sender)
        self.desk.look()

    def _disconnected(self, peer: PeerId) -> None:
        self.directory.broken(peer, time.monotonic())


async def _set(event: asyncio.Event) -> None:
    await event.wait()


def to_round(card: Card, round: int) -> Card:
    """The card at the beginning of a round."""
    return Card(card.incarnation, round, card.joins, card.until)
