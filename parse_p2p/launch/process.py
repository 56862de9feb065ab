"""One agent as one process: signals in, exit code out."""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch

from parse_p2p.config.run_file import RunFile
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core import events
from parse_p2p.core.errors import DataWarning, P2PError
from parse_p2p.core.event_log import EventLog
from parse_p2p.core.membership import Modalities
from parse_p2p.core.peer_info import Clocks
from parse_p2p.core.slices import Region, SliceKey, offers
from parse_p2p.core.types import PeerId
from parse_p2p.discovery.advertisement import Profile
from parse_p2p.discovery.base import Discovery, Site
from parse_p2p.launch.exit_codes import FAILED
from parse_p2p.launch.fault_injection import FaultInjection
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.runtime import checkpoint
from parse_p2p.runtime.agent import Agent, Settings
from parse_p2p.runtime.agent_state import AgentState
from parse_p2p.runtime.announcements import Announcer
from parse_p2p.transports.zmq import ZmqTransport

ORPHAN_PATIENCE = 30.0  # seconds


def child(run: dict[str, object], me: PeerId, folder: RunFolder, start: int | None) -> None:
    """The body of one agent's process under a launcher; ends with it, whatever ends the launcher."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the launcher, which tells us
    warnings.simplefilter("ignore", DataWarning)  # the launcher has warned, or reads it in the log
    try:
        asyncio.run(_supervised(RunPlan(RunFile.model_validate(run)), me, folder, start))
    except P2PError as error:
        EventLog(me, folder.events(me)).write(events.Failed(why=str(error)))
        sys.exit(FAILED)


async def _supervised(plan: RunPlan, me: PeerId, folder: RunFolder, start: int | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    parent = multiprocessing.parent_process()
    if parent is not None:
        loop.add_reader(parent.sentinel, _orphaned, loop, parent.sentinel, stop)
    # who was killed and started again has its neighbours all up, or gone for good: no need to wait for them to load
    wait = plan.run.clocks.lost if start is None else plan.run.clocks.join
    try:
        await run_agent(plan, me, folder, start, stop, wait)
    finally:  # it ends: the interpreter complains of a signal that comes while a loop with a handler closes
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _orphaned(loop: asyncio.AbstractEventLoop, sentinel: int, stop: asyncio.Event) -> None:
    """The launcher is gone: leave as if told to, and if something is stuck, leave all the same."""
    loop.remove_reader(sentinel)
    stop.set()
    curve_keys = threading.Timer(ORPHAN_PATIENCE, os._exit, (1,))
    curve_keys.daemon = True
    curve_keys.start()


async def run_agent(
    plan: RunPlan, me: PeerId, folder: RunFolder, start: int | None, stop: asyncio.Event, wait: float
) -> int:
    """Run one agent to its end or to ``stop``; ``start`` None lets the running neighbours say where to join.

    ``wait`` is in seconds, until the neighbours are up.
    """
    torch.set_num_threads(plan.threads)
    log = EventLog(me, folder.events(me))
    asyncio.get_running_loop().set_exception_handler(partial(_stray, log))
    plan = folder.recall(plan)
    agent_state = _built(plan, me, log)
    folder.keep_data(me, plan.data)
    folder.keep_arrivals(agent_state)
    agent_state.on_agreed = lambda agreed: folder.keep_data(me, plan.data, agreed=True)
    kept = checkpoint.rounds(folder.checkpoints(me))
    newest = max(kept, default=agent_state.span.start)  # of one that died before it had any, its first
    if start is not None and start <= agent_state.span.start:
        start = agent_state.span.start  # planned to come later than the others, or with them
    else:
        start_from = newest if start is None else start
        if agent_state.agreement is not None and (start is not None or folder.data(me).exists()):
            agent_state.use_agreed(folder.agreed(me, plan.data))
        if start is not None or kept:
            agent_state.restore(checkpoint.load(folder.checkpoints(me), start_from))
        log.write(events.Resumed(round=start_from))
    neighbours = plan.neighbours(me)
    addresses = plan.endpoints.addresses(me, neighbours, folder.path)
    transport = ZmqTransport(me, addresses, plan.run.clocks.drain, plan.endpoints.curve_keys(me, neighbours))
    injection = FaultInjection(plan, me, transport, folder, log)
    agent_settings = settings(plan, agent_state, folder, start)
    agent_settings = replace(agent_settings, clocks=agent_settings.clocks.model_copy(update={"join": wait}))
    discovered = discovery(plan, me, transport, agent_settings.clocks, folder, log, start is None)
    agent = Agent(agent_state, injection.transport, neighbours, agent_settings, log, discovered)
    agent.on_round = injection.begin
    if start is None:
        agent.presence.propose(newest)
    return await agent.run(stop)


def _built(plan: RunPlan, me: PeerId, log: EventLog) -> AgentState:
    """The agent's state; what there is to note on data of its own is in the log, and warned of again."""
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always", DataWarning)
        agent_state = plan.agent_state(me)
    for each in noted:
        if issubclass(each.category, DataWarning) and not plan.data.dealt:
            log.write(events.DataNoted(why=str(each.message)))
        warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    return agent_state


def _stray(log: EventLog, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """What went wrong in a callback that nobody waits for, as when a broker dies: for the log, not for the screen."""
    with contextlib.suppress(ValueError):  # the log is closed already
        log.write(events.TaskFailed(why=f"{context.get('message')}: {context.get('exception')!r}"))


def discovery(
    plan: RunPlan, me: PeerId, transport: ZmqTransport, clocks: Clocks, folder: RunFolder, log: EventLog,
    returning: bool = False,
) -> Discovery:  # fmt: skip
    """How an agent finds its neighbours, as its run file says."""
    site = Site(
        me=me,
        neighbours=plan.neighbours(me),
        transport=transport,
        host=plan.endpoints.advertised(me),
        contacts=plan.endpoints.contacts,
        clocks=clocks,
        folder=folder.addresses,
        log=log,
        seed=plan.run.seed,
        returning=returning,
        profile=partial(profile, plan, me),
        everyone=partial(profiles, plan),
    )
    return plan.run.discovery.open(site)


def profile(plan: RunPlan, me: PeerId) -> Profile:
    """What an agent begins with, for others to read."""
    first = plan.spans[me].start
    return _profile(plan, me, plan.senses(me, first), plan.laid(first).offers.get(me, {}))


def profiles(plan: RunPlan) -> dict[PeerId, Profile]:
    """What each agent of a run says of itself: what its entry gives it, whatever it gains and loses later."""
    sharing = plan.method.sharing(plan.options, 0, plan.run.rounds)
    return {me: _profile(plan, me, holder.modalities, offers(sharing, holder)) for me, holder in plan.holders.items()}


def _profile(plan: RunPlan, me: PeerId, modalities: Modalities, offered: Mapping[SliceKey, Region]) -> Profile:
    slices = {str(key): region.digest for key, region in offered.items()}
    return Profile(run=plan.run.digest(), id=me, modalities=modalities, slices=slices)


def settings(plan: RunPlan, agent_state: AgentState, folder: RunFolder, start: int | None) -> Settings:
    """What an agent is told by its run file."""
    every = plan.run.checkpoint.every
    return Settings(
        run=plan.run.digest(),
        keys=plan.run.keys(),
        clocks=plan.run.clocks,
        codec=plan.codec,
        start=start,
        folder=folder.checkpoints(agent_state.me),
        every=every,
        # agents may be as many rounds apart as the graph is wide: keep one round that all of them have
        keep=len(plan.specs) // every + 2,
        threads=plan.threads,
        limits=plan.run.limits,
        announcer=announcer(plan, agent_state, folder),
    )


def announcer(plan: RunPlan, agent_state: AgentState, folder: RunFolder) -> Announcer | None:
    """What an agent announces and hears of, where its run allows changes."""
    if plan.run.events is None:
        return None
    me = agent_state.me
    return Announcer(agent_state, plan.sensed, folder.announced(me), folder.orders(me))


def run_here(plan: RunPlan, me: PeerId, folder: RunFolder, start: int | None) -> int:
    """Run one agent in this process until it ends or a signal stops it; the round that would come next."""

    async def main() -> int:
        stop = asyncio.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(name, stop.set)
        return await run_agent(plan, me, folder, start, stop, plan.run.clocks.join)

    try:
        return asyncio.run(main())
    except P2PError as error:  # for those who only see the log
        log = EventLog(me, folder.events(me))
        log.write(events.Failed(why=str(error)))
        log.close()
        raise
