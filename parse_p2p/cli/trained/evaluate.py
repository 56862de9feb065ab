"""``parse-agent evaluate``: how good trained agents are on other data."""

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from parse_p2p.cli import terminal
from parse_p2p.cli.terminal import Columns
from parse_p2p.cli.trained import options

if TYPE_CHECKING:
    from parse_p2p.serving.evaluation import Scores

EXAMPLES = """
[bold]Examples[/]

  parse-agent evaluate runs/ring-parse-htad-s0 --data other.npz
  parse-agent evaluate runs/ring-parse-htad-s0 --id a3 --data '{kind: csv, path: other.csv, target: label}'
  parse-agent evaluate exported --data other.npz --json
"""

MOST_CLASSES = 20
"""How many a table lists."""


def evaluate(
    run: options.Trained,
    data: Annotated[str, typer.Option(help="A file or folder of labelled samples, or {kind: csv, path: ...}.")],
    id: Annotated[
        list[str] | None, typer.Option("--id", help="An agent; repeatable; by default all that have a checkpoint.")
    ] = None,
    round: Annotated[int | None, typer.Option(help="After so many rounds; by default the newest of each.")] = None,
    trust: options.Trust = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")] = False,
) -> None:
    """Measure trained agents on labelled samples, as they were measured: accuracy, cross-entropy, and each class.

    Of other tasks their score and loss, and each label or output. Names have to be those of the run. Samples need not
    have all modalities of an agent.
    """
    from parse_p2p.config.source import Source, from_command_line
    from parse_p2p.serving.evaluation import evaluate as scores
    from parse_p2p.serving.load import load_all

    models = load_all(run, id, round, trust or ())
    dataset = Source(from_command_line(data), "--data").open(seed=0)
    found = [scores(model, dataset, data) for model in models]
    if as_json:
        typer.echo(json.dumps({"run": str(run), "data": data, "agents": [each.plain() for each in found]}, indent=1))
        return
    console = terminal.console()
    console.print(_agents(found))
    console.print()
    console.print(_outputs(found))


def _agents(found: "list[Scores]") -> Columns:
    task = found[0].task
    names = ("agent", "seen through", "round", "rows", task.score, task.loss_shown)
    table = Columns(names, first=("agent", task.score, "rows"), left=("seen through",))
    for each in found:
        figures = (str(each.round), str(each.rows), f"{each.score:.3f}", f"{each.loss:.3f}")
        table.add_row(escape(each.agent), escape("+".join(each.modalities)), *figures)
    return table


def _outputs(found: "list[Scores]") -> Columns:
    """The main figure of each class, label or output, a column for each agent."""
    task = found[0].task
    rows = {name: int(figures["rows"]) for each in found for name, figures in each.outputs.items()}
    table = Columns((task.figures, "rows", *(each.agent for each in found)))
    for name, count in list(rows.items())[:MOST_CLASSES]:
        shown = (each.outputs.get(name, {}).get(task.figure) for each in found)
        table.add_row(escape(name), str(count), *("" if value is None else f"{value:.3f}" for value in shown))
    if len(rows) > MOST_CLASSES:
        table.add_row(f"{len(rows) - MOST_CLASSES} more", "", *("" for _ in found))
    return table
