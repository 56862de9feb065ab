"""The processes of a run, wherever they are, and what a launcher is."""

import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from parse_p2p.config.run_file import RunFile
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.event_log import last
from parse_p2p.core.events import Fault
from parse_p2p.core.types import PeerId
from parse_p2p.launch.run_folder import RunFolder


class Process(Protocol):
    """One agent's process."""

    @property
    def exitcode(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        ...

    def ask(self) -> None:
        """Ask it to leave with a checkpoint, even if it is stopped."""
        ...

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, or for so many seconds."""
        ...

    def kill(self) -> None: ...


class Supervisor:
    """All agents of a run. Use inside ``with``: whatever happens, none outlives it.

    Those that a fault of the run kills are no failures: ``tend`` starts them again when their time has come.
    """

    def __init__(self, plan: RunPlan, folder: RunFolder, start: int) -> None:
        self._plan = plan
        self._folder = folder
        self._start = start
        self._processes: dict[PeerId, Process] = {}
        self._again: dict[PeerId, float] = {}  # those killed by a fault, and when each starts again, inf: never

    def _launch(self, me: PeerId, start: int | None) -> Process:
        """Start one agent with this round; None: with the one that its neighbours name."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        # who has left is done; who comes when it likes is started by hand
        for me in [me for me, span in self._plan.spans.items() if self._start < span.stop]:
            self._processes[me] = self._launch(me, self._start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def running(self) -> list[PeerId]:
        """Those that have not ended, or will be started again."""
        return [
            me
            for me, process in self._processes.items()
            if (code := process.exitcode) is None or (self._killed(me, code) and self._again[me] < math.inf)
        ]

    def exit_codes(self) -> dict[PeerId, int]:
        """Of those that have ended, but for those that a fault has killed; negative: the signal that ended it."""
        ended = {me: code for me, p in self._processes.items() if (code := p.exitcode) is not None}
        return {me: code for me, code in ended.items() if not self._killed(me, code)}

    def tend(self) -> None:
        """Start again those whose time has come; they ask their neighbours where to go on."""
        for me in [me for me, when in self._again.items() if when <= time.monotonic()]:
            del self._again[me]
            self._processes[me] = self._launch(me, None)

    def _killed(self, me: PeerId, code: int | None) -> bool:
        """Whether a fault of the run has ended it: then that is the last it has logged."""
        if me not in self._again and code == -signal.SIGKILL:
            event = last(self._folder.events(me))
            if isinstance(event, Fault) and event.ends:
                restart = math.inf if event.restart is None else event.restart
                self._again[me] = time.monotonic() + restart
        return me in self._again

    def stop(self, patience: float = 30.0) -> None:
        """Ask all to leave with a checkpoint, and end those that do not in time."""
        self._again.clear()
        for process in self._processes.values():
            if process.exitcode is None:
                process.ask()
        end = time.monotonic() + patience
        for process in self._processes.values():
            process.join(max(0.0, end - time.monotonic()))
            if process.exitcode is None:
                process.kill()
                process.join()


@dataclass(frozen=True)
class Launcher:
    """A way to run all agents of a file.

    ``prepare`` is called before anything is read or opened; ``adapt`` gives the run file as this way needs it;
    ``check`` raises ConfigError, before anything is written, where the run cannot be. Agents are then started by
    entering the ``supervisor`` of a plan, a folder and a first round.
    """

    adapt: Callable[[RunFile], RunFile]
    check: Callable[[RunPlan, RunFolder], None]
    supervisor: type[Supervisor]
    prepare: Callable[[], None] = lambda: None
