"""``parse-agent data check``: what is in data, and what in them is odd."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from parse_p2p.cli import completion, terminal
from parse_p2p.cli.data import sources
from parse_p2p.cli.terminal import Columns
from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import Modality

if TYPE_CHECKING:
    from rich.console import Console

    from parse_p2p.data.base import Dataset
    from parse_p2p.data.findings import Summary
    from parse_p2p.data.schema import DataSchema

MOST_CLASSES = 20
"""How many a table lists."""


def check(
    source: sources.Paths = None,
    id: sources.Ids = None,
    kind: sources.Kind = None,
    set: sources.Settings = None,
    topology: Annotated[
        Path | None,
        typer.Option(help="A run file, whose data_schema they have to fit.", autocompletion=completion.run_files),
    ] = None,
) -> None:
    """Print what is in one or several sources, and a sentence on everything in them that is odd.

    The exit code is 2 only for what would stop a run: a source that cannot be opened, or does not fit the schema.
    """
    from parse_p2p.data.findings import findings, summary

    opened = sources.opened(source, id, kind, set)
    schema = None if topology is None else _schema_in(topology)
    notes = list(_against(schema, opened))
    datasets = {name: _scaled(each, schema) for name, each in opened.items()}
    summaries = {name: summary(dataset) for name, dataset in datasets.items()}
    notes += findings(datasets)
    console = terminal.console()
    for name, each in summaries.items():
        _show(name, each, console)
    for note in notes or ["nothing in it is odd" if len(opened) == 1 else "nothing in them is odd"]:
        console.print(note, markup=False, highlight=False, soft_wrap=True)


def _schema_in(topology: Path) -> "DataSchema":
    """The schema in a run file. Raises ConfigError where there is none."""
    from parse_p2p.config import run_file

    schema = run_file.load(topology).data_schema
    if schema is None:
        raise ConfigError(f"{topology} has no data_schema to fit: add what parse-agent data schema SOURCE prints")
    return schema


def _against(given: "DataSchema | None", opened: Mapping[str, sources.OpenedSource]) -> Iterator[str]:
    """What only one of a schema and the sources names; without one given, that of the run file whose agent it is.

    Raises ConfigError where a source does not fit.
    """
    from parse_p2p.data.findings import lacking
    from parse_p2p.data.schema import unlike

    for name, each in opened.items():
        if (schema := given or each.schema) is None:
            continue
        for problem in unlike(each.dataset, schema, _meant(each, schema)):
            raise ConfigError(f"{name}: {problem}")
        yield from lacking(name, each.dataset, schema)


def _scaled(source: sources.OpenedSource, given: "DataSchema | None") -> "Dataset":
    """The samples of a source that fits, with what its schema scales outputs by."""
    schema, dataset = given or source.schema, source.dataset
    if schema is None or not schema.targets:
        return dataset
    return replace(dataset, task=schema.solved_by.of(dataset.class_names, schema.targets))


def _meant(source: sources.OpenedSource, schema: "DataSchema") -> list[Modality]:
    """The modalities that a source has to have: its agent's, or those of the schema that it has, at least one."""
    if source.modalities:
        return list(schema.shapes(source.modalities))
    return [m for m in schema.modalities if m in source.dataset.modalities] or list(schema.modalities)


def _show(name: str, found: "Summary", console: "Console") -> None:
    """A heading, a table of modalities and one of classes, labels or outputs."""
    groups = "" if found.groups is None else f", {_groups(found.groups)}"
    official = "" if found.official is None else f", {found.official} of them the official test set"
    rows = f"{found.rows} row{'' if found.rows == 1 else 's'}"
    console.print(f"[bold]{escape(name)}[/]: {rows}{official}{escape(groups)}", highlight=False, soft_wrap=True)
    inputs = [table(found) for table, rows in ((_modalities, found.modalities), (_tokens, found.tokens)) if rows]
    for table in (*inputs, _targets(found)):
        console.print(table)
        console.print()


def _groups(names: Sequence[str]) -> str:
    """How many, and what ``test_groups`` calls them."""
    from parse_p2p.data.tasks.base import count

    more = f" and {len(names) - MOST_CLASSES} more" if len(names) > MOST_CLASSES else ""
    return f"{count(len(names), 'group', 'groups')} ({', '.join(names[:MOST_CLASSES])}{more})"


def _modalities(found: "Summary") -> Columns:
    names = ("modality", "kind", "shape", "smallest", "largest", "mean", "deviation")
    table = Columns(names, first=("modality", "shape", "smallest", "largest"), left=("kind", "shape"))
    for m, each in found.modalities.items():
        numbers = (each.smallest, each.largest, each.mean, each.deviation)
        shape = " × ".join(map(str, each.shape))
        table.add_row(escape(m), each.kind, shape, *(f"{number:.4g}" for number in numbers))
    return table


def _tokens(found: "Summary") -> Columns:
    names = ("modality", "tokens", "vocabulary", "used", "padding", "unknown", "cut", "tokenizer")
    table = Columns(names, first=("modality", "vocabulary", "padding", "unknown", "cut"), left=("tokenizer",))
    for m, each in found.tokens.items():
        sizes = map(str, (each.length, each.vocabulary, each.distinct))
        unknown = "–" if each.unknown is None else f"{each.unknown:.1%}"
        table.add_row(escape(m), *sizes, f"{each.filled:.1%}", unknown, str(each.cut), each.tokenizer or "–")
    return table


def _targets(found: "Summary") -> Columns:
    heading = found.task.heading()
    table = Columns(heading, first=heading[:2])
    for row in found.targets[:MOST_CLASSES]:
        table.add_row(*map(escape, row))
    if left := found.targets[MOST_CLASSES:]:
        table.add_row(*found.task.more(left, found.rows))
    return table
