"""Throw mutated messages at a real agent: it must neither crash nor hang, nor grow, nor end with a number that is none.

The messages of a real run are recorded, on both planes; then one agent of the same run is started on a transport that
gives it nothing but mutations of what its neighbours sent. Prints what became of it.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgpack
import torch

from parse_p2p.config.run_file import RunFile
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.event_log import EventLog
from parse_p2p.core.types import PeerId
from parse_p2p.launch.process import settings
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.runtime.agent import Agent
from parse_p2p.transports.base import Plane, ignore
from parse_p2p.transports.memory import MemoryNetwork, MemoryTransport

Taped = tuple[PeerId, Plane, list[bytes]]

RECORDED = 12  # rounds
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    2**31,
    2**63,
    1.5,
    float("nan"),
    "",
    "x" * 200,
    b"\xff",
    [],
    [[]],
    {},
    {"a": 1},
)


def plan(method: str) -> RunPlan:
    clocks = {"join": 5, "exchange": 0.2, "heartbeat": 0.05, "lost": 0.5, "drain": 0.1, "coordinator": 0.1}
    return RunPlan(RunFile.model_validate({
        "graph": {"generator": "complete"}, "agents": {"mix": {"audio+motion": 3}, "coordinator": "hub"},
        "method": method, "dataset": "bits", "data": {"samples": 160}, "public": {"share": 0.2}, "rounds": 100_000,
        "model": {"latent": 12, "hidden": 8, "encoder": {"width": 8, "depth": 2}}, "clocks": clocks, "device": "cpu",
        "limits": {"refused": 10**9},  # every message is to be read
    }))  # fmt: skip


class Recorder(MemoryTransport):
    """Keeps what is sent to one agent."""

    def __init__(self, me: PeerId, post: MemoryNetwork, victim: PeerId, tape: list[Taped]) -> None:
        super().__init__(me, post)
        self._sender, self._victim, self._tape = me, victim, tape

    async def send(self, to: PeerId, frames: Any, plane: Plane) -> None:
        if to == self._victim and len(self._tape) < 5000:
            self._tape.append((self._sender, plane, [bytes(frame) for frame in frames]))
        await super().send(to, frames, plane)


class Tape:
    """A transport on which comes what ``draw`` gives, so many times; then ``done`` is set."""

    def __init__(self, draw: Callable[[], Taped], count: int, done: asyncio.Event) -> None:
        self._draw, self._count, self._done = draw, count, done
        self.on_disconnect: Callable[[PeerId], None] = ignore

    async def __aenter__(self) -> "Tape":
        return self

    async def __aexit__(self, *error: object) -> None: ...

    async def send(self, to: PeerId, frames: Any, plane: Plane) -> None: ...

    async def arrivals(self) -> AsyncIterator[Taped]:
        for i in range(self._count):
            yield self._draw()
            if i % 16 == 0:
                await asyncio.sleep(0)
        self._done.set()
        await asyncio.Event().wait()


def mutated(taped: Taped, rng: random.Random) -> Taped:
    """One message with up to three things wrong; now and then none."""
    sender, plane, frames = taped[0], taped[1], list(taped[2])
    for _ in range(rng.randrange(4)):
        i = rng.randrange(len(frames)) if frames else 0
        match rng.randrange(9) if frames else 8:
            case 0:  # a bit
                frame = bytearray(frames[i] or b"\0")
                frame[rng.randrange(len(frame))] ^= 1 << rng.randrange(8)
                frames[i] = bytes(frame)
            case 1:
                frames[i] = frames[i][: rng.randrange(len(frames[i]) + 1)]
            case 2:
                frames.insert(i, rng.randbytes(rng.randrange(64)))
            case 3:
                del frames[i]
            case 4:
                frames[i] = frames[i] * 2
            case 5:
                rng.shuffle(frames)
            case 6 | 7:
                frames[0] = reworded(frames[0], rng)
            case 8:
                sender = PeerId(rng.choice(["a1", "a2", "hub", "stranger", ""]))
    return sender, Plane(rng.randrange(2)) if rng.random() < 0.05 else plane, frames


def reworded(header: bytes, rng: random.Random) -> bytes:
    """A header with one field, at any depth, replaced."""
    try:
        fields = msgpack.unpackb(header)
        at = fields
        while isinstance(at, list) and at:
            i = rng.randrange(len(at))
            if not isinstance(at[i], list) or rng.random() < 0.5:
                at[i] = rng.choice([*VALUES, fields])[:2] if at is fields and rng.random() < 0.1 else rng.choice(VALUES)
                break
            at = at[i]
        packed: bytes = msgpack.packb(fields)
        return packed
    except (ValueError, TypeError, RecursionError):
        return rng.randbytes(16)


def agent(plan: RunPlan, me: PeerId, transport: Any, folder: Path) -> Agent:
    run = RunFolder(folder / me)
    log = EventLog(me, run.events(me))
    state = plan.agent_state(me)
    return Agent(state, transport, plan.neighbours(me), settings(plan, state, run, 0), log)


async def record(plan: RunPlan, victim: PeerId, folder: Path) -> list[Taped]:
    """What a real run sends to one agent in its first rounds."""
    post, tape, stop = MemoryNetwork(), list[Taped](), asyncio.Event()
    agents = [agent(plan, me, Recorder(me, post, victim, tape), folder / "recorded") for me in plan.specs]

    async def enough() -> None:
        while min(a.presence.card.round for a in agents) < RECORDED:
            await asyncio.sleep(0.01)
        stop.set()

    await asyncio.gather(*(a.run(stop) for a in agents), enough())
    return tape


def memory() -> int:
    """Resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def fuzz(method: str, count: int, seed: int, victim: PeerId) -> dict[str, Any]:
    """Throw so many messages at one agent; what it made of them."""
    torch.set_num_threads(1)
    rng, made = random.Random(seed), plan(method)
    with tempfile.TemporaryDirectory() as folder:

        async def run() -> dict[str, Any]:
            tape = await record(made, victim, Path(folder))
            done = asyncio.Event()
            target = agent(made, victim, Tape(lambda: mutated(rng.choice(tape), rng), count, done), Path(folder))
            before = memory()
            ended = await target.run(done)
            grown = memory() - before
            events = RunFolder(Path(folder) / victim).events(victim).read_text().splitlines()
            return {
                "method": method,
                "victim": victim,
                "messages": count,
                "refused": sum(target.messenger.refusals.values()),
                "rounds": ended,
                "grown_MB": round(grown / 1e6, 1),
                "finite": bool(target.agent_state.learner.buffer.values.isfinite().all()),
                "events": dict(Counter(json.loads(line)["event"] for line in events)),
            }

        return asyncio.run(run())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000, help="in all, over the methods and roles")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    cases = [("parse", "a0"), ("harmony", "a0"), ("fedavg", "a0"), ("fedavg", "hub"), ("fedafd", "a0"),
             ("fedafd", "hub"), ("fedcmi", "hub"), ("fedmosaic", "a0"), ("fedmosaic", "hub")]  # fmt: skip
    for method, victim in cases:
        found = fuzz(method, arguments.messages // len(cases), arguments.seed, PeerId(victim))
        print(json.dumps(found), flush=True)
        if not found["finite"]:
            sys.exit(f"{method}: {victim} was poisoned")


if __name__ == "__main__":
    main()
