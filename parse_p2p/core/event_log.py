"""The log of an agent: its events (``events``), one JSON object a line. Everything shown of a run is read from here."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from parse_p2p.core import events
from parse_p2p.core.events import Event
from parse_p2p.core.types import PeerId


@dataclass
class Ledger:
    """Bytes of one round: payload by peer and slice, and what crossed the transport in all."""

    sent: dict[PeerId, dict[str, int]] = field(default_factory=dict)
    wire_out: int = 0
    wire_in: int = 0

    def post(self, peer: PeerId, name: str, nbytes: int) -> None:
        row = self.sent.setdefault(peer, {})
        row[name] = row.get(name, 0) + nbytes

    def close(self) -> dict[str, Any]:
        """The round's entry; a new round begins."""
        entry = {"sent": self.sent, "wire_out": self.wire_out, "wire_in": self.wire_in}
        self.sent, self.wire_out, self.wire_in = {}, 0, 0
        return entry


class EventLog:
    """Append-only; a line is complete or not there. ``listener`` is told of every event too."""

    def __init__(self, agent: PeerId, path: Path | None) -> None:
        self.listener: Callable[[Event], None] = lambda event: None
        self._agent = agent
        self._file: IO[str] | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            cut = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
            self._file = path.open("a", buffering=1)
            if cut:  # the end of a line that a kill cut off must not run into the next
                self._file.write("\n")

    @property
    def kept(self) -> bool:
        """Whether there is a file."""
        return self._file is not None

    def write(self, event: Event) -> None:
        """Keep an event, with the agent and the time."""
        stamped = event.model_copy(update={"agent": self._agent, "time": round(time.time(), 3)})
        if self._file is not None:
            self._file.write(json.dumps(stamped.line()) + "\n")
        self.listener(stamped)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def last(path: Path) -> Event | None:
    """The last event of a log; None where there is none, or where a kill cut it off."""
    with contextlib.suppress(OSError, IndexError):
        return _parsed(path.read_bytes().splitlines()[-1])
    return None


def _parsed(line: bytes) -> Event | None:
    """The event of a line; None where it is none: cut off by a kill, nested beyond measure, or no event."""
    with contextlib.suppress(ValueError, RecursionError):
        return events.read(json.loads(line))
    return None


class Tail:
    """The events added to a log since the last look; an unfinished line waits for its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0

    def skip(self) -> None:
        """Pass over what is there already."""
        self._at = self._path.read_bytes().rfind(b"\n") + 1 if self._path.exists() else 0

    def read(self) -> Iterator[Event]:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._at)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._at += len(line)
                if (event := _parsed(line)) is not None:
                    yield event
