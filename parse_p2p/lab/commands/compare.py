"""``parse-lab compare``: run an experiment file and show what came of it."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table as Shown

from parse_p2p import __version__
from parse_p2p.cli import terminal
from parse_p2p.cli.terminal import Columns
from parse_p2p.core.errors import ConfigError
from parse_p2p.lab.commands import sweep_progress
from parse_p2p.launch import exit_codes, fork_server

if TYPE_CHECKING:
    from parse_p2p.lab.experiments.experiment import Experiment
    from parse_p2p.lab.experiments.experiment_tables import Study, Table

RUNS = Path("runs") / "lab"


def compare(
    experiment: Annotated[Path, typer.Argument(help="An experiment file; experiments/ has examples.")],
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", "--workers", min=0, help="Runs at once, a core each; 0: as many as cores.")
    ] = 0,
    engine: Annotated[
        str | None,
        typer.Option(help="simulator or processes, in place of the file's; or ray: the simulator's runs on a cluster."),
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Only the first so many seeds, for a quick look.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where outcomes are kept; by default in runs/lab/.")] = None,
    picture: Annotated[
        bool, typer.Option("--picture", help="Draw curves over rounds and bytes, and differences.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing of progress.")] = False,
) -> None:
    """Run every combination of an experiment, and compare: means, 95 % intervals, paired differences, costs.

    Interrupted, the same command goes on where it stopped; what is done is never run again.
    """
    from parse_p2p.lab.experiments import experiment as experiments  # with torch
    from parse_p2p.lab.experiments.ray_executor import RayExecutor

    chosen = experiments.load(experiment)
    if engine is not None and engine not in ("simulator", "processes", "ray"):
        raise ConfigError(f"--engine {engine}: take simulator, processes or ray")
    if engine == "ray" and jobs:
        raise ConfigError("--jobs is for this machine: with --engine ray as many run at once as the cluster has CPUs")
    changes = {"engine": "simulator" if engine == "ray" else engine} if engine else {}
    chosen = chosen.model_copy(update={**changes, "seeds": chosen.seeds[:seeds]})
    folder = out or RUNS / chosen.name
    try:
        (folder / "outcomes").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {folder} cannot be made: {(error.strerror or str(error)).lower()}") from None
    console = terminal.console()
    pool = RayExecutor if engine == "ray" else None
    if pool is None:
        fork_server.begin()
    study = complete(chosen, folder, jobs or default_workers(chosen), quiet, console, pool)
    tables = list(study.tables())
    for table in [*tables, *study.over_sets(), *study.claims()]:
        for part in shown(table):
            console.print(part, highlight=False)
    curves, measures = study.write_csv(folder)
    drawn = _pictures(study, folder) if picture else {}
    page = folder / "tables.md"
    page.write_text(
        "\n".join(written(study, tables, pictures={said: file.name for said, file in drawn.items()})), encoding="utf-8"
    )
    said = f"written: {', '.join(map(str, [page, curves, measures, *drawn.values()]))}"
    console.print(said, highlight=False, soft_wrap=True, markup=False)


def default_workers(experiment: "Experiment") -> int:
    """One for each core; real processes fill the cores by themselves."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 1 if experiment.engine == "processes" else mine


def complete(experiment: "Experiment", folder: Path, workers: int, quiet: bool, console: Console,
             pool: Callable[[int], Executor] | None = None) -> "Study":  # fmt: skip
    """Run what is missing, in processes of this host or in a ``pool``; say how far it is, and what was there."""
    from parse_p2p.lab.experiments.experiment_tables import Study
    from parse_p2p.lab.experiments.result_store import ResultStore
    from parse_p2p.lab.experiments.sweep import LocalExecutor, Sweep

    def say(what: str) -> None:
        console.print(f"{experiment.name}: {what}", highlight=False, soft_wrap=True, markup=False)

    with sweep_progress.shown(experiment.name, console, quiet) as on_progress:

        def tell(done: int, of: int) -> None:
            if done == 0 and (again := len(sweep.changed - sweep.made)) and not quiet:
                say(f"{again} of {of} runs are made anew, for the code has changed since")
            on_progress(done, of)

        try:
            with Sweep(ResultStore(folder / "outcomes"), workers, tell, pool or LocalExecutor) as sweep:
                study = Study(experiment, sweep)
                study.run()
        except KeyboardInterrupt:
            stopped = True
        else:
            stopped = False
    if not quiet:
        say(sweep.said)
    if stopped:
        console.print("\nStopped; finished runs are kept. The same command goes on.", soft_wrap=True)
        raise typer.Exit(exit_codes.INTERRUPTED)
    return study


def shown(table: "Table") -> Iterator[RenderableType]:
    """For the terminal; a narrow one shows the most telling columns, and ``tables.md`` has them all."""
    if table.heading:
        yield f"[italic]{escape(table.heading)}"
    found = Columns(table.head, table.first) if table.first else _folded(table.head)
    for row in table.body:
        found.add_row(*map(escape, row))
    yield found
    yield from map(escape, table.notes)


def _folded(head: Iterable[str]) -> Shown:
    """A table of which every column is shown, however narrow."""
    found = Shown(box=None, header_style="bold", pad_edge=False)
    for name in head:
        found.add_column(escape(name), justify="right" if name else "left", overflow="fold")
    return found


def written(
    study: "Study", tables: "list[Table]", level: str = "#", pictures: Mapping[str, str] | None = None
) -> list[str]:
    """Everything about an experiment in Markdown; ``pictures`` are places of pictures by what they show."""
    import torch

    from parse_p2p.lab.experiments.statistics import markdown

    experiment = study.experiment
    made = f"Made by `parse-lab compare {_short(experiment.path)}` with parse-p2p {__version__}, "
    made += f"torch {torch.__version__}, on {time.strftime('%Y-%m-%d')}."
    title, how = experiment.title or experiment.name, " ".join(_how(study))
    text = [f"{level} {title}", "", experiment.say.strip(), "", f"{made} {how}"]
    for said, place in (pictures or {}).items():
        text += ["", f"![{said}]({place})"]
    for table in [*tables, *study.over_sets()]:
        text += ["", f"{level}# {table.heading}", ""] if table.heading else [""]
        text += markdown(table.head, table.body)
        for note in table.notes:
            text += ["", note]
    for claims in study.claims():
        text += ["", f"{level}# Claims", ""]
        text += ["The first less the second.", ""]
        text += markdown(claims.head, claims.body)
    return [*text, "", experiment.reading.strip(), ""]


def _how(study: "Study") -> Iterator[str]:
    """How the figures came to be, in sentences."""
    from parse_p2p.lab.experiments.equal_bytes import MOST

    experiment, tune = study.experiment, study.experiment.tune
    yield f"Mean ± half the 95 % interval (Student's t) over the seeds {_listed(experiment.seeds)}."
    if tune is not None and study.tuning.several:
        yield (
            f"Every row was tuned alike: {tune.key} out of {_listed(tune.values)}, by the mean {study.score} over all "
            f"agents on {tune.share * 100:g} % of the training samples, kept for that in runs with the seeds "
            f"{_listed(tune.seeds)}, which saw nothing of the test set."
        )
        if added := study.tuning.added():
            yield f"Where the best lay on the edge of these, the grid was continued: {_listed(added)}."
    if experiment.equal_bytes:
        base = experiment.baseline
        yield (
            f"In each table a row has the most rounds whose bytes do not exceed those of {base}, and one that sends "
            f"nothing has as many as {base}; '(too dear)' marks a row of which one round costs more than that, and "
            f"'(capped)' one with {MOST} times the rounds of {base}, the most that a row may have."
        )
    if (tests := study.comparisons).found:
        yield (
            "Differences are paired by seed: p is that of the paired t-test with Holm's correction over all "
            f"{tests.number} comparisons of {tests.of}, and 'better' and 'worse' hold at 5 %; g is Hedges' effect size "
            "of paired differences, in their deviations between seeds."
        )


def _listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))


def _short(path: Path) -> str:
    """As one would type it here, or its last two names."""
    whole, here = path.resolve(), Path.cwd()
    return str(whole.relative_to(here) if whole.is_relative_to(here) else Path(path.parent.name) / path.name)


def _pictures(study: "Study", folder: Path) -> dict[str, Path]:
    """Draw them; where they are, by what they show."""
    try:
        from parse_p2p.lab.experiments import pictures
    except ModuleNotFoundError:
        raise ConfigError("--picture needs matplotlib: pip install 'parse-p2p[plots]'") from None
    path = folder / "curves.svg"
    drawn = {pictures.draw_curves(study, path): path}
    if study.comparisons.found:
        path = folder / "differences.svg"
        drawn[pictures.draw_differences(study, path)] = path
    return drawn
