"""What the slices of a run's agents hold, as tables for a terminal."""

from collections.abc import Callable, Sequence
from statistics import mean
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from parse_p2p.config.run_plan import RunPlan
from parse_p2p.lab.analysis.slice_analysis import ATOMS, Record, SliceAnalysis

WIDTH = 120  # characters


def wide_console() -> Console:
    """Wide enough for the tables: in a file, or in a narrow window, lines are longer rather than cut."""
    console = Console(emoji=False)
    console.width = max(console.width, WIDTH)
    return console


def show(console: Console, plan: RunPlan, found: SliceAnalysis) -> None:
    """Print what an analysis of a run has found."""
    found = {topic: [_escaped(record) for record in records] for topic, records in found.items()}
    method, dataset, network = map(escape, (plan.run.method, plan.run.dataset, plan.run.model.network))
    console.print(
        f"[bold]{method}[/] on [bold]{dataset}[/], network {network}, after "
        f"{max((r['round'] for r in found['agreement'] + found['slice_info'] + found['dataset_pid']), default=0)} "
        "rounds; in bits, on held-out samples. In brackets what shuffled labels give.",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    for make in (_dataset, _pooled, _slices, _info, _leak, _use, _components):
        title, table = make(found)
        if table.row_count:
            console.print(f"\n[bold]{title}[/]", highlight=False, soft_wrap=True)
            console.print(table, highlight=False)
    for note in found["notes"]:
        console.print(f"\n[yellow]{note}[/]", highlight=False, soft_wrap=True)


def _escaped(value: Any) -> Any:
    """Names come from files: brackets in them are no markup."""
    if isinstance(value, dict):
        return {key: _escaped(inner) for key, inner in value.items()}
    return escape(value) if isinstance(value, str) else value


Titled = tuple[str, Table]


def _table(*columns: str, left: int) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i < left else "right", no_wrap=True)
    return table


def _groups(records: Sequence[Record], *keys: str) -> list[tuple[tuple[Any, ...], list[Record]]]:
    """Records that are alike in some fields, in the order in which they first come."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(tuple(record[key] for key in keys), []).append(record)
    return list(groups.items())


def _mean(records: Sequence[Record], key: str) -> float | None:
    found = [record[key] for record in records if record[key] is not None]
    return mean(found) if found else None


def _number(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _atoms(records: Sequence[Record]) -> list[str]:
    """The four atoms and their sum, each with its null."""
    values, nulls = ([_mean(records, prefix + atom) or 0.0 for atom in ATOMS] for prefix in ("", "null_"))
    pairs = zip([*values, sum(values)], [*nulls, sum(nulls)], strict=True)
    return [f"{value:.2f} [dim]({null:.2f})[/]" for value, null in pairs]


SIZES = ("n", "k", "C")
HEADS = ("R", "U1", "U2", "S", "sum")


def _sizes(records: Sequence[Record]) -> list[str]:
    first = records[0]
    n = f"{first['n']}" if first["enough"] else f"[yellow]{first['n']}[/]"
    return [n, f"{first['k']}", f"{first['classes']}"]


def _sources(record: Record) -> str:
    return f"{record['one']} | {record['other']}"


def _each(
    table: Table, records: Sequence[Record], cells: Callable[[Sequence[Record]], list[str]], each: bool = True
) -> None:
    """A row for a type, and where there are several one for ``each`` of its agents."""
    who = {record["agent"] for record in records}
    table.add_row(f"all {len(who)}" if len(who) > 1 else records[0]["agent"], *cells(records))
    for record in records if each and len(who) > 1 else []:
        table.add_row(f"[dim]{record['agent']}[/]", *cells([record]))


def _dataset(found: SliceAnalysis) -> Titled:
    title = "the data: codes of inputs, and of what the trunks make of them; if more codes give more, k is too small"
    table = _table("agents", "U1 | U2", "of", *HEADS, *SIZES, left=3)

    def cells(rs: Sequence[Record]) -> list[str]:
        return [_sources(rs[0]), rs[0]["of"], *_atoms(rs), *_sizes(rs)]

    for (*_, k), records in _groups(found["dataset_pid"], "type", "one", "other", "of", "k"):
        _each(table, records, cells, each=k == found["k"][0])
    return title, table


def _pooled(found: SliceAnalysis) -> Titled:
    title = "the network: the trunks' tables of all agents of a type, each of its own samples, summed by push-sum"
    table = _table("agents", "U1 | U2", "exchanges", *HEADS, *SIZES, left=2)
    for r in found["pooled"]:
        alone = [r[f"alone_{atom}"] for atom in ATOMS]
        table.add_row(f"all {r['agents']}", _sources(r), f"{r['exchanges']}", *_atoms([r]), *_sizes([r]))
        table.add_row(
            "[dim]one[/]", "", "0", *(f"{x:.2f}       " for x in [*alone, sum(alone)]), f"{r['n'] // r['agents']}"
        )
    return title, table


def _slices(found: SliceAnalysis) -> Titled:
    title = "the slices; pure is the share that is of the slice's own kind"
    table = _table("agents", "U1 | U2", "slice", *HEADS, "pure", *SIZES, left=3)
    for _, records in _groups(found["slice_pid"], "type", "one", "other", "slice"):

        def cells(rs: Sequence[Record]) -> list[str]:
            return [_sources(rs[0]), rs[0]["slice"], *_atoms(rs), _number(_mean(rs, "purity")), *_sizes(rs)]

        _each(table, records, cells)
    return title, table


def _info(found: SliceAnalysis) -> Titled:
    title = "what a linear probe reads of a slice (at least so much is there); share of its variance between classes"
    table = _table("agents with", "slice", "modality", "bits", "of H(Y)", "variance", "n", "C", left=3)
    for (kind, slice, modality), rs in _groups(found["slice_info"], "type", "slice", "modality"):
        figures = [_number(_mean(rs, key)) for key in ("bits", "entropy", "explained")]
        table.add_row(kind, slice, modality, *figures, f"{rs[0]['n']}", f"{rs[0]['classes']}")
    return title, table


def _leak(found: SliceAnalysis) -> Titled:
    title = "overlap of slices: mean squared correlation, and linear CKA"
    table = _table("agents with", "slice", "and", "correlation²", "CKA", "n", left=3)
    for (kind, one, other), rs in _groups(found["leak"], "type", "one", "other"):
        table.add_row(
            kind, one, other, _number(_mean(rs, "correlation"), 3), _number(_mean(rs, "cka")), f"{rs[0]['n']}"
        )
    return title, table


def _use(found: SliceAnalysis) -> Titled:
    title = "what a branch is used for: accuracy (cross-entropy in bits)"
    table = _table("agents with", "branch", "alone", "dropped", "permuted", "n", left=2)
    for (kind, branch), rs in _groups(found["use"], "type", "branch"):
        said = {change: same for (change,), same in _groups(rs, "change")}
        cells = [_quality(said.get(change, [])) for change in ("alone", "dropped", "permuted")]
        if branch == "all":
            cells = [_quality(rs), "", ""]
        table.add_row(kind, branch, *cells, f"{rs[0]['n']}")
    return title, table


def _quality(records: Sequence[Record]) -> str:
    if not records:
        return ""
    return f"{_number(_mean(records, 'accuracy'), 3)} [dim]({_number(_mean(records, 'cross_entropy'))})[/]"


def _components(found: SliceAnalysis) -> Titled:
    title = "agreement of holders, and cosine of their gradients: of one modality with several, within each"
    columns = ("component", "holders", "distance", "CKA", "one–several", "one–one", "several–several")
    table = _table(*columns, left=1)
    gradients = {r["component"]: r for r in found["conflict"]}
    for r in found["agreement"]:
        cosines = [_number(gradients[r["component"]][key]) for key in ("across", "unimodal", "multimodal")]
        table.add_row(r["component"], f"{r['holders']}", _number(r["relative"], 3), _number(r["cka"]), *cosines)
    return title, table
