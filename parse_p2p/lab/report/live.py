"""A run as it grows, for all who look at it: the newest structure, and what changed from one to the next."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from parse_p2p.config import run_file
from parse_p2p.core.errors import ConfigError
from parse_p2p.discovery.mqtt_broker import Broker
from parse_p2p.lab.report.json_diff import changes
from parse_p2p.lab.report.page import dumped
from parse_p2p.lab.report.run_data import RunData
from parse_p2p.lab.report.telemetry import Telemetry


class Source:
    """A run's logs, its summary and ``pid.json``, and what a broker says of the agents that have none here."""

    def __init__(self, data: RunData, telemetry: Telemetry | None) -> None:
        self._data = data
        self._telemetry = telemetry
        self._said = ""
        folder = data.folder
        self._files = (folder.summary, folder.path / "pid.json")  # written after the last line of a log
        self._stamps = [_stamp(path) for path in self._files]

    def read(self) -> bool:
        found = self._data.read()
        old, self._stamps = self._stamps, [_stamp(path) for path in self._files]
        found |= old != self._stamps
        if self._telemetry is None:
            return found
        for event in self._telemetry.read():
            if not self._data.logged(event.agent):  # whose log is here says more itself
                self._data.take(event.agent, event)
                found = True
        before, self._said = self._said, self._telemetry.trouble
        return found or before != self._said

    def plain(self) -> dict[str, Any]:
        run = self._data.plain()
        if self._telemetry is None:
            return run
        heard = "What comes through the broker alone has no slices: no edges and no distances are known of it."
        lost = f"The broker does not answer ({self._said}); trying again."
        return run | {"notes": [*run["notes"], lost if self._said else heard]}


def _stamp(path: Path) -> tuple[int, int] | None:
    """When a file was last written and how long it is; None where there is none."""
    with contextlib.suppress(OSError):
        stat = path.stat()
        return stat.st_mtime_ns, stat.st_size
    return None


def source(path: Path, broker: str | None) -> Source:
    """Raises ConfigError where there is no run, or no such broker."""
    if broker is None:
        return Source(RunData(path), None)
    try:
        spoken = Broker.parse(broker)
    except ConfigError as error:
        raise ConfigError(f"--broker: {error}") from None
    data = RunData(path.parent, run_file.load(path)) if path.is_file() else RunData(path)
    return Source(data, Telemetry(spoken, data.run.digest(), data.ids))


class Feed:
    """What one thread reads and many others tell their browsers. A structure that was given out is never changed."""

    def __init__(self, run: Source) -> None:
        self._run = run
        self._new = threading.Condition()
        self._number = 0
        self._closed = False
        run.read()
        self._runs = [run.plain()]

    def look(self) -> None:
        """Read what is new, and wake those who wait for it."""
        if self._run.read():
            runs = [self._run.plain()]
            with self._new:
                self._number, self._runs = self._number + 1, runs
                self._new.notify_all()

    def close(self) -> None:
        """All streams end."""
        with self._new:
            self._closed = True
            self._new.notify_all()

    def now(self) -> tuple[int, list[dict[str, Any]]]:
        """The newest runs, and the number of their state."""
        with self._new:
            return self._number, self._runs

    def messages(self, ping: float) -> Iterator[str]:
        """Server-sent events for one browser: everything, then what changes; after ``ping`` seconds a comment."""
        number, runs = self.now()
        yield f"event: whole\ndata: {dumped(runs)}\n\n"
        while True:
            with self._new:
                if self._number == number and not self._closed:
                    self._new.wait(ping)
                if self._closed:
                    return
                before, (number, runs) = runs, (self._number, self._runs)
            patch = changes(before, runs)
            yield ": still here\n\n" if patch is None else f"event: change\ndata: {dumped(patch)}\n\n"
