"""A run's graph and the overlay of every group of slices, side by side, agents coloured by what they sense.

The only file of the laboratory's graphs that knows matplotlib: import it late.
"""

import io
import math
from pathlib import Path
from typing import Any

import networkx as nx

from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.errors import ConfigError
from parse_p2p.topology.graph import Topology

try:
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator
except ImportError:
    raise ConfigError("pictures need matplotlib: pip install 'parse-p2p[plots]'") from None

# Okabe and Ito's colours, which stay apart for those who see red and green alike
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#000000")
ABSENT, EDGE = "#e4e4e4", "#8a8a8a"
PANEL = 3.1  # inches
NAMED = 40  # agents up to which names fit
FORMATS = (".pdf", ".png", ".svg")


class Picture(Figure):
    """A figure that a notebook shows by itself."""

    def _repr_png_(self) -> bytes:
        data = io.BytesIO()
        self.savefig(data, format="png", dpi=100)
        return data.getvalue()


def drawn(plan: RunPlan) -> Picture:
    """One panel for the run's graph, and one for each overlay; of graphs that vary those of the first round."""
    panels = _panels(plan)
    columns = min(len(panels), 4 if len(panels) % 4 == 0 or len(panels) > 9 else 3)
    rows = math.ceil(len(panels) / columns)
    picture = Picture(figsize=(PANEL * columns, PANEL * rows + 0.4), layout="constrained")
    axes = picture.subplots(rows, columns, squeeze=False).flatten()
    positions = _positions(plan.topology.graph)
    colour = colours(plan)
    for panel, (title, overlay) in zip(axes, panels.items(), strict=False):
        _panel(panel, title, overlay, positions, {me: colour[plan.kind(me)] for me in plan.peers})
    for panel in axes[len(panels) :]:
        panel.set_axis_off()
    marks = [Line2D([], [], marker="o", linestyle="", color=c, label=kind) for kind, c in colour.items()]
    picture.legend(handles=marks, loc="outside lower center", ncols=min(4, len(marks)), frameon=False)
    return picture


def accuracy(curves: list[tuple[str, list[int], list[float]]], title: str, score: str = "accuracy") -> Picture:
    """Curves of agents, each a type, rounds and accuracies: thin, and the mean of each type thick."""
    picture = Picture(figsize=(6, 3.6), layout="constrained")
    axes = picture.subplots()
    for i, kind in enumerate(dict.fromkeys(kind for kind, _, _ in curves)):
        colour, at = COLOURS[i % len(COLOURS)], dict[int, list[float]]()
        for _, rounds, values in (curve for curve in curves if curve[0] == kind):
            axes.plot(rounds, values, color=colour, alpha=0.35, linewidth=0.8)
            for round, value in zip(rounds, values, strict=True):
                at.setdefault(round, []).append(value)
        axes.plot(sorted(at), [sum(at[r]) / len(at[r]) for r in sorted(at)], color=colour, linewidth=2.2, label=kind)
    axes.set(title=title, xlabel="rounds", ylabel=f"{score} on the test set")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return picture


def colours(plan: RunPlan) -> dict[str, str]:
    """A colour for each type of agent, in the order of the file."""
    kinds = list(dict.fromkeys(plan.kind(me) for me in plan.peers))
    return {kind: COLOURS[i % len(COLOURS)] for i, kind in enumerate(kinds)}


def refuse_format(path: Path) -> None:
    """Raise ConfigError for a file that no picture is written to."""
    if path.suffix not in FORMATS:
        raise ConfigError(f"{path}: pictures are written to files that end in {', '.join(FORMATS)}")


def save(picture: Figure, path: Path) -> None:
    """Write a picture by the suffix of its file, the same bytes for the same picture. Raises ConfigError."""
    refuse_format(path)
    metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix, {})
    try:
        with matplotlib.rc_context({"svg.hashsalt": "parse-p2p", "svg.fonttype": "none"}):
            picture.savefig(path, metadata=metadata, dpi=120)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {(error.strerror or str(error)).lower()}") from None


def _panels(plan: RunPlan) -> dict[str, Topology]:
    """Titles and graphs: the run's, and every overlay, those with the same holders once, the largest first."""
    named: dict[frozenset[str], list[str]] = {frozenset(): []}
    overlays: dict[frozenset[str], Topology] = {}
    for name, overlay in plan.overlays(0).groups().items():
        holders: frozenset[str] = frozenset() if overlay is plan.topology else frozenset(overlay.peers)
        named.setdefault(holders, []).append(name)
        overlays[holders] = overlay
    first = ", and slices of ".join([plan.run.name, *named[frozenset()]])
    panels = {_title(first, plan.topology, plan.run.varying is None): plan.topology}
    for holders in sorted(overlays.keys() - {frozenset()}, key=lambda h: (-len(h), named[h])):
        names = sorted(named[holders], key=len)
        title = names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
        panels[_title(title, overlays[holders], plan.run.varying is None)] = overlays[holders]
    return panels


def _title(name: str, overlay: Topology, fixed: bool) -> str:
    speed = f"spectral gap {overlay.spectral_gap():.3f}" if fixed else "the first round"
    return f"{name}\n{len(overlay.peers)} agents, {speed}"


def _positions(graph: nx.Graph) -> Any:
    """Where the agents stand, the same in every panel and every time."""
    if nx.is_connected(graph.to_undirected()) and len(graph) <= 150:
        return nx.kamada_kawai_layout(graph)
    return nx.circular_layout(graph)


def _panel(axes: Axes, title: str, overlay: Topology, positions: Any, colour: dict[str, str]) -> None:
    graph, few = overlay.graph, len(positions) <= NAMED
    away = [me for me in positions if me not in graph]
    size = 260 if few else 4000 / len(positions)
    everyone = nx.Graph()
    everyone.add_nodes_from(positions)
    nx.draw_networkx_nodes(everyone, positions, ax=axes, nodelist=away, node_color=ABSENT, node_size=size / 3)
    nx.draw_networkx_edges(graph, positions, ax=axes, edge_color=EDGE, width=1.2, node_size=size)
    shades = [colour[me] for me in graph]
    nx.draw_networkx_nodes(graph, positions, ax=axes, node_color=shades, node_size=size, edgecolors="white")
    if few:
        nx.draw_networkx_labels(graph, positions, ax=axes, font_size=7, font_color="white")
    axes.set_title(title, fontsize=9)
    axes.set(xlim=_limits(positions, 0), ylim=_limits(positions, 1), aspect="equal")
    axes.set_axis_off()


def _limits(positions: Any, axis: int) -> tuple[float, float]:
    """The same in every panel, with room for the marks."""
    values = [position[axis] for position in positions.values()]
    room = 0.15 + 0.08 * (max(values) - min(values))
    return min(values) - room, max(values) + room
