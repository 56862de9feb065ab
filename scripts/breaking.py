"""Sixteen agents in a world that breaks: the scenes, one run of each, and mixing under loss without learning.

Every run has an operating system's process for each agent, and its run file asks for the trouble; what came of it is
read from the agents' logs.
"""

import contextlib
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import brokers
import ports
import torch
from exchanging import alike, frozen, lossy, parameters

from parse_p2p.config.run_file import RunFile
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.event_log import Tail
from parse_p2p.core.rng import seeded
from parse_p2p.core.types import PeerId
from parse_p2p.launch.launchers.local import LocalSupervisor
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.runtime.simulator import simulate

GUARD = 600  # seconds after which a run counts as hanging

AGENTS, ROUNDS = 16, 30
BASE: dict[str, Any] = {
    "name": "reliability", "graph": {"generator": "circulant_graph", "args": {"offsets": [1, 2]}}, "device": "cpu",
    "agents": {"mix": {"audio": 5, "motion": 5, "audio+motion": 6}}, "dataset": "htad", "rounds": ROUNDS,
    "clocks": {"heartbeat": 0.5, "lost": 5},
}  # fmt: skip
LOSS = {"kind": "drop", "probability": 0.2}
HALF = [f"a{i}" for i in range(AGENTS // 2)]
CHANGE = 10  # the round in which the broker dies, and of the change of modalities
CALM = "nothing goes wrong"
CHANGED = "one gains and one loses a modality"


@dataclass(frozen=True)
class Scene:
    """What goes wrong, and with which scene it is compared; every message takes ``latency`` seconds."""

    faults: tuple[Mapping[str, Any], ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    against: str = CALM
    latency: float = 0.5
    broker: bool = False


def unwaiting(exchange: str) -> dict[str, Scene]:
    settings = {"options": {"exchange": exchange}}
    return {exchange: Scene((), settings), f"{exchange}, 20 % of messages lost": Scene((LOSS,), settings, exchange)}


def patient(exchange: str) -> dict[str, Scene]:
    """Which is the synchronous exchange, where no message is lost."""
    settings = {"options": {"exchange": exchange, "patience": 1.0}}
    return {f"{exchange} with patience, 20 % of messages lost": Scene((LOSS,), settings)}


SCENES = {
    CALM: Scene(),
    "30 % killed in random rounds, back after 1 s": Scene(({"kind": "kill", "share": 0.3, "restart": 1.0},)),
    "one stopped for 30 s": Scene(({"kind": "stop", "agents": ["a5"], "round": 5, "seconds": 30.0},), latency=1.5),
    "half of them cut off for 10 rounds": Scene(({"kind": "partition", "groups": [HALF], "rounds": [10, 20]},)),
    "20 % of messages lost": Scene((LOSS,), {"clocks": BASE["clocks"] | {"exchange": 1.5}}),
    "the broker dies": Scene(broker=True),
    CHANGED: Scene(),
    **unwaiting("asynchronous"),
    **unwaiting("push-sum"),
    **unwaiting("acknowledged"),
    **patient("asynchronous"),
    **patient("push-sum"),
}


def run_file(name: str, seed: int) -> RunFile:
    scene = SCENES[name]
    raw = (
        BASE
        | {"seed": seed, "faults": [{"kind": "delay", "seconds": scene.latency}, *scene.faults]}
        | dict(scene.settings)
    )
    if name == CHANGED:
        gains, loses = changing(RunPlan(RunFile.model_validate(raw)))
        raw["events"] = [{"round": CHANGE, "agent": gains, "gain": ["motion"]},
                         {"round": CHANGE, "agent": loses, "lose": ["audio"]}]  # fmt: skip
    return RunFile.model_validate(raw)


def changing(plan: RunPlan) -> tuple[PeerId, PeerId]:
    """Who gains motion, the first with audio alone, and who loses audio, the first with both."""
    kinds = {me: plan.kind(me) for me in plan.specs}
    return next(me for me in kinds if kinds[me] == "audio"), next(me for me in kinds if kinds[me] == "audio+motion")


# one run


def measure(name: str, seed: int) -> dict[str, Any]:
    """Run a scene to its end: what became of the agents and of their processes."""
    torch.set_num_threads(1)
    run = run_file(name, seed)
    with tempfile.TemporaryDirectory(prefix="p2p-") as place, contextlib.ExitStack() as stack:
        folder, broker = RunFolder(Path(place) / "run"), None
        if SCENES[name].broker:
            broker = stack.enter_context(brokers.running(place, ports.free()))
            run = RunFile.model_validate(run.model_dump() | {"discovery": {"kind": "mqtt", "broker": broker.url}})
        plan = RunPlan(run)
        folder.write(run)
        end = time.monotonic() + GUARD
        with LocalSupervisor(plan, folder, 0) as supervisor:
            while supervisor.running() and time.monotonic() < end:
                supervisor.tend()
                if broker is not None and all(passed(folder, me, CHANGE) for me in plan.specs):
                    broker.kill()
                    broker = None
                time.sleep(0.2)
            hung, codes = supervisor.running(), supervisor.exit_codes()
        return {"hung": hung, "codes": codes, **outcome(plan, {me: events(folder, me) for me in plan.specs})}


def events(folder: RunFolder, me: PeerId) -> list[dict[str, Any]]:
    return [event.line() for event in Tail(folder.events(me)).read()]


def passed(folder: RunFolder, me: PeerId, round: int) -> bool:
    return any(event["event"] == "round" and event["round"] >= round for event in events(folder, me))


def outcome(plan: RunPlan, logs: Mapping[PeerId, list[dict[str, Any]]]) -> dict[str, Any]:
    """What the logs say; shares are of all rounds of all agents."""

    def all_of(kind: str) -> list[dict[str, Any]]:
        return [event for log in logs.values() for event in log if event["event"] == kind]

    def distinct(kind: str) -> float:
        return len({(event["agent"], event["round"]) for event in all_of(kind)}) / len(logs) / plan.run.rounds

    return {
        "accuracy": {me: [e["accuracy"] for e in log if e["event"] == "round"][-1] for me, log in logs.items()},
        "kinds": {me: plan.kind(me) for me in logs},
        "struck": sorted({event["agent"] for event in all_of("fault")}),
        "rounds": distinct("round"),
        "missing": distinct("missing"),
        "refused": len(all_of("refused")),
        "late": sum(late([e["late"] for e in log if e["event"] == "round"]) for log in logs.values()),
        "seconds": max(e["time"] for e in all_of("end")) - min(e["time"] for e in all_of("joined")),
        "ended": len({event["agent"] for event in all_of("end")}),
        "left": [event["pid"] for event in all_of("start") if Path(f"/proc/{event['pid']}").exists()],
    }


def late(counts: list[int]) -> int:
    """Messages that came too late, from what an agent had counted in each round; anew when it is restarted."""
    return sum(after - before if after >= before else after for before, after in pairwise([0, *counts]))


# without learning


def drift(exchange: str, seed: int) -> float:
    """How far mixing under loss moves the mean over agents that do not learn, in standard deviations over the agents.

    60 rounds with a fifth of the messages lost, then 10 without loss, since push-sum and acknowledged mixing have
    something on its way until then: root mean square over the parameters.
    """
    torch.set_num_threads(1)
    first = 70 * seed  # which messages are lost depends on the round
    plan = alike(exchange, AGENTS, "torus", lossy(frozen, 0.2, rounds=range(first, first + 60)), kind="audio+motion")
    agent_states = plan.agent_states()
    for p in agent_states:
        p.learner.buffer.values.copy_(torch.randn(p.learner.buffer.size, generator=seeded(seed, "values", p.me)))
    before = parameters(agent_states)
    simulate(agent_states, first + 70, start=first)
    return float(((parameters(agent_states).mean(0) - before.mean(0)) / before.std(0)).square().mean().sqrt())
