"""The faults of a run file, done to one agent: to its mail, and to its process."""

import os
import signal
import subprocess
import sys
from collections import Counter

from parse_p2p.config.run_plan import World
from parse_p2p.core.event_log import RunLog, Tail
from parse_p2p.core.types import PeerId
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.transports.base import Transport
from parse_p2p.transports.faulty import FaultyTransport
from parse_p2p.wire.faults import Kill, OfMail, OfProcess, struck

WAKER = """
import os, select, signal, sys
seconds = float(sys.argv[1])
while not select.select([sys.stdin], [], [], seconds)[0]:
    os.kill(int(sys.argv[2]), signal.SIGCONT)
    seconds = 0.1
"""
"""Continues a stopped process after so many seconds; the end of its input says that it goes on, or is no more."""


class Injection:
    """What the faults of a run do to one agent: give it ``transport`` for its own, and call ``begin`` every round.

    An event ``fault`` tells of a kill or a stop beforehand, so that a fault whose event is in the agent's log strikes
    no more: whoever was killed and comes back is not killed by it again. An event ``faults`` counts what was done to
    its mail, in the end and before it is killed.
    """

    def __init__(self, world: World, me: PeerId, transport: Transport, folder: RunFolder, log: RunLog) -> None:
        run = world.run
        self._log = log
        self._mail = FaultyTransport(transport, me, run.faults, run.seed, run.clocks.drain, self._tell)
        self.transport: Transport = self._mail if any(isinstance(f, OfMail) for f in run.faults) else transport
        past = {event["place"] for event in Tail(folder.events(me)).read() if event["event"] == "fault"}
        self._due: list[tuple[int, int, OfProcess]] = []  # round, place in the file, fault
        for place, fault in enumerate(run.faults):
            if isinstance(fault, OfProcess) and place not in past:
                rounds = struck(fault, place, run.seed, world.peers, run.rounds)
                if me in rounds:
                    self._due.append((rounds[me], place, fault))

    def begin(self, round: int) -> None:
        """The agent begins a round; a fault whose round has gone by meanwhile strikes now."""
        self._mail.begin(round)
        for due in [due for due in self._due if due[0] <= round]:
            self._due.remove(due)
            self._strike(round, due[1], due[2])

    def _strike(self, round: int, place: int, fault: OfProcess) -> None:
        if isinstance(fault, Kill):
            self._mail.tell()
            self._log.write("fault", kind="kill", place=place, round=round, restart=fault.restart)
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            self._log.write("fault", kind="stop", place=place, round=round, seconds=fault.seconds)
            stop(fault.seconds)

    def _tell(self, counts: Counter[str]) -> None:
        if counts:
            self._log.write("faults", **counts)


def stop(seconds: float) -> None:
    """Stop this process with all its threads; it goes on after so many seconds, or when it gets a SIGCONT before.

    A tiny process wakes it, which ends with it whatever happens. Call this on the main thread.
    """
    command = [sys.executable, "-IS", "-c", WAKER, str(seconds), str(os.getpid())]
    # in a session of its own, so that Ctrl-C does not end it and leave me stopped
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True):
        os.kill(os.getpid(), signal.SIGSTOP)
