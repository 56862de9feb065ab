"""All agents of a run on this host, one process each, from a fork server that has torch loaded."""

import contextlib
import os
import signal
import socket
from multiprocessing.context import ForkServerProcess

from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.types import PeerId
from parse_p2p.launch import fork_server
from parse_p2p.launch.process import child
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.launch.supervisor import Launcher, Supervisor
from parse_p2p.learning.metrics import base as metrics
from parse_p2p.transports.base import cannot_listen


class Forked:
    """A process of this host."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process
        process.start()
        self.join, self.kill = process.join, process.kill

    @property
    def exitcode(self) -> int | None:
        return self._process.exitcode

    def ask(self) -> None:
        self._process.terminate()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid or 0, signal.SIGCONT)  # a stopped one could not hear


class LocalSupervisor(Supervisor):
    """Processes of this host."""

    def _launch(self, me: PeerId, start: int | None) -> Forked:
        context = fork_server.context(type(self._plan.run.discovery).__module__)
        arguments = (self._plan.run.model_dump(), me, self._folder, start)
        return Forked(context.Process(target=child, args=arguments, name=me))


def check(plan: RunPlan, folder: RunFolder) -> None:
    """Raise ConfigError before anything is written for a device, a port or a source of data that cannot be had."""
    if plan.run.metrics:
        metrics.check()
    for me in plan.specs:
        plan.device(me)
        plan.data.check_source(me)
    refuse_occupied(plan, folder)


def refuse_occupied(plan: RunPlan, folder: RunFolder) -> None:
    """Raise ConfigError if another program has one of our ports."""
    for me in plan.specs:
        for address in plan.endpoints.listens(me, folder.path) or ():
            if address.startswith("tcp://") and not address.endswith(":*"):
                _refuse_if_taken(me, address)


def _refuse_if_taken(me: PeerId, address: str) -> None:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    try:
        family, kind, _, _, endpoint = socket.getaddrinfo(
            host.strip("[]*") or None, int(port), type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(endpoint)
    except OSError as error:
        raise cannot_listen(me, address, error.errno, error.strerror or str(error)) from None


LAUNCHER = Launcher(adapt=lambda run: run, check=check, supervisor=LocalSupervisor, prepare=fork_server.begin)
