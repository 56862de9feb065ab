"""One agent as one process: signals in, exit code out."""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from parse_p2p.config.run_file import RunFile
from parse_p2p.config.run_plan import World
from parse_p2p.core.errors import P2PError
from parse_p2p.core.event_log import RunLog
from parse_p2p.core.peer_info import Clocks
from parse_p2p.core.slices import offers
from parse_p2p.core.types import PeerId
from parse_p2p.discovery.advertisement import Profile
from parse_p2p.discovery.base import Finder, FromFile, GossipOptions, MqttOptions, RendezvousOptions
from parse_p2p.discovery.gossip.discovery import GossipFinder
from parse_p2p.discovery.gossip.messages import Card, label
from parse_p2p.discovery.mqtt import MqttFinder
from parse_p2p.discovery.shared_folder import RendezvousFinder
from parse_p2p.launch.exit_codes import FAILED
from parse_p2p.launch.fault_injection import Injection
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.runtime import announcements, checkpoint
from parse_p2p.runtime.agent import Agent, Settings
from parse_p2p.runtime.announcements import Announcer
from parse_p2p.transports.zmq import ZmqTransport

ORPHAN_PATIENCE = 30.0  # seconds


def child(run: dict[str, object], me: PeerId, folder: RunFolder, start: int | None) -> None:
    """The body of one agent's process under a launcher; ends with it, whatever ends the launcher."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the launcher, which tells us
    try:
        asyncio.run(_supervised(World(RunFile.model_validate(run)), me, folder, start))
    except P2PError as error:
        RunLog(me, folder.events(me)).write("failed", why=str(error))
        sys.exit(FAILED)


async def _supervised(world: World, me: PeerId, folder: RunFolder, start: int | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    parent = multiprocessing.parent_process()
    if parent is not None:
        loop.add_reader(parent.sentinel, _orphaned, loop, parent.sentinel, stop)
    # who was killed and started again has its neighbours all up, or gone for good: no need to wait for them to load
    wait = world.run.clocks.lost if start is None else world.run.clocks.join
    await run_agent(world, me, folder, start, stop, wait)


def _orphaned(loop: asyncio.AbstractEventLoop, sentinel: int, stop: asyncio.Event) -> None:
    """The launcher is gone: leave as if told to, and if something is stuck, leave all the same."""
    loop.remove_reader(sentinel)
    stop.set()
    guard = threading.Timer(ORPHAN_PATIENCE, os._exit, (1,))
    guard.daemon = True
    guard.start()


async def run_agent(
    world: World, me: PeerId, folder: RunFolder, start: int | None, stop: asyncio.Event, wait: float
) -> int:
    """Run one agent to its end or to ``stop``; ``start`` None lets the running neighbours say where to join.

    ``wait`` is in seconds, until the neighbours are up.
    """
    torch.set_num_threads(world.threads)
    log = RunLog(me, folder.events(me))
    asyncio.get_running_loop().set_exception_handler(partial(_stray, log))
    recall(world, folder)
    participant = world.participant(me)
    kept = checkpoint.rounds(folder.checkpoints(me))
    newest = max(kept, default=participant.span.start)  # of one that died before it had any, its first
    if start is not None and start <= participant.span.start:
        start = participant.span.start  # planned to come later than the others, or with them
    else:
        start_from = newest if start is None else start
        if start is not None or kept:
            participant.restore(checkpoint.load(folder.checkpoints(me), start_from))
        log.write("resumed", round=start_from)
    neighbours = world.neighbours(me)
    addresses = world.places.addresses(me, neighbours, folder.path)
    transport = ZmqTransport(me, addresses, world.run.clocks.drain, world.places.guard(me, neighbours))
    hurt = Injection(world, me, transport, folder, log)
    told = settings(world, me, folder, start)
    told = replace(told, clocks=told.clocks.model_copy(update={"join": wait}))
    found = finder(world, me, transport, told.clocks, folder, log, start is None)
    agent = Agent(participant, hurt.transport, neighbours, told, log, found)
    agent.on_round = hurt.begin
    if start is None:
        agent.presence.propose(newest)
    return await agent.run(stop)


def _stray(log: RunLog, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """What went wrong in a callback that nobody waits for, as when a broker dies: for the log, not for the screen."""
    with contextlib.suppress(ValueError):  # the log is closed already
        log.write("stray", why=f"{context.get('message')}: {context.get('exception')!r}")


def finder(
    world: World, me: PeerId, transport: ZmqTransport, clocks: Clocks, folder: RunFolder, log: RunLog,
    returning: bool = False,
) -> Finder:  # fmt: skip
    """How an agent finds its neighbours, as its run file says."""
    options, host = world.run.discovery, world.places.advertised(me)
    if isinstance(options, GossipOptions):
        return GossipFinder(me, cards(world), world.places.contacts, world.neighbours(me), transport,
                            host, clocks, world.run.seed, returning)  # fmt: skip
    if isinstance(options, RendezvousOptions):
        meet = folder.addresses if options.folder is None else Path(options.folder)
        return RendezvousFinder(profile(world, me), meet, host, world.neighbours(me), transport, clocks, log)
    if not isinstance(options, MqttOptions):
        return FromFile()
    mqtt = MqttFinder(profile(world, me), options, world.neighbours(me), transport, clocks, log, host)
    log.listener = mqtt.tell
    return mqtt


def profile(world: World, me: PeerId) -> Profile:
    """What an agent begins with, for others to read."""
    first = world.spans[me].start
    slices = {str(key): region.digest for key, region in world.laid(first).offers.get(me, {}).items()}
    return Profile(run=world.run.digest(), id=me, modalities=world.senses(me, first), slices=slices)


def cards(world: World) -> dict[PeerId, Card]:
    """What each agent of a run says of itself: what its entry gives it, whatever it gains and loses later."""
    sharing = world.method.sharing(world.options, 0, world.run.rounds)
    held = {me: offers(sharing, holder) for me, holder in world.holders.items()}
    return {
        me: Card(me, (), holder.modalities, frozenset(label(key, r.digest) for key, r in held[me].items()))
        for me, holder in world.holders.items()
    }


def settings(world: World, me: PeerId, folder: RunFolder, start: int | None) -> Settings:
    """What an agent is told by its run file."""
    every = world.run.checkpoint.every
    return Settings(
        run=world.run.digest(),
        clocks=world.run.clocks,
        codec=world.codec,
        start=start,
        folder=folder.checkpoints(me),
        every=every,
        # agents may be as many rounds apart as the graph is wide: keep one round that all of them have
        keep=len(world.seats) // every + 2,
        threads=world.threads,
        limits=world.run.limits,
        announcer=announcer(world, me, folder),
    )


def announcer(world: World, me: PeerId, folder: RunFolder) -> Announcer | None:
    """What an agent announces and hears of, where its run allows changes."""
    if world.run.events is None:
        return None
    return Announcer(me, world.membership, world.data[0].modalities, folder.announced(me), folder.orders(me))


def recall(world: World, folder: RunFolder) -> None:
    """Take in what agents of this host announced in an earlier life."""
    files = {me: folder.announced(me) for me in world.peers}
    announcements.recall(world.membership, files, world.data[0].modalities)


def run_here(world: World, me: PeerId, folder: RunFolder, start: int | None) -> int:
    """Run one agent in this process until it ends or a signal stops it; the round that would come next."""

    async def main() -> int:
        stop = asyncio.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(name, stop.set)
        return await run_agent(world, me, folder, start, stop, world.run.clocks.join)

    try:
        return asyncio.run(main())
    except P2PError as error:  # for those who only see the log
        log = RunLog(me, folder.events(me))
        log.write("failed", why=str(error))
        log.close()
        raise
