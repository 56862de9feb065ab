"""A simulated run, kept in a folder like that of real agents: whatever reads runs can read it.

Payload bytes are those that real agents send, to the byte. There are no headers and heartbeats here, and a round's
seconds are the computing time of all agents on one core, divided among them.
"""

import json
import time
from collections.abc import Callable, Mapping

from parse_p2p.config.run_plan import World
from parse_p2p.core.errors import ConfigError
from parse_p2p.core.event_log import RunLog
from parse_p2p.core.types import Metrics, PeerId
from parse_p2p.launch.results import summarise
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.runtime.agent_state import Participant
from parse_p2p.runtime.simulator import Ledger, simulate

Each = Callable[[int, Mapping[PeerId, Mapping[str, float]], Ledger, float], None]
"""What is told of a round: its number, every agent's metrics and scores, payload bytes, seconds of computing."""


def rehearse(world: World, each: Each, participants: list[Participant]) -> None:
    """Simulate a world; after each round all who are there are evaluated. Raises what the simulator raises."""
    _refuse_faults(world)
    people = {p.me: p for p in participants}
    began = time.process_time()

    def watch(round: int, metrics: Mapping[PeerId, Metrics], ledger: Ledger) -> None:
        nonlocal began
        seconds = time.process_time() - began
        each(round, {me: {**said, **people[me].learner.evaluate()} for me, said in metrics.items()}, ledger, seconds)
        began = time.process_time()

    simulate(participants, world.run.rounds, codec=world.codec, watch=watch)


def _refuse_faults(world: World) -> None:
    if world.run.faults:
        raise ConfigError("faults: nothing can go wrong in the simulator; run the file with parse-agent")


def record(world: World, folder: RunFolder, each: Each | None = None) -> list[Participant]:
    """Simulate a world into a folder that holds no run yet; its agents, as they ended."""
    if folder.file.exists():
        raise ConfigError(f"{folder.path} holds a run already: name another folder")
    _refuse_faults(world)
    folder.write(world.run)
    participants = world.participants()
    logs = {p.me: RunLog(p.me, folder.events(p.me)) for p in participants}
    sent, accuracy, began = 0, dict[PeerId, float](), time.monotonic()
    for p in participants:
        p.sketching = True
        learner = p.learner
        logs[p.me].write("start", modalities=list(learner.holder.modalities), parameters=learner.arena.size,
                         samples=learner.samples, rounds=world.run.rounds, device="simulated")  # fmt: skip

    def watch(round: int, scores: Mapping[PeerId, Mapping[str, float]], ledger: Ledger, seconds: float) -> None:
        nonlocal sent
        for p in participants:
            if p.me not in scores:
                continue
            mine = ledger.get(p.me, {})
            out = sum(n for slices in mine.values() for n in slices.values())
            came = sum(n for peers in ledger.values() for n in peers.get(p.me, {}).values())
            logs[p.me].write("round", round=round, **scores[p.me], seconds=seconds / len(scores), late=0,
                             alive=len(p.plan(round).expected), sent=mine, wire_out=out, wire_in=came,
                             sketch=p.sketches)  # fmt: skip
            accuracy[p.me] = scores[p.me]["accuracy"]
            sent += out
        if each is not None:
            each(round, scores, ledger, seconds)

    try:
        rehearse(world, watch, participants)
        for p in participants:
            logs[p.me].write("end" if p.span.stop == world.run.rounds else "left", round=p.span.stop)
    finally:
        for log in logs.values():
            log.close()
    summary = summarise(world, accuracy, None, sent, world.run.rounds, time.monotonic() - began)
    folder.summary.write_text(json.dumps(summary.plain(), indent=1), encoding="utf-8")
    return participants
