"""What a person sees of a run: a live table on a terminal, plain lines elsewhere, and a summary at the end.

All of it is read from the agents' event logs, so it shows what happened, whoever started the agents.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from parse_p2p.cli import terminal
from parse_p2p.cli.program import LogLevel
from parse_p2p.cli.terminal import Columns
from parse_p2p.core.events import Event, Joined, Level, Round
from parse_p2p.core.types import PeerId

if TYPE_CHECKING:
    from parse_p2p.launch.run_history import AgentHistory, ArrivalSummary, RunHistory

COLUMNS = ("agent", "modalities", "round", "loss", "{score}", "peers", "out", "in", "s/round", "")
BAR = 40  # characters
GONE = ("died", "failed", "killed", "left")  # states of agents whose rounds nobody waits for
STATES = {
    "": "[dim]starting",
    "waiting for peers": "[dim]waiting for peers",
    "running": "",
    "done": "[green]done",
    "stopped": "[yellow]stopped",
    "left": "left",
}
"""How the states of agents are shown; others in red."""
LONGEST_FACT = 60  # characters; a sketch has thousands, which are in the log


class RunView:
    """The agents of a run as their logs tell them; means and worst are over all but the coordinator.

    ``score`` is what the task calls what others call accuracy.
    """

    def __init__(
        self,
        history: "RunHistory",
        rounds: int,
        first: int,
        coordinator: PeerId | None = None,
        score: str = "accuracy",
    ) -> None:
        self.score = score
        self.history, self.agents = history, history.agents
        self.coordinator = coordinator
        self.rounds = rounds
        self.first = first
        self.began = time.monotonic()
        self.notes: list[str] = []
        self._shown = first

    def take(self, event: Event) -> list[str]:
        """The note that a new event is worth, if any."""
        notes = [self._note(event)] if event.level is Level.NOTICE and not self._of_a_resumed_run(event) else []
        self.notes += notes
        return notes

    def _of_a_resumed_run(self, event: Event) -> bool:
        return isinstance(event, Joined) and self.agents[event.agent].resumed

    def _note(self, event: Event) -> str:
        when = "" if event.at is None else f"round {event.at + 1}: "
        return f"{when}{event.agent} {event.says}"

    def accuracy(self) -> dict[PeerId, float]:
        """The latest of each agent that has not left."""
        last = {me: agent.latest for me, agent in self.agents.items() if agent.state != "left"}
        return {me: row.accuracy for me, row in last.items() if row is not None and row.accuracy is not None}

    def scores(self) -> dict[PeerId, dict[str, float]]:
        """The latest of each agent that has not left, but for a coordinator: what the run file asks for."""
        last = {
            me: agent.latest for me, agent in self.agents.items() if agent.state != "left" and me != self.coordinator
        }
        return {me: row.scores for me, row in last.items() if row is not None and row.scores}

    def sent(self) -> int:
        return sum(row.wire_out for agent in self.agents.values() for row in agent.rounds.values())

    def complete(self) -> int:
        """Rounds that every agent still there has finished."""
        there = [agent for agent in self.agents.values() if agent.state not in GONE]
        return min((agent.done if agent.rounds else self.first for agent in there), default=self.first)

    def finished_lines(self) -> Iterable[str]:
        """One line for each round that has become complete since the last call."""
        while self._shown < self.complete():
            learning = {me: agent for me, agent in self.agents.items() if me != self.coordinator}
            if rows := {me: agent.rounds[self._shown] for me, agent in learning.items() if self._shown in agent.rounds}:
                yield self._line(self._shown, rows)
            self._shown += 1

    def _line(self, round: int, rows: Mapping[PeerId, Round]) -> str:
        accuracy = {me: row.accuracy for me, row in rows.items() if row.accuracy is not None}
        worst = min(accuracy, key=accuracy.__getitem__, default=None)
        named = "" if worst is None else f"worst {worst} {accuracy[worst]:.3f}  "
        out = sum(row.wire_out for row in rows.values()) / len(rows)
        arrived = sum(row.arriving or 0 for row in rows.values())
        new = f"arrived {arrived}  " if arrived else ""
        return (
            f"round {round + 1:>3}/{self.rounds}  loss {_mean(row.loss for row in rows.values()):6.3f}  "
            f"{self.score} {_mean(accuracy.values()):.3f}  {named}{new}out {size(out)} an agent  "
            f"{_mean(row.seconds for row in rows.values()):.2f} s"
        )

    def table(self) -> Group:
        arrived = self.history.arrived
        names = [name.format(score=self.score) for name in COLUMNS]
        names[-1:-1] = ["arrived"] if arrived else []
        columns = Columns(names, first=["agent", "round", self.score, "loss", "modalities"], left=["modalities", ""])
        for me, agent in self.agents.items():
            cells = _cells(me, agent)
            cells[-1:-1] = [_arrived(arrived.get(me))] if arrived else []
            columns.add_row(*cells)
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


def _mean(values: Iterable[float | None]) -> float:
    """Over those who have it: a client that was not chosen has no loss."""
    found = [value for value in values if value is not None]
    return sum(found) / max(1, len(found))


def _cells(me: PeerId, agent: "AgentHistory") -> list[str]:
    last = agent.latest
    state = STATES.get(agent.state, f"[red]{agent.state}")
    if last is None:
        return [me, agent.kind, *[""] * 7, state]
    return [
        me,
        agent.kind,
        str(last.round + 1),
        "" if last.loss is None else f"{last.loss:.3f}",
        "" if last.accuracy is None else f"{last.accuracy:.3f}",
        str(last.alive),
        size(last.wire_out),
        size(last.wire_in),
        f"{last.seconds:.2f}",
        state,
    ]


def _arrived(found: "ArrivalSummary | None") -> str:
    """How many samples, and the score on them before they were trained on."""
    if found is None:
        return ""
    return str(found.samples) if found.score is None else f"{found.samples} ({found.score:.3f})"


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

    def update(self, events: Iterable[Event], notes: Iterable[str] = ()) -> None:
        """Show new events; ``notes`` are what else there is to tell."""
        said = []
        for event in events:
            said += self._view.take(event)
            if self._level is LogLevel.DEBUG:
                self._print(_shown(event))
        said += notes
        if self._live is not None:
            self._live.update(self._view.table())
        elif self._level is not LogLevel.QUIET:
            for line in (*said, *self._view.finished_lines()):
                self._print(line)

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _shown(event: Event) -> str:
    """An event as a line: time, agent, what happened, and its facts."""
    at = time.strftime("%H:%M:%S", time.localtime(event.time))
    shown_already = ("time", "agent", "event", "level", "says")
    facts = (_fact(key, value) for key, value in event.line().items() if key not in shown_already)
    return " ".join((at, event.agent, event.name, *facts))


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
