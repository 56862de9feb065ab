"""What a run came to, told at its end; and ``parse-agent summary``, for agents that were started one by one."""

import json
import math
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from parse_p2p.cli.progress import RunView, Screen, clock, size, summary_table
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.errors import P2PError
from parse_p2p.core.event_log import Tail
from parse_p2p.core.types import PeerId
from parse_p2p.launch.results import summarise, train_alone
from parse_p2p.launch.run_folder import RunFolder

LOOK = 0.5  # seconds between two looks at the logs


def summary(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    wait: Annotated[bool, typer.Option("--wait", help="First wait for the end, and tell of every round.")] = False,
    patience: Annotated[
        float, typer.Option(min=0, help="With --wait: seconds without news from anyone, after which it waits no more.")
    ] = 300.0,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only the summary.")] = False,
    alone: Annotated[bool, typer.Option(help="Also train the same agents alone, to compare with.")] = True,
) -> None:
    """Print the summary of a run, or of its rounds so far: for agents that are started one by one.

    All agents' logs have to be in the folder. The exit code is 1 if one of them has not come to its end.
    """
    folder, console = RunFolder(run), Console()
    end = time.monotonic() + (patience if wait else 0)
    while not folder.file.exists():
        if time.monotonic() >= end:
            break
        time.sleep(LOOK)
    plan = folder.open()
    logs = Logs(plan, folder)
    with Screen(logs.view, console, quiet or not wait) as screen:
        screen.update(logs.read())
        while wait and logs.missing() and logs.silence() < patience:
            time.sleep(LOOK)
            screen.update(logs.read())
    missing = logs.missing()
    if not logs.view.accuracy():
        raise P2PError(f"no agent has finished a round yet in {run}" + ("" if wait else ": add --wait"))
    conclude(plan, folder, logs.view, logs.seconds, alone, quiet, console, keep=not missing)
    for me, why in missing.items():
        console.print(f"[yellow]{me} {why}[/]", highlight=False, soft_wrap=True)
    if missing:
        raise typer.Exit(1)


class Logs:
    """All agents' logs of a run, in ``view``, and who has come to an end."""

    def __init__(self, plan: RunPlan, folder: RunFolder) -> None:
        self._plan = plan
        self._tails = {me: Tail(folder.events(me)) for me in plan.specs}
        self._over: dict[PeerId, str] = {}  # why, for those that failed; empty for those that did not
        self._first, self._last = math.inf, -math.inf
        self._heard = time.monotonic()
        self.view = view_of(plan, 0)

    def read(self) -> list[str]:
        """Take in what is new; what is worth telling of it."""
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
        return self.view.take(events)

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
    plan: RunPlan,
    folder: RunFolder,
    view: RunView,
    seconds: float,
    alone: bool,
    quiet: bool,
    console: Console,
    keep: bool = True,
) -> None:
    """Print the summary, beside the same agents ``alone``; ``keep`` writes it into the run's folder."""
    baseline = None
    if alone and plan.run.method != "local":
        status = console.status("training the same agents alone, to compare with")
        if quiet or not console.is_terminal:
            baseline = train_alone(plan, lambda done: None)
        else:
            with status:
                said = "training the same agents alone: round"
                baseline = train_alone(plan, lambda done: status.update(f"{said} {done}/{plan.run.rounds}"))
    summary = summarise(plan, view.accuracy(), baseline, view.sent(), plan.run.rounds - view.first, seconds)
    if keep:
        folder.summary.write_text(json.dumps(summary.plain(), indent=1), encoding="utf-8")
    console.print("\naccuracy on the test set, each agent with its own modalities (mean ± std)\n")
    console.print(summary_table(summary))
    console.print(
        f"\n{size(summary.bytes_per_round)} on the wire for each agent in a round, {size(summary.bytes_total)} in all; "
        f"took {clock(seconds)}\nrun folder: {folder.path}",
        highlight=False,
        soft_wrap=True,
    )
