"""All agents of a run on this host, one process each, from a fork server that has torch loaded."""

import contextlib
import math
import multiprocessing
import os
import signal
import socket
import time
from multiprocessing.context import ForkServerProcess

from parse_p2p.assembly import World
from parse_p2p.errors import ConfigError
from parse_p2p.launch.folder import RunFolder
from parse_p2p.launch.process import child
from parse_p2p.names import PeerId
from parse_p2p.runlog import last


class Fleet:
    """The processes of a run. Use inside ``with``: whatever happens, none outlives it.

    Those that a fault of the run kills are no failures: ``tend`` starts them again when their time has come.
    """

    def __init__(self, world: World, folder: RunFolder, start: int) -> None:
        self._world = world
        self._folder = folder
        self._start = start
        self._context = multiprocessing.get_context("forkserver")
        self._processes: dict[PeerId, ForkServerProcess] = {}
        self._again: dict[PeerId, float] = {}  # those killed by a fault, and when each starts again, inf: never

    def __enter__(self) -> "Fleet":
        self._context.set_forkserver_preload(["parse_p2p.launch.preload"])
        # who has left is done; who comes when it likes is started by hand
        for me in [me for me, span in self._world.spans.items() if self._start < span.stop]:
            self._launch(me, self._start)
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _launch(self, me: PeerId, start: int | None) -> None:
        arguments = (self._world.run.model_dump(), me, self._folder, start)
        self._processes[me] = self._context.Process(target=child, args=arguments, name=me)
        self._processes[me].start()

    def running(self) -> list[PeerId]:
        """Those that have not ended, or will be started again."""
        return [
            me
            for me, process in self._processes.items()
            if process.is_alive() or (self._killed(me, process.exitcode) and self._again[me] < math.inf)
        ]

    def exit_codes(self) -> dict[PeerId, int]:
        """Of those that have ended, but for those that a fault has killed; negative: the signal that ended it."""
        ended = {me: p.exitcode for me, p in self._processes.items() if p.exitcode is not None}
        return {me: code for me, code in ended.items() if not self._killed(me, code)}

    def tend(self) -> None:
        """Start again those whose time has come; they ask their neighbours where to go on."""
        for me in [me for me, when in self._again.items() if when <= time.monotonic()]:
            del self._again[me]
            self._launch(me, None)

    def _killed(self, me: PeerId, code: int | None) -> bool:
        """Whether a fault of the run has ended it: then that is the last it has logged."""
        if me not in self._again and code == -signal.SIGKILL:
            event = last(self._folder.events(me))
            if event.get("event") == "fault" and event["kind"] == "kill":
                restart = math.inf if event["restart"] is None else event["restart"]
                self._again[me] = time.monotonic() + restart
        return me in self._again

    def stop(self, patience: float = 30.0) -> None:
        """Ask all to leave with a checkpoint, and end those that do not in time."""
        self._again.clear()
        started = [process for process in self._processes.values() if process.pid is not None]
        for process in started:
            if process.is_alive():
                process.terminate()
                _signal(process, signal.SIGCONT)  # a stopped one could not hear
        end = time.monotonic() + patience
        for process in started:
            process.join(max(0.0, end - time.monotonic()))
            if process.is_alive():
                _signal(process, signal.SIGKILL)
                process.join()


def _signal(process: ForkServerProcess, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid or 0, number)


def refuse_occupied(world: World, folder: RunFolder) -> None:
    """Raise ConfigError before anything is written if another program has one of our ports."""
    for me in world.seats:
        for address in world.places.listens(me, folder.path) or ():
            if address.startswith("tcp://") and not address.endswith(":*"):
                _refuse_if_taken(me, address)


def _refuse_if_taken(me: PeerId, address: str) -> None:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    try:
        family, kind, _, _, place = socket.getaddrinfo(host.strip("[]*") or None, int(port), type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(
            f"agent {me} cannot listen on {address}: {reason}; end the program that has the port, or give another "
            "address or base_port"
        ) from None
