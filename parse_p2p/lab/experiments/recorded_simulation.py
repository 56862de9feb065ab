"""A simulated run, kept in a folder like that of real agents: whatever reads runs can read it.

Payload bytes are those that real agents send, to the byte. There are no headers and heartbeats here, and a round's
seconds are the computing time of all agents on one core, divided among them.
"""

import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core import events
from parse_p2p.core.errors import ConfigError
from parse_p2p.core.event_log import EventLog
from parse_p2p.core.types import Metrics, PeerId
from parse_p2p.launch.results import summarise
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.launch.run_history import RunHistory
from parse_p2p.runtime import checkpoint
from parse_p2p.runtime.agent_state import AgentState
from parse_p2p.runtime.scale_agreement import Agreed
from parse_p2p.runtime.simulator import Ledger, simulate

Each = Callable[[int, Mapping[PeerId, Mapping[str, float]], Ledger, float], None]
"""What is told of a round: its number, every agent's metrics and scores, payload bytes, seconds of computing."""


def rehearse(plan: RunPlan, each: Each, agent_states: list[AgentState]) -> None:
    """Simulate a plan; after each round all who are there are evaluated. Raises what the simulator raises."""
    _refuse_faults(plan)
    people = {p.me: p for p in agent_states}
    began = time.process_time()

    def watch(round: int, metrics: Mapping[PeerId, Metrics], ledger: Ledger) -> None:
        nonlocal began
        seconds = time.process_time() - began
        each(round, {me: {**said, **people[me].learner.evaluate()} for me, said in metrics.items()}, ledger, seconds)
        began = time.process_time()

    simulate(agent_states, plan.run.rounds, codec=plan.codec, watch=watch)


def _refuse_faults(plan: RunPlan) -> None:
    if plan.run.faults:
        raise ConfigError("faults: nothing can go wrong in the simulator; run the file with parse-agent")


def _agreed(plan: RunPlan, folder: RunFolder, me: PeerId, log: EventLog, agreed: Agreed) -> None:
    folder.keep_data(me, plan.data, agreed=True)
    log.write(agreed.event(plan.spans[me].start))


def record(plan: RunPlan, folder: RunFolder, each: Each | None = None) -> list[AgentState]:
    """Simulate a plan into a folder that holds no run yet; its agents, as they ended."""
    if folder.file.exists():
        raise ConfigError(f"{folder.path} holds a run already: name another folder")
    _refuse_faults(plan)
    folder.write(plan.run)
    agent_states = plan.agent_states()
    logs = {p.me: EventLog(p.me, folder.events(p.me)) for p in agent_states}
    sent, accuracy, began = 0, dict[PeerId, float](), time.monotonic()
    rows: dict[PeerId, dict[int, Mapping[str, float]]] = {}
    asked: dict[PeerId, Mapping[str, float]] = {}
    for p in agent_states:
        folder.keep_data(p.me, plan.data)
        p.on_agreed = partial(_agreed, plan, folder, p.me, logs[p.me])
        p.sketching = True
        folder.keep_arrivals(p)
        learner = p.learner
        start = events.Start(modalities=list(learner.holder.modalities), parameters=learner.buffer.size,
                             samples=p.samples, rounds=plan.run.rounds, device="simulated")  # fmt: skip
        logs[p.me].write(start)

    def watch(round: int, scores: Mapping[PeerId, Mapping[str, float]], ledger: Ledger, seconds: float) -> None:
        nonlocal sent
        for p in agent_states:
            if p.me not in scores:
                continue
            for event in p.happened:
                logs[p.me].write(event)
            mine = ledger.get(p.me, {})
            out = sum(n for slices in mine.values() for n in slices.values())
            came = sum(n for peers in ledger.values() for n in peers.get(p.me, {}).values())
            facts: dict[str, Any] = {**events.metrics(scores[p.me]), "lr": p.learner.rate,
                     "seconds": seconds / len(scores), "alive": len(p.plan(round).expected),
                     "sent": mine, "wire_out": out, "wire_in": came, "sketch": p.sketches}  # fmt: skip
            logs[p.me].write(events.Round(round=round, **facts))
            rows.setdefault(p.me, {})[round] = scores[p.me]
            accuracy[p.me] = scores[p.me]["accuracy"]
            if p.me in plan.peers and facts.get("scores"):
                asked[p.me] = facts["scores"]
            sent += out
        if each is not None:
            each(round, scores, ledger, seconds)

    try:
        rehearse(plan, watch, agent_states)
        for p in agent_states:
            ended, stop = p.span.stop == plan.run.rounds, p.span.stop
            logs[p.me].write(events.End(round=stop) if ended else events.Left(round=stop))
            checkpoint.save(folder.checkpoints(p.me), stop, p.state(), keep=1)
    finally:
        for log in logs.values():
            log.close()
    arrived = RunHistory.whole(plan, folder).arrived if any(p.arrivals for p in agent_states) else None
    summary = summarise(plan, accuracy, None, sent, plan.run.rounds, time.monotonic() - began, asked, rows, arrived)
    folder.summary.write_text(json.dumps(summary.plain(), indent=1), encoding="utf-8")
    return agent_states
