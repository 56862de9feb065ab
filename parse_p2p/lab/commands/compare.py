"""``parse-lab compare``: run an experiment file and show what came of it."""

import os
import time
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table as Shown

from parse_p2p import __version__
from parse_p2p.core.errors import ConfigError
from parse_p2p.launch import exit_codes, fork_server

if TYPE_CHECKING:
    from parse_p2p.lab.experiments.experiment import Experiment
    from parse_p2p.lab.experiments.experiment_tables import Study, Table

RUNS = Path("runs") / "lab"
WIDE = 150  # columns of a terminal from which on a table is shown whole


def compare(
    experiment: Annotated[Path, typer.Argument(help="An experiment file; experiments/ has examples.")],
    workers: Annotated[int, typer.Option(min=0, help="Runs at once; 0: one for each core.")] = 0,
    engine: Annotated[
        str | None,
        typer.Option(help="simulator or processes, in place of the file's; or ray: the simulator's runs on a cluster."),
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Only the first so many seeds, for a quick look.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where outcomes are kept; by default in runs/lab/.")] = None,
    picture: Annotated[bool, typer.Option("--picture", help="Draw accuracy over rounds and bytes.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Run every combination of an experiment, and compare: means, 95 % intervals, paired differences, costs.

    Interrupted, the same command goes on where it stopped; what is done is never run again.
    """
    from parse_p2p.lab.experiments import experiment as experiments  # with torch
    from parse_p2p.lab.experiments.ray_executor import RayExecutor

    chosen = experiments.load(experiment)
    if engine is not None and engine not in ("simulator", "processes", "ray"):
        raise ConfigError(f"--engine {engine}: take simulator, processes or ray")
    if engine == "ray" and workers:
        raise ConfigError(
            "--workers is for this machine: with --engine ray as many run at once as the cluster has CPUs"
        )
    changes = {"engine": "simulator" if engine == "ray" else engine} if engine else {}
    chosen = chosen.model_copy(update={**changes, "seeds": chosen.seeds[:seeds]})
    folder = out or RUNS / chosen.name
    try:
        (folder / "outcomes").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {folder} cannot be made: {(error.strerror or str(error)).lower()}") from None
    console = Console()
    pool = RayExecutor if engine == "ray" else None
    if pool is None:
        fork_server.begin()
    study = complete(chosen, folder, workers or default_workers(chosen), quiet, console, pool)
    tables = list(study.tables())
    for table in tables:
        console.print(shown(table, console.width))
    if (claims := study.claims()) is not None:
        console.print(shown(claims, WIDE))
    curves, measures = study.write_csv(folder)
    page = folder / "tables.md"
    page.write_text("\n".join(written(study, tables)), encoding="utf-8")
    drawn = [_picture(study, folder / "curves.svg")] if picture else []
    said = f"written: {', '.join(map(str, [page, curves, measures, *drawn]))}"
    console.print(said, highlight=False, soft_wrap=True, markup=False)


def default_workers(experiment: "Experiment") -> int:
    """One for each core; real processes fill the cores by themselves."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 1 if experiment.engine == "processes" else mine


def complete(experiment: "Experiment", folder: Path, workers: int, quiet: bool, console: Console,
             pool: Callable[[int], Executor] | None = None) -> "Study":  # fmt: skip
    """Run what is missing, in processes of this host or in a ``pool``, with a bar that says how long it will take."""
    from parse_p2p.lab.experiments.experiment_tables import Study
    from parse_p2p.lab.experiments.result_store import ResultStore
    from parse_p2p.lab.experiments.sweep import LocalExecutor, Sweep

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TextColumn("left"), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console, disable=quiet, transient=True, speed_estimate_period=3600) as bar:
        task = bar.add_task(experiment.name, total=None)

        def on_progress(done: int, of: int) -> None:
            if done == 0:
                bar.reset(task, total=of)
            bar.update(task, completed=done)

        try:
            with Sweep(ResultStore(folder / "outcomes"), workers, on_progress, pool or LocalExecutor) as sweep:
                study = Study(experiment, sweep)
                study.run()
        except KeyboardInterrupt:
            bar.stop()
            console.print("\nStopped; finished runs are kept. The same command goes on.", soft_wrap=True)
            raise typer.Exit(exit_codes.INTERRUPTED) from None
    return study


def shown(table: "Table", width: int) -> Shown:
    """For the terminal; a narrow one shows the most telling columns, and ``tables.md`` has them all."""
    title = escape(", ".join(table.common.values())) or None
    shown = Shown(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    chosen = range(len(table.head)) if width >= WIDE else table.brief
    for i in chosen:
        shown.add_column(escape(table.head[i]), justify="left" if i == 0 else "right", overflow="fold")
    for row in table.body:
        shown.add_row(*(escape(row[i]) for i in chosen))
    return shown


def written(study: "Study", tables: "list[Table]", level: str = "#") -> list[str]:
    """Everything about an experiment in Markdown."""
    import torch

    from parse_p2p.lab.experiments.statistics import markdown

    experiment = study.experiment
    tune = experiment.tune
    seeds = ", ".join(map(str, experiment.seeds))
    how = f"Mean ± half the 95 % interval (Student's t) over the seeds {seeds}."
    if tune is not None and len(tune.values) > 1:
        values, others = (", ".join(map(str, many)) for many in (tune.values, tune.seeds))
        how += (
            f" Every row was tuned alike: {tune.key} out of {values}, by the mean {study.score} over all agents on the "
        )
        how += f"seeds {others}."
    how += " Differences are paired by seed; 'better' and 'worse' hold at 5 % with Holm's correction in each column."
    made = f"Made by `parse-lab compare {_short(experiment.path)}` with parse-p2p {__version__}, "
    made += f"torch {torch.__version__}, on {time.strftime('%Y-%m-%d')}."
    text = [f"{level} {experiment.title or experiment.name}", "", experiment.say.strip(), "", made + " " + how]
    for table in tables:
        heading = ", ".join(table.common.values())
        text += ["", f"{level}# {heading}", ""] if heading else [""]
        text += markdown(table.head, table.body)
    if (claims := study.claims()) is not None:
        text += ["", f"{level}# Do the modules do what they are for?", ""]
        text += ["The first less the second, each tested by itself.", ""]
        text += markdown(claims.head, claims.body)
    return [*text, "", experiment.reading.strip(), ""]


def _short(path: Path) -> str:
    return str(Path(path.parent.name) / path.name)


def _picture(study: "Study", path: Path) -> Path:
    try:
        from parse_p2p.lab.experiments.curves import draw
    except ModuleNotFoundError:
        raise ConfigError("--picture needs matplotlib: pip install 'parse-p2p[plots]'") from None
    draw(study, path)
    return path
