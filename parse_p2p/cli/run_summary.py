"""What a run came to: read from its agents' logs, printed and kept."""

import json
import math
import time
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from parse_p2p.cli import terminal
from parse_p2p.cli.progress import Event, RunView, clock, size
from parse_p2p.cli.terminal import Columns
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.event_log import Tail
from parse_p2p.core.types import PeerId
from parse_p2p.launch.results import Summary, summarise, train_alone
from parse_p2p.launch.run_folder import RunFolder


class Logs:
    """All agents' logs of a run, in ``view``, and who has come to an end."""

    def __init__(self, plan: RunPlan, folder: RunFolder) -> None:
        self._plan = plan
        self._tails = {me: Tail(folder.events(me)) for me in plan.specs}
        self._over: dict[PeerId, str] = {}  # why, for those that failed; empty for those that did not
        self._first, self._last = math.inf, -math.inf
        self._heard = time.monotonic()
        self.view = view_of(plan, 0)

    def read(self) -> tuple[list[str], Sequence[Event]]:
        """Take in what is new: what is worth telling of it, and all of it."""
        events = [event for tail in self._tails.values() for event in tail.read()]
        for event in events:
            me, kind = PeerId(event["agent"]), event["event"]
            if kind in ("start", "resumed"):
                self._over.pop(me, None)
            elif kind == "failed":
                self._over[me] = f"failed: {event['why']}"
            elif kind == "left" or (kind == "end" and event["round"] == self._plan.run.rounds):
                self._over[me] = ""
            self._heard = time.monotonic()
            self._first, self._last = min(self._first, event["time"]), max(self._last, event["time"])
        return self.view.take(events), events

    def missing(self) -> dict[PeerId, str]:
        """Those that have not come to an end, or to a bad one, and what is known of each."""
        # of those who may come when they like nobody knows whether they will
        there = [me for me, span in self._plan.spans.items() if span or self.view.agents[me].rounds]
        return {me: why for me in there if (why := self._over.get(me, self._at(me)))}

    def _at(self, me: PeerId) -> str:
        agent, rounds = self.view.agents[me], self._plan.run.rounds
        if agent.state == "starting":
            return "has logged nothing here"
        done = max(agent.rounds, default=-1) + 1
        return f"is not at its end: {done} of {rounds} rounds are done, and it was last {agent.state}"

    def silence(self) -> float:
        """Seconds without a word from anyone; none once those who failed are all that is missing."""
        return math.inf if self.missing().keys() <= self._over.keys() else time.monotonic() - self._heard

    @property
    def seconds(self) -> float:
        """From the first event to the last."""
        return max(0.0, self._last - self._first)


def view_of(plan: RunPlan, start: int) -> RunView:
    """A run of which nothing has been read yet."""
    return RunView({me: plan.kind(me) for me in plan.specs}, plan.run.rounds, start, plan.coordinator)


def conclude(
    plan: RunPlan, folder: RunFolder, view: RunView, seconds: float, alone: bool, quiet: bool, keep: bool = True
) -> Summary:
    """What the run came to, beside the same agents ``alone``; ``keep`` writes it into the run's folder."""
    baseline = None
    if alone and plan.run.method != "local":
        baseline = _baseline(plan, quiet)
    summary = summarise(plan, view.accuracy(), baseline, view.sent(), plan.run.rounds - view.first, seconds)
    if keep:
        folder.summary.write_text(json.dumps(summary.plain(), indent=1), encoding="utf-8")
    return summary


def _baseline(plan: RunPlan, quiet: bool) -> dict[PeerId, float]:
    """Accuracies of the same agents alone; a terminal shows how far their training is."""
    console = terminal.console()
    if quiet or not terminal.can_redraw(console):
        return train_alone(plan, lambda done: None)
    said = "training the same agents alone, to compare with"
    with console.status(said, spinner="line") as status:  # of ASCII, unlike the usual one
        return train_alone(plan, lambda done: status.update(f"{said}: round {done}/{plan.run.rounds}"))


def show(summary: Summary, folder: RunFolder, console: Console) -> None:
    """Print the summary of a run."""
    console.print("\naccuracy on the test set, each agent with its own modalities (mean ± std)\n")
    console.print(table(summary))
    console.print(
        f"\n{size(summary.bytes_per_round)} on the wire for each agent in a round, {size(summary.bytes_total)} in all; "
        f"took {clock(summary.seconds)}\nrun folder: {folder.path}",
        highlight=False,
        soft_wrap=True,
    )


def table(summary: Summary) -> Columns:
    """Accuracy per agent type, as mean ± std over its agents, beside the same agents alone."""
    ceilings = any(row.ceiling is not None for row in summary.types)
    alone = any(row.alone is not None for row in summary.types)
    names = [
        "agents with", "agents", *(["alone"] if alone else []), summary.method, *(["gain"] if alone else []),
        "worst agent", *(["ceiling"] if ceilings else []),
    ]  # fmt: skip
    found = Columns(names, first=["agents with", summary.method, *(["gain"] if alone else []), "agents"])
    for row in summary.types:
        cells = {
            "agents with": escape(row.type),
            "agents": str(row.agents),
            "alone": "" if row.alone is None else f"{row.alone:.3f} ± {row.alone_std or 0:.3f}",
            "gain": "" if row.alone is None else f"{row.mean - row.alone:+.3f}",
            "worst agent": f"{row.worst:.3f} ({row.worst_agent})",
            "ceiling": "" if row.ceiling is None else f"{row.ceiling:.3f}",
            summary.method: f"[bold]{row.mean:.3f}[/] ± {row.std:.3f}",
        }
        found.add_row(*(cells[name] for name in names))
    return found
