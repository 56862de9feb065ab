"""What a person sees of a run: a live table on a terminal, plain lines elsewhere, and a summary at the end.

All of it is read from the agents' event logs, so it shows what happened, whoever started the agents.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from parse_p2p.cli import terminal
from parse_p2p.cli.program import LogLevel
from parse_p2p.cli.terminal import Columns
from parse_p2p.core.types import PeerId

Event = Mapping[str, Any]
"""A line of an agent's log."""

COLUMNS = ("agent", "modalities", "round", "loss", "accuracy", "peers", "out", "in", "s/round", "")
BAR = 40  # characters
LONGEST_FACT = 60  # characters; a sketch has thousands, which are in the log


@dataclass
class AgentView:
    """The latest that an agent logged."""

    modalities: str
    state: str = "starting"
    resumed: bool = False
    rounds: dict[int, dict[str, Any]] = field(default_factory=dict)

    def take(self, event: Mapping[str, Any]) -> str | None:
        """Take in an event; a line for the reader if it is worth one."""
        match event["event"]:
            case "start" | "resumed":
                self.state = "waiting for peers"
                self.resumed = self.resumed or event["event"] == "resumed"
            case "joined":
                self.state = "running"
                if event["round"] and not self.resumed:
                    return f"{event['agent']} has joined in round {event['round'] + 1}"
            case "round":
                self.state = "running"
                self.rounds[event["round"]] = dict(event)
            case "end" | "left" | "stopped":
                self.state = {"end": "done"}.get(event["event"], event["event"])
                if self.state == "left":
                    return f"{event['agent']} has left after round {event['round']}"
            case "modalities":
                self.modalities = "+".join(event["modalities"])
                return f"{event['agent']} has {self.modalities} from round {event['round'] + 1} on"
            case "failed":
                self.state = "failed"
            case "fault":
                self.state = "killed" if "restart" in event else "stopped by a fault"
                return f"a fault of kind {event['kind']} strikes {event['agent']} in round {event['round']}"
            case "sensor":
                return f"{event['agent']} reads no numbers from {', '.join(event['modalities'])}"
            case "lost":
                return f"{event['agent']} lost its peer {event['peer']} in round {event['round']}"
            case "absent":
                return f"{event['agent']} goes on without {', '.join(event['peers'])}, planned to join in that round"
            case "waiting":
                self.state = f"waiting for {event['peer']}"
                return f"{event['agent']} waits for the coordinator {event['peer']}, {event['seconds']:g} s at most"
            case "on my own":
                return f"{event['agent']} trains on alone, without the coordinator {event['peer']}"
            case "void":
                return f"round {event['round']} of {event['agent']} is void: {event['why']}"
            case "refused":
                return f"{event['agent']} complains of {event['peer']}: {event['why']}"
        return None

    @property
    def latest(self) -> dict[str, Any]:
        return self.rounds[max(self.rounds)] if self.rounds else {}


class RunView:
    """The agents of a run as their logs tell them; means and worst are over all but the coordinator."""

    def __init__(self, kinds: Mapping[PeerId, str], rounds: int, first: int, coordinator: PeerId | None = None) -> None:
        self.agents = {me: AgentView(kind) for me, kind in kinds.items()}
        self.coordinator = coordinator
        self.rounds = rounds
        self.first = first
        self.began = time.monotonic()
        self.notes: list[str] = []
        self._shown = first

    def take(self, events: Iterable[Mapping[str, Any]]) -> list[str]:
        """Take in events; the notes that are new."""
        notes = [note for event in events if (note := self.agents[PeerId(event["agent"])].take(event))]
        self.notes += notes
        return notes

    def accuracy(self) -> dict[PeerId, float]:
        """The latest of each agent that has not left."""
        return {me: v.latest["accuracy"] for me, v in self.agents.items() if v.rounds and v.state != "left"}

    def sent(self) -> int:
        return sum(entry["wire_out"] for view in self.agents.values() for entry in view.rounds.values())

    def complete(self) -> int:
        """Rounds that every agent still there has finished."""
        there = [v for v in self.agents.values() if v.state not in ("died", "failed", "killed", "left")]
        return min((max(v.rounds, default=self.first - 1) + 1 for v in there), default=self.first)

    def finished_lines(self) -> Iterable[str]:
        """One line for each round that has become complete since the last call."""
        while self._shown < self.complete():
            views = [view for me, view in self.agents.items() if me != self.coordinator]
            if entries := [view.rounds[self._shown] for view in views if self._shown in view.rounds]:
                yield self._line(self._shown, entries)
            self._shown += 1

    def _line(self, round: int, entries: list[dict[str, Any]]) -> str:
        mean = {key: _mean(entries, key) for key in ("loss", "accuracy", "seconds")}
        worst = min(entries, key=lambda e: e["accuracy"])
        out = sum(e["wire_out"] for e in entries) / len(entries)
        return (
            f"round {round + 1:>3}/{self.rounds}  loss {mean['loss']:6.3f}  accuracy {mean['accuracy']:.3f}  "
            f"worst {worst['agent']} {worst['accuracy']:.3f}  out {size(out)} an agent  {mean['seconds']:.2f} s"
        )

    def table(self) -> Group:
        columns = Columns(COLUMNS, first=["agent", "round", "accuracy", "loss", "modalities"], left=["modalities", ""])
        for me, view in self.agents.items():
            columns.add_row(*_cells(me, view))
        return Group(columns, Text(), self._progress(), *(Text(note, "yellow") for note in self.notes[-3:]))

    def _progress(self) -> "_Progress":
        done, elapsed = self.complete() - self.first, time.monotonic() - self.began
        left = f", about {clock(elapsed / done * (self.rounds - self.first - done))} left" if done else ""
        return _Progress(self.complete(), self.rounds, f"{clock(elapsed)}{left}")


@dataclass(frozen=True)
class _Progress:
    """How many rounds are done; with a bar where there is room."""

    done: int
    rounds: int
    time: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        said = f"round {self.done} of {self.rounds}"
        if options.max_width < len(said) + BAR + len(self.time) + 2:
            yield Text(f"{said}, {self.time}")
            return
        line = Table.grid(padding=(0, 1))
        line.add_row(said, ProgressBar(self.rounds, self.done, width=BAR), self.time)
        yield line


def _mean(entries: list[dict[str, Any]], key: str) -> float:
    """Over those who have it: a client that was not chosen has no loss."""
    values: list[float] = [entry[key] for entry in entries if key in entry]
    return sum(values) / max(1, len(values))


def _cells(me: PeerId, view: AgentView) -> list[str]:
    last = view.latest
    plain = {"running": "", "done": "[green]done", "stopped": "[yellow]stopped", "left": "left"}
    state = plain.get(view.state, f"[red]{view.state}")
    if view.state in ("starting", "waiting for peers"):
        state = f"[dim]{view.state}"
    if not last:
        return [me, view.modalities, *[""] * 7, state]
    return [
        me,
        view.modalities,
        str(last["round"] + 1),
        f"{last['loss']:.3f}" if "loss" in last else "",
        f"{last['accuracy']:.3f}",
        str(last["alive"]),
        size(last["wire_out"]),
        size(last["wire_in"]),
        f"{last['seconds']:.2f}",
        state,
    ]


class Screen:
    """Shows a RunView: redrawn in place on a terminal that can, otherwise a line a round.

    Nothing when quiet; with the level ``debug`` also every event, as it stands in the log.
    """

    def __init__(self, view: RunView, console: Console, level: LogLevel) -> None:
        self._view = view
        self._console = console
        self._level = level
        redraw = terminal.can_redraw(console) and level is not LogLevel.QUIET
        self._live = Live(console=console, refresh_per_second=8) if redraw else None

    def __enter__(self) -> "Screen":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.update([])
        if self._live is not None:
            self._live.stop()

    def update(self, notes: list[str], events: Iterable[Event] = ()) -> None:
        """``notes`` are what is worth telling of the new ``events``."""
        if self._level is LogLevel.DEBUG:
            for event in events:
                self._print(_shown(event))
        if self._live is not None:
            self._live.update(self._view.table())
        elif self._level is not LogLevel.QUIET:
            for line in (*notes, *self._view.finished_lines()):
                self._print(line)

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _shown(event: Event) -> str:
    """An event as a line: time, agent, what happened, and its facts."""
    at = time.strftime("%H:%M:%S", time.localtime(event["time"]))
    facts = (_fact(key, value) for key, value in event.items() if key not in ("time", "agent", "event"))
    return " ".join((at, event["agent"], event["event"], *facts))


def _fact(key: str, value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{key}={text if len(text) <= LONGEST_FACT else text[:LONGEST_FACT] + '…'}"


def size(nbytes: float) -> str:
    """Bytes as a person reads them: 86.1 kB."""
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 1000 or unit == "GB":
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1000
    return ""


def clock(seconds: float) -> str:
    """Minutes and seconds: 1:05."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
