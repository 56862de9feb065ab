"""``parse-lab topology``: what a graph is like, several side by side, or which one to take."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from parse_p2p.cli import terminal
from parse_p2p.cli.progress import size
from parse_p2p.cli.terminal import Columns
from parse_p2p.core.errors import ConfigError

if TYPE_CHECKING:
    from parse_p2p.config.run_plan import RunPlan
    from parse_p2p.lab.graphs.graph_metrics import GraphMetrics
    from parse_p2p.lab.graphs.search import Candidate

LEGEND = "\nrounds: until 1e-3 of a disagreement is left; bytes: sent in a round"
GROUP = ("slices of group", "gap", "rounds", "bytes")  # what is seen of the overlays of a group in any case
UNITS = {"": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9}


def topology(
    source: Annotated[
        list[str],
        typer.Argument(help="Run files, graph files (GraphML, GEXF, edges, JSON) or generators, as torus:16."),
    ],
    mix: Annotated[
        str | None, typer.Option(help="Agents by type, as audio=3,motion=3,audio+motion=2. [default: thirds]")
    ] = None,
    method: Annotated[str | None, typer.Option(help="The method, which says what is shared with whom.")] = None,
    set: Annotated[list[str] | None, typer.Option(help="Any key of a run file, as rounds=40; repeatable.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the graph and every overlay: .svg, .png or .pdf.")] = None,
    export: Annotated[
        Path | None, typer.Option(help="Write the graph for networkx: .graphml, .gexf, .json or .edges.")
    ] = None,
    compare: Annotated[bool, typer.Option("--compare", help="One row for each of several.")] = False,
    suggest: Annotated[bool, typer.Option("--suggest", help="Search all families for the best graph.")] = False,
    degree: Annotated[
        int | None, typer.Option(min=1, help="With --suggest: the most neighbours in the graph of any slice.")
    ] = None,
    bytes: Annotated[
        str | None, typer.Option(help="With --suggest: the most an agent sends in a round, as 100kB.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Degrees, spectral gaps and bytes of a graph, before anybody trains on it."""
    from parse_p2p.config import run_file  # with torch
    from parse_p2p.lab.graphs import graph_sources
    from parse_p2p.lab.graphs.graph_metrics import measure

    if (degree is not None or bytes is not None) and not suggest:
        raise ConfigError("--degree and --bytes are a budget: add --suggest")
    if len(source) > 1 and (picture or export or suggest):
        raise ConfigError("--picture, --export and --suggest are of one graph: name one")
    if picture is not None:
        from parse_p2p.lab.graphs.picture import refuse_format

        refuse_format(picture)
    named = [("method", method)] if method is not None else []
    settings = [run_file.setting(text) for text in set or []] + named
    counts = None if mix is None else graph_sources.parse_mix(mix)
    plans = [graph_sources.plan(name, counts, settings) for name in source]
    if export is not None:
        from parse_p2p.lab.graphs.export import annotated
        from parse_p2p.topology import graph_io

        graph_io.write(annotated(plans[0]), export)
    if picture is not None:
        from parse_p2p.lab.graphs.picture import drawn, save

        save(drawn(plans[0]), picture)
    if suggest:
        _suggest(plans[0], degree, _bytes(bytes), as_json)
    else:
        _show([measure(plan) for plan in plans], compare or len(plans) > 1, as_json)


def _bytes(text: str | None) -> float | None:
    if text is None:
        return None
    number = text.strip().lower().rstrip("bgkm ")
    unit = text.strip().lower()[len(number) :].strip()
    try:
        if unit in UNITS and 0 < (value := float(number) * UNITS[unit]) < math.inf:
            return value
    except ValueError:
        pass
    raise ConfigError(f"--bytes {text}: write a size such as 100kB or 2MB")


def _show(shapes: "list[GraphMetrics]", compare: bool, as_json: bool) -> None:
    console = terminal.console()
    if as_json:
        plain = [each.plain() for each in shapes]
        typer.echo(json.dumps(plain if compare else plain[0], indent=1))
    elif compare:
        console.print(compared(shapes))
        console.print(f"{LEGEND} by an agent; gap and rounds: of the slowest slices", highlight=False)
    else:
        _print(shapes[0], console)


def _print(one: "GraphMetrics", console: Console) -> None:
    least, average, most = one.degree
    degrees = f"{least}" if least == most else f"{least} to {most} (mean {average:.1f})"
    across = "in pieces" if one.diameter is None else f"diameter {one.diameter}"
    console.print(f"[bold]{escape(one.name)}[/] under [bold]{escape(one.method)}[/]: {one.agents} agents, "
                  f"{one.edges} edges, degree {degrees}, {across}", highlight=False)  # fmt: skip
    mean, busiest = map(size, one.bytes)
    console.print(f"an agent sends {mean} a round (the busiest {busiest}), all {size(one.total)}\n", highlight=False)
    groups = Columns(("slices of group", "holders", "components", "gap", "ρ", "rounds", "bytes"), first=GROUP)
    for g in one.groups:
        connected_components = (
            f"[red]{g.connected_components}[/]" if g.connected_components > 1 else str(g.connected_components)
        )
        speed = (f"{g.gap:.3f}", f"{g.rho:.4f}", _rounds(g.rounds)) if g.holders > 1 else ("", "", "")
        groups.add_row(escape(g.name), str(g.holders), connected_components, *speed, size(g.bytes))
    types = Columns(("agents with", "agents", "neighbours", "bytes of each"))
    for t in one.types:
        types.add_row(escape(t.type), str(t.agents), f"{t.partners:.1f}", size(t.bytes))
    console.print(groups if one.groups else "nothing is shared under this method")
    console.print()
    console.print(types)
    console.print(LEGEND, highlight=False)
    for note in one.notes:
        console.print(f"\n[yellow]{escape(note)}[/]", highlight=False, soft_wrap=True)


def compared(shapes: "list[GraphMetrics]") -> Columns:
    """One row per graph, with its slowest slices."""
    names = ("graph", "agents", "degree", "across", "gap", "rounds", "of group", "mean", "most bytes")
    table = Columns(names, first=("graph", "gap", "rounds", "most bytes"), left=["of group"])
    for one in shapes:
        slowest = one.slowest
        least, _, most = one.degree
        speed = [] if slowest is None else [f"{slowest.gap:.3f}", _rounds(slowest.rounds), escape(slowest.name)]
        table.add_row(
            escape(one.name), str(one.agents), f"{least}" if least == most else f"{least}–{most}",
            "∞" if one.diameter is None else str(one.diameter), *(speed or [""] * 3), *map(size, one.bytes),
        )  # fmt: skip
    return table


def _suggest(plan: "RunPlan", degree: int | None, nbytes: float | None, as_json: bool) -> None:
    from parse_p2p.lab.graphs.graph_metrics import measure
    from parse_p2p.lab.graphs.search import suggest

    found = suggest(plan, degree, nbytes)
    console = terminal.console()
    if as_json:
        typer.echo(json.dumps([_plain(candidate) for candidate in found], indent=1))
        return
    names = ("graph", "degree", "gap", "rounds", "bytes", "of group")
    table = Columns(names, first=("graph", "gap", "rounds", "bytes"), left=["of group"])
    for c in found:
        args = ", ".join(f"{key}: {value}" for key, value in c.args.items())
        table.add_row(escape(f"{c.generator} {args}"), str(c.degree), f"{c.gap:.3f}", _rounds(c.rounds), size(c.bytes),
                      escape(c.slowest))  # fmt: skip
    console.print("the best of each family within the budget\n", highlight=False)
    console.print(table)
    console.print(f"{LEGEND} by the busiest agent; to paste:\n", highlight=False)
    for c in found[:3]:
        console.print(escape(c.line), highlight=False, soft_wrap=True)
    now = measure(plan).slowest
    if now is not None:
        rounds = f"{_rounds(now.rounds)} rounds to 1e-3"
        console.print(f"\n{plan.run.name} as it is: gap {now.gap:.3f}, {rounds}", highlight=False)


def _plain(candidate: "Candidate") -> dict[str, object]:
    rounds = candidate.rounds if math.isfinite(candidate.rounds) else None
    return {**vars(candidate), "rounds": rounds, "line": candidate.line}


def _rounds(rounds: float) -> str:
    return f"{math.ceil(rounds)}" if math.isfinite(rounds) else "never"
