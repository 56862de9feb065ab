"""All agents of a run on this host, one process each, from a fork server that has torch loaded."""

import contextlib
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


class Fleet:
    """The processes of a run. Use inside ``with``: whatever happens, none outlives it."""

    def __init__(self, world: World, folder: RunFolder, start: int) -> None:
        self._world = world
        self._folder = folder
        self._start = start
        self._processes: dict[PeerId, ForkServerProcess] = {}

    def __enter__(self) -> "Fleet":
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["parse_p2p.launch.preload"])
        run = self._world.run.model_dump()
        # who has left is done; who comes when it likes is started by hand
        for me in [me for me, span in self._world.spans.items() if self._start < span.stop]:
            arguments = (run, me, self._folder, self._start)
            self._processes[me] = context.Process(target=child, args=arguments, name=me)
            self._processes[me].start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def running(self) -> list[PeerId]:
        return [me for me, process in self._processes.items() if process.is_alive()]

    def exit_codes(self) -> dict[PeerId, int]:
        """Of those that have ended; negative: the signal that ended it."""
        return {me: p.exitcode for me, p in self._processes.items() if p.exitcode is not None}

    def stop(self, patience: float = 30.0) -> None:
        """Ask all to leave with a checkpoint, and end those that do not in time."""
        for process in self._processes.values():
            if process.is_alive():
                process.terminate()
        end = time.monotonic() + patience
        for process in self._processes.values():
            process.join(max(0.0, end - time.monotonic()))
            if process.is_alive():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid or 0, signal.SIGKILL)
                process.join()


def refuse_occupied(world: World, folder: RunFolder) -> None:
    """Raise ConfigError before anything is written if another program has one of our ports."""
    for me in world.seats:
        for address in world.places.address(me, folder.path):
            if address.startswith("tcp://"):
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
