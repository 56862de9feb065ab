"""The process hangs for a while."""

import os
import signal
import subprocess
import sys

from pydantic import Field

from parse_p2p.wire.faults.base import ProcessFault

WAKER = """
import os, select, signal, sys
seconds = float(sys.argv[1])
while not select.select([sys.stdin], [], [], seconds)[0]:
    os.kill(int(sys.argv[2]), signal.SIGCONT)
    seconds = 0.1
"""
"""Continues a stopped process after so many seconds; the end of its input says that it goes on, or is no more."""


class Stop(ProcessFault):
    """SIGSTOP: the process hangs, its sockets stay open; SIGCONT after so many seconds."""

    seconds: float = Field(gt=0, description="for so long")

    def strike(self) -> None:
        stop(self.seconds)


def stop(seconds: float) -> None:
    """Stop this process with all its threads; it goes on after so many seconds, or when it gets a SIGCONT before.

    A tiny process wakes it, which ends with it whatever happens. Call this on the main thread.
    """
    command = [sys.executable, "-IS", "-c", WAKER, str(seconds), str(os.getpid())]
    # in a session of its own, so that Ctrl-C does not end it and leave me stopped
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True):
        os.kill(os.getpid(), signal.SIGSTOP)


FAULT = Stop
