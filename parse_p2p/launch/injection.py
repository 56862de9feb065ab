"""The faults of a run file, done to one agent: to its mail, and to its process."""

import os
import signal
import subprocess
import sys
from collections import Counter

from parse_p2p.assembly import World
from parse_p2p.faults import Kill, OfProcess, struck
from parse_p2p.launch.folder import RunFolder
from parse_p2p.names import PeerId
from parse_p2p.runlog import RunLog, Tail
from parse_p2p.transports.base import Transport
from parse_p2p.transports.faulty import FaultyTransport

WAKER = """
import os, select, signal, sys
seconds = float(sys.argv[1])
while not select.select([sys.stdin], [], [], seconds)[0]:
    os.kill(int(sys.argv[2]), signal.SIGCONT)
    seconds = 0.1
"""
"""Continues a stopped process after so many seconds; the end of its input says that it goes on, or is no more."""


def hurt(transport: Transport, world: World, me: PeerId, log: RunLog) -> FaultyTransport:
    """The agent's transport with the mail faults of the run; an event ``faults`` counts at the end what they did."""

    def tell(counts: Counter[str]) -> None:
        log.write("faults", **counts)

    return FaultyTransport(transport, me, world.run.faults, world.run.seed, world.run.clocks.drain, tell)


class ProcessFaults:
    """Kills or stops this process at the beginning of the rounds that the run's faults say.

    An event ``fault`` says so beforehand, so that a fault whose event is in the agent's log already strikes no more:
    whoever was killed and comes back is not killed by it again.
    """

    def __init__(self, world: World, me: PeerId, folder: RunFolder, log: RunLog) -> None:
        self._log = log
        past = {event["place"] for event in Tail(folder.events(me)).read() if event["event"] == "fault"}
        self._due: list[tuple[int, int, OfProcess]] = []  # round, place in the file, fault
        for place, fault in enumerate(world.run.faults):
            if isinstance(fault, OfProcess) and place not in past:
                rounds = struck(fault, place, world.run.seed, world.peers, world.run.rounds)
                if me in rounds:
                    self._due.append((rounds[me], place, fault))

    def begin(self, round: int) -> None:
        """The agent begins a round; a fault whose round has gone by meanwhile strikes now."""
        for due in [due for due in self._due if due[0] <= round]:
            self._due.remove(due)
            _, place, fault = due
            self._log.write(
                "fault", place=place, round=round, **fault.model_dump(include={"kind", "restart", "seconds"})
            )
            if isinstance(fault, Kill):
                os.kill(os.getpid(), signal.SIGKILL)
            else:
                stop(fault.seconds)


def stop(seconds: float) -> None:
    """Stop this process with all its threads; it goes on after so many seconds, or when it gets a SIGCONT before.

    A tiny process wakes it, which ends with it whatever happens. Call this on the main thread.
    """
    command = [sys.executable, "-IS", "-c", WAKER, str(seconds), str(os.getpid())]
    # in a session of its own, so that Ctrl-C does not end it and leave me stopped
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True):
        os.kill(os.getpid(), signal.SIGSTOP)
