"""How far the runs of an experiment are: a bar on a terminal, lines where output goes into a file or to a program."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINES = 20  # of a batch of runs, about

OnProgress = Callable[[int, int], None]
"""How many of how many runs of a batch are done, from 0."""


class Lines:
    """Says how far it is about twenty times: runs done, time since the batch began, and an estimate of what is left."""

    def __init__(self, name: str, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._name, self._say, self._clock = name, say, clock
        self._began = clock()

    def __call__(self, done: int, of: int) -> None:
        if done == 0:
            self._began = self._clock()
        elif done % max(1, of // LINES) == 0 or done == of:
            spent = self._clock() - self._began
            left = f", about {_time(spent / done * (of - done))} left" if done < of else ""
            self._say(f"{self._name}: {done} of {of} runs, {_time(spent)}{left}")


@contextmanager
def shown(name: str, console: Console, quiet: bool) -> Iterator[OnProgress]:
    """What progress of runs is to be said to, shown on this console."""
    if quiet:
        yield lambda done, of: None
        return
    if not console.is_terminal:
        yield Lines(name, lambda line: console.print(line, highlight=False, soft_wrap=True, markup=False))
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TextColumn("left"), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console, transient=True, speed_estimate_period=3600) as bar:
        task = bar.add_task(name, total=None)

        def tell(done: int, of: int) -> None:
            if done == 0:
                bar.reset(task, total=of)
            bar.update(task, completed=done)

        yield tell


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
