"""One agent among others: join, take part round by round, leave.

The loop carries messages and heartbeats; all that computes runs on one thread of the agent's own. A round's beginning
is kept in memory until the next, so a round that cannot be finished (quorum lost, stopped) can be taken back and
whoever leaves can leave a checkpoint.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from parse_p2p.core import events
from parse_p2p.core.errors import Interrupted, QuorumLost, TrainingError
from parse_p2p.core.event_log import EventLog
from parse_p2p.core.membership import Modalities
from parse_p2p.core.peer_info import Clocks
from parse_p2p.core.run_keys import RunKeys
from parse_p2p.core.types import PeerId, Role
from parse_p2p.discovery.base import Discovery
from parse_p2p.discovery.static import Static
from parse_p2p.learning import devices
from parse_p2p.methods.base import Done, Exchange, Inbox, Script, advance
from parse_p2p.runtime import checkpoint
from parse_p2p.runtime.agent_state import AgentState
from parse_p2p.runtime.announcements import Announcer
from parse_p2p.runtime.mailbox import AHEAD, Mailbox, Received, nobody
from parse_p2p.runtime.messenger import Limits, Messenger
from parse_p2p.runtime.presence import Presence
from parse_p2p.transports.base import Transport
from parse_p2p.wire.codecs import raw
from parse_p2p.wire.codecs.base import Codec

T = TypeVar("T")


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
    announcer: Announcer | None = None
    keys: RunKeys = field(default_factory=RunKeys)


class Agent:
    """Runs a participant over a transport. ``neighbours`` are all it may ever exchange with."""

    def __init__(self, agent_state: AgentState, transport: Transport, neighbours: frozenset[PeerId],
                 settings: Settings, log: EventLog, discovery: Discovery | None = None) -> None:  # fmt: skip
        self.agent_state = agent_state
        agent_state.sketching = log.kept
        self.me = agent_state.me
        self.neighbours = neighbours
        self.settings = settings
        self.log = log
        self.on_round: Callable[[int], None] = lambda round: None
        """Called when a round begins, its checkpoint written."""
        self.mailbox = Mailbox()
        self._discovery = discovery or Static()
        self.messenger = Messenger(self.me, settings.run, neighbours, transport, settings.codec, settings.limits, log,
                               self._discovery.members)  # fmt: skip
        self.presence = Presence(agent_state, self.messenger, settings.clocks, settings.start, settings.announcer, log,
                                 self.mailbox.look, self._met, settings.keys)  # fmt: skip
        self._transport = transport
        self._posted = False
        self._back: set[PeerId] = set()  # who came back since I began
        self._silent: Modalities = ()  # of these I read no numbers
        self._abandoned: float | None = None  # since when I have been waiting for a coordinator that is gone
        self._alone = False  # no longer waiting for it
        self._exchanging = 0.0  # seconds of this round
        self._boundary: tuple[int, dict[str, Tensor]] | None = None
        self._thread = ThreadPoolExecutor(1, f"compute-{self.me}", torch.set_num_threads, (settings.threads,))

    async def run(self, stop: asyncio.Event) -> int:
        """Take part until the last round or until ``stop``; the round that would come next.

        Raises JoinTimeout, TrainingError, ConfigError; whatever happens, a checkpoint of the last complete round
        is left behind.
        """
        self._transport.on_disconnect = self.presence.disconnected
        self._transport.on_rejected = self.messenger.rejected
        try:
            async with self._transport, self._discovery:
                return await self._present(stop)
        finally:
            self.agent_state.learner.halted = True
            self._thread.shutdown()
            self._save()
            self.log.close()

    async def _present(self, stop: asyncio.Event) -> int:
        deliveries = (self.messenger.deliver(peer) for peer in self.neighbours)
        listening = self.messenger.listen(self.presence.hear, self._discovery.hear, self.mailbox.deliver)
        work = [listening, self.presence.beat(), *deliveries]
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
        self._log_start()
        await self._discovery.announce(self.presence.card, self.messenger.gossip)
        round = await self.presence.join()
        self._back.clear()
        while round in self.agent_state.span:
            await self.presence.announce(round)
            await self.presence.newcomers(round)
            await self._round(round)
            round += 1
        self._boundary = (round, await self._compute(self.agent_state.state))
        self.presence.at(round)
        self._posted = False
        ended = round == self.agent_state.rounds
        self.log.write(events.End(round=round) if ended else events.Left(round=round))
        return round

    async def _round(self, round: int) -> None:
        began = time.perf_counter()
        state = await self._compute(self.agent_state.state)
        first, self._boundary = self._boundary is None, (round, state)
        if first or round % self.settings.every == 0:
            await self._compute(self._save)
        self.on_round(round)
        self.mailbox.open(round)
        self.messenger.forget(round)
        self.presence.at(round)
        self._posted = False
        try:
            metrics = await self._conversation(round)
        except QuorumLost as error:
            await self._compute(self.agent_state.restore, state)
            self.log.write(events.Void(round=round, why=str(error)))
            return
        evaluation = await self._compute(self.agent_state.learner.evaluate)
        self._record(round, {**metrics, **evaluation}, time.perf_counter() - began)

    async def _conversation(self, round: int) -> Mapping[str, float]:
        self._exchanging = 0.0
        back = {peer for peer in self._back if self.presence.takes_part(peer, round)}
        self._back -= back
        if (first := self.agent_state.agree(round, back)) is not None:
            known = self.agent_state.agreed
            await self._played(round, first)
            if (agreed := self.agent_state.agreed) is not None and agreed is not known:
                self.log.write(agreed.event(round))
        before = self.agent_state.learner
        script = await self._compute(self.agent_state.begin, round)
        for event in self.agent_state.happened:
            self.log.write(event)
        if self.agent_state.learner is not before:
            modalities = list(self.agent_state.learner.holder.modalities)
            self.log.write(events.ModalitiesChanged(round=round, modalities=modalities))
        if (failed := self.agent_state.failed) and failed != self._silent:
            self.log.write(events.SensorFailed(round=round, modalities=list(failed)))
            self.presence.without(failed)
        self._silent = failed
        return await self._played(round, script)

    async def _played(self, round: int, script: Script) -> Mapping[str, float]:
        """A script from its beginning to its end; its metrics."""
        answer: Inbox | QuorumLost | None = None
        while True:
            step = await self._compute(advance, script, answer)
            if isinstance(step, Done):
                return step.metrics
            yielded = time.perf_counter()
            answer = await self._exchange(round, step)
            self._exchanging += time.perf_counter() - yielded

    async def _exchange(self, round: int, exchange: Exchange) -> Inbox | QuorumLost:
        # clients and coordinators wait for each other in every round
        if self.agent_state.role == Role.PEER and not exchange.newest:
            await self._not_too_far_ahead(exchange.send, round)
        for peer, message in exchange.send.items():
            if self._reads(peer, round, exchange):
                self.messenger.post(peer, round, exchange.topic, message, exchange.newest)
            elif not exchange.newest:
                self.presence.peer_table.skipped(peer, round)
        self._posted = True
        awaited, behind = partial(self._awaited, round=round), partial(self._in_an_earlier_round, round=round)
        found = await self.mailbox.collect(
            exchange, awaited, self._patience(exchange), behind if exchange.deadline is None else nobody
        )
        self._report(round, found)
        if len(found.inbox) < exchange.quorum:
            return QuorumLost(f"{len(found.inbox)} of {exchange.quorum} answers came on {exchange.topic!r}")
        return found.inbox

    async def _not_too_far_ahead(self, peers: Collection[PeerId], round: int) -> None:
        """Wait for those that I am to send to and that would refuse messages of so late a round.

        Where graphs change, an agent may meet nobody for many rounds and run ahead. No two wait for each other here:
        the one that is least far waits for nobody.
        """
        end = time.monotonic() + self.settings.clocks.exchange
        behind = partial(self._behind, round=round)
        while any(map(behind, peers)) and time.monotonic() < end:
            await asyncio.sleep(self.settings.clocks.heartbeat / 4)

    def _in_an_earlier_round(self, peer: PeerId, round: int) -> bool:
        """As it last said."""
        return self.presence.peer_table.round(peer) < round

    def _behind(self, peer: PeerId, round: int) -> bool:
        return self.presence.takes_part(peer, round) and self.presence.peer_table.round(peer) + AHEAD < round

    def _reads(self, peer: PeerId, round: int, exchange: Exchange) -> bool:
        """Whether to write to a peer; where messages of any round will do, to whoever is there."""
        return peer in self.presence.alive() if exchange.newest else self.presence.takes_part(peer, round)

    def _awaited(self, peer: PeerId, round: int) -> bool:
        """Whether messages may still come: from a coordinator even when it is gone, for as long as the clock says."""
        coordinator = peer == self.agent_state.coordinator
        if self.presence.takes_part(peer, round):
            if coordinator:
                self._abandoned, self._alone = None, False
            return True
        now = time.monotonic()
        if not coordinator or self.presence.peer_table.back_later(peer, round, now):
            return False
        if self._abandoned is None:
            self._abandoned = now
            self.log.write(events.Waiting(round=round, peer=peer, seconds=self.settings.clocks.coordinator))
        if now - self._abandoned < self.settings.clocks.coordinator:
            return True
        if not self._alone:
            self._alone = True
            self.log.write(events.Alone(round=round, peer=peer))
        return False

    def _patience(self, exchange: Exchange) -> float:
        clocks = self.settings.clocks
        longest = clocks.exchange + (clocks.coordinator if self.agent_state.coordinator in exchange.expect else 0.0)
        return longest if exchange.deadline is None else min(exchange.deadline, longest)

    def _report(self, round: int, found: Received) -> None:
        for peer, why in found.refused.items():
            self.messenger.complain(peer, "refused", why)
        if found.missing:
            self.log.write(events.Missing(round=round, peers=found.missing))

    def _record(self, round: int, metrics: Mapping[str, float], seconds: float) -> None:
        facts: dict[str, Any] = {
            **events.metrics(metrics),
            "lr": self.agent_state.learner.rate,
            "seconds": seconds,
            "exchange": self._exchanging,
            "memory": devices.memory(self.agent_state.learner.buffer.values.device),
            "alive": len(self.presence.alive()),
            "late": self.mailbox.late,
            **self.messenger.ledger.close(),
            "sketch": self.agent_state.sketches,
        }
        self.log.write(events.Round(round=round, **facts))

    def _met(self, peer: PeerId) -> None:
        self.mailbox.restarted(peer)
        self._back.add(peer)

    async def _compute(self, work: Callable[..., T], *arguments: Any) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        except SystemExit as error:  # which would end this process as if all were done
            raise TrainingError(
                f"code that agent {self.me} trains with wanted to end the program (SystemExit: {error}): correct it"
            ) from error
        except RuntimeError as error:
            device = self.agent_state.learner.buffer.values.device
            if isinstance(error, torch.OutOfMemoryError):
                raise TrainingError(
                    f"{device} has no memory left for agent {self.me}: put fewer agents on it, or lower train.batch or "
                    "the widths under model"
                ) from None
            if devices.failed(error):
                first, _, _ = str(error).partition("\n")
                raise TrainingError(
                    f"{device} failed under agent {self.me} ({first}): go on with --resume, and "
                    "place it on another device if that happens again"
                ) from None
            raise

    def _log_start(self) -> None:
        learner = self.agent_state.learner
        start = events.Start(
            modalities=list(learner.holder.modalities),
            parameters=learner.buffer.size,
            samples=self.agent_state.samples,
            rounds=self.agent_state.rounds,
            device=str(learner.buffer.values.device),
            pid=os.getpid(),
        )
        self.log.write(start)

    async def _interrupt(self, rounds: "asyncio.Task[int]") -> int:
        self.agent_state.learner.halted = True
        rounds.cancel()
        with contextlib.suppress(asyncio.CancelledError, Interrupted):
            await rounds
        round = self._boundary[0] if self._boundary else self.presence.card.round
        self.log.write(events.Stopped(round=round))
        return round

    async def _leave(self) -> None:
        """Say bye, with the first round that will have no message of mine, and let the last messages go."""
        round = self.presence.card.round
        until = round + (1 if self._posted and round < self.agent_state.rounds else 0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.settings.clocks.drain):
                await self.presence.bye(until)
                await self.messenger.drain(self.presence.alive())

    def _save(self) -> None:
        if self._boundary is not None and self.settings.folder is not None:
            checkpoint.save(self.settings.folder, *self._boundary, keep=self.settings.keep)


async def _set(event: asyncio.Event) -> None:
    await event.wait()
