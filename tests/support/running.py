"""Run a small world in every way there is, and read what it leaves behind."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import loaded
import plans

from parse_p2p.config import run_file
from parse_p2p.core.event_log import EventLog
from parse_p2p.launch.fault_injection import FaultInjection
from parse_p2p.launch.process import discovery, settings
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.runtime import checkpoint
from parse_p2p.runtime.agent import Agent
from parse_p2p.transports.memory import MemoryNetwork, MemoryTransport
from parse_p2p.transports.zmq import ZmqTransport

TYPES = {"audio": 2, "motion": 2, "audio+motion": 1}
SLOW = {"kind": "delay", "seconds": 0.25}
PACED = {"encoder": {"kind": "paced.encoder"}}  # the model of agents whose training takes a while and costs little
GUARD = 170  # seconds after which something hangs; nothing is decided by it
COMMAND = Path(sys.executable).with_name("parse-agent")


def plan(**changes):
    """Five agents of three types on a ring."""
    return plans.plan(TYPES, **{"rounds": 3} | changes)


def lengthy(rounds, **changes):
    """A world whose rounds take long enough to be interrupted, and cost little: messages are slow."""
    return plan(rounds=rounds, **{**changes, "faults": [SLOW, *changes.get("faults", ())]})


# in this process


def simulated(plan):
    """The states of all agents after a simulated run."""
    return states(plans.finished(plan)[0].values())


def states(agent_states):
    return {agent_state.me: agent_state.state() for agent_state in agent_states}


def over_memory(plan, folder):
    transports = dict(memory(plan))
    return _in_one_loop(plan, folder, transports.__getitem__)


def memory(plan):
    """Each agent with its transport."""
    post = MemoryNetwork()
    return [(me, MemoryTransport(me, post)) for me in plan.specs]


def over_ipc(plan, folder):
    with tempfile.TemporaryDirectory(prefix="p2p-") as sockets:  # the path of a socket must be short
        addresses = {me: (f"ipc://{sockets}/{me}.data", f"ipc://{sockets}/{me}.control") for me in plan.specs}
        return _in_one_loop(plan, folder, lambda me: ZmqTransport(me, {p: addresses[p] for p in around(plan, me)}))


def over_tcp(plan, folder):
    addresses = {me: plan.endpoints.address(me, folder) for me in plan.specs}
    return _in_one_loop(plan, folder, lambda me: ZmqTransport(me, {p: addresses[p] for p in around(plan, me)}))


def over_found(plan, folder):
    """Over the addresses that the run's discovery gives or finds."""

    def opened(me):
        return ZmqTransport(me, plan.endpoints.addresses(me, plan.neighbours(me), folder))

    return _in_one_loop(plan, folder, opened)


def around(plan, me):
    return sorted({me, *plan.neighbours(me)})


def _in_one_loop(plan, folder, transport):
    agents = [agent(plan, me, transport(me), RunFolder(folder)) for me in plan.specs]
    assert together(agents) == [span.stop for span in plan.spans.values()]
    return states(agent.agent_state for agent in agents)


def agent(plan, me, transport, folder, newest=None):
    """An agent that is not yet running, or comes back with its checkpoint of the round ``newest``."""
    log = EventLog(me, folder.events(me))
    start = plan.spans[me].start if newest is None else None
    injection = FaultInjection(plan, me, transport, folder, log)
    found = discovery(plan, me, transport, plan.run.clocks, folder, log)
    state = plan.agent_state(me)
    folder.keep_arrivals(state)
    agent_settings = settings(plan, state, folder, start)
    made = Agent(state, injection.transport, plan.neighbours(me), agent_settings, log, found)
    made.on_round = injection.begin
    if newest is not None:
        made.agent_state.restore(checkpoint.load(folder.checkpoints(me), newest))
        made.presence.propose(newest)
    return made


def together(agents):
    """Run agents in one loop: what each returns or raises."""

    async def run():
        async with asyncio.timeout(GUARD):
            return await asyncio.gather(*(a.run(asyncio.Event()) for a in agents), return_exceptions=True)

    return asyncio.run(run())


# by the command line


def write(plan, folder):
    """The run file of a world."""
    path = folder / "world.yaml"
    path.write_text(run_file.dump(plan.run), encoding="utf-8")
    return path


@contextmanager
def started(file, out, *arguments, under=()):
    """``parse-agent`` in a process group of its own, of which nothing is left in the end.

    It begins loaded; with ``under``, the words of a command that starts another, it is that command that is started.
    """
    command = [*map(str, under), str(COMMAND), "--topology", str(file), "--out", str(out), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}  # for the plug-ins of tests
    process: subprocess.Popen[str] | loaded.Command
    if under:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=environment,
        )
    else:
        process = loaded.Command(command[1:], environment)
    try:
        yield process
    finally:
        end(process)


def end(process):
    """Kill the process and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if isinstance(process, loaded.Command):
        process.close()
    else:
        process.stdout.close()
        process.stderr.close()


def ended(process):
    """Exit code and all that was printed."""
    out, err = process.communicate(timeout=GUARD)
    return process.returncode, out + err


def everything(file, out, *arguments, **options):
    """All agents of a file, run to the end: exit code and what was printed."""
    with started(file, out, "--quiet", "--no-alone", *arguments, **options) as process:
        return ended(process)


def over_processes(plan, folder):
    code, printed = everything(write(plan, folder), folder / "run")
    assert code == 0, printed
    return saved(plan, folder / "run")


def saved(plan, out):
    """The states in the last checkpoints of a finished run."""
    return {me: checkpoint.load(RunFolder(out).checkpoints(me), span.stop) for me, span in plan.spans.items()}


def events(out, me, kind=None):
    """What an agent logged so far."""
    path = RunFolder(out).events(me)
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    found = [json.loads(line) for line in lines if line.endswith("\n")]
    return [event for event in found if kind in (None, event["event"])]


def until(condition):
    """Wait for something that is bound to come."""
    late = time.monotonic() + GUARD
    while not condition():
        assert time.monotonic() < late, "it never came"
        time.sleep(0.02)


def until_round(out, me, round):
    """Wait until an agent has finished a round."""
    until(lambda: any(event["round"] >= round for event in events(out, me, "round")))


def until_left_out(plan, out, who):
    """Wait until each of an agent's neighbours has finished a round without it."""
    for me in plan.neighbours(who):
        until(lambda me=me: any(who not in event["sent"] for event in events(out, me, "round")))


def _read(path):
    try:
        return path.read_text()
    except OSError:  # it ended meanwhile
        return ""


def group_lives(group):
    """Whether any process of the group is left; one that only waits for its parent to look is not."""
    stats = (_read(path) for path in Path("/proc").glob("[0-9]*/stat"))
    fields = [stat.rpartition(")")[2].split() for stat in stats if stat]
    return any(state != "Z" and int(its_group) == group for state, _, its_group, *_ in fields)


# to compare


def differing(one, other):
    """What differs, to the last bit, between two runs' states."""
    assert one.keys() == other.keys()
    return [
        f"{me}: {name}"
        for me in one
        for name in sorted(one[me].keys() | other[me].keys())
        if name not in one[me] or name not in other[me] or not _same(one[me][name], other[me][name])
    ]


def _same(one, other):
    return one.dtype == other.dtype and one.shape == other.shape and one.numpy().tobytes() == other.numpy().tobytes()
