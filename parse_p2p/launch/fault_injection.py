"""The faults of a run file, done to one agent: to its mail, and to its process."""

import os
import signal
import subprocess
import sys
from collections import Counter

from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.event_log import EventLog, Tail
from parse_p2p.core.types import PeerId
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.transports.base import Transport
from parse_p2p.transports.faulty import FaultyTransport
from parse_p2p.wire.faults import AnyMessageFault, AnyProcessFault, Kill, scheduled_rounds

WAKER = """
import os, select, signal, sys
seconds = float(sys.argv[1])
while not select.select([sys.stdin], [], [], seconds)[0]:
    os.kill(int(sys.argv[2]), signal.SIGCONT)
    seconds = 0.1
"""
"""Continues a stopped process after so many seconds; the end of its input says that it goes on, or is no more."""


class FaultInjection:
    """What the faults of a run do to one agent: give it ``transport`` for its own, and call ``begin`` every round.

    An event ``fault`` tells of a kill or a stop beforehand, so that a fault whose event is in the agent's log strikes
    no more: whoever was killed and comes back is not killed by it again. An event ``faults`` counts what was done to
    its mail, in the end and before it is killed.
    """

    def __init__(self, plan: RunPlan, me: PeerId, transport: Transport, folder: RunFolder, log: EventLog) -> None:
        run = plan.run
        self._log = log
        self._faulty = FaultyTransport(transport, me, run.faults, run.seed, run.clocks.drain, self._tell)
        self.transport: Transport = (
            self._faulty if any(isinstance(f, AnyMessageFault) for f in run.faults) else transport
        )
        past = {event["position"] for event in Tail(folder.events(me)).read() if event["event"] == "fault"}
        self._due: list[tuple[int, int, AnyProcessFault]] = []  # round, place in the file, fault
        for position, fault in enumerate(run.faults):
            if isinstance(fault, AnyProcessFault) and position not in past:
                rounds = scheduled_rounds(fault, position, run.seed, plan.peers, run.rounds)
                if me in rounds:
                    self._due.append((rounds[me], position, fault))

    def begin(self, round: int) -> None:
        """The agent begins a round; a fault whose round has gone by meanwhile strikes now."""
        self._faulty.begin(round)
        for due in [due for due in self._due if due[0] <= round]:
            self._due.remove(due)
            self._apply(round, due[1], due[2])

    def _apply(self, round: int, position: int, fault: AnyProcessFault) -> None:
        if isinstance(fault, Kill):
            self._faulty.tell()
            self._log.write("fault", kind="kill", position=position, round=round, restart=fault.restart)
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            self._log.write("fault", kind="stop", position=position, round=round, seconds=fault.seconds)
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
