"""For notebooks and scripts: a networkx graph, agents, a method, and what came of it, in one call.

``parse_p2p.run`` is the simulator: no processes and no sockets, and the same parameters at the end, bit for bit.
"""

import statistics
import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx as nx
import torch

from parse_p2p.config import run_file
from parse_p2p.config.roster import agent_ids
from parse_p2p.config.run_file import RunFile
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core import events, plugins
from parse_p2p.core.errors import ConfigError, nearest
from parse_p2p.core.types import PeerId
from parse_p2p.data.base import Dataset
from parse_p2p.data.sources import huggingface
from parse_p2p.data.sources.python import samples
from parse_p2p.data.tasks.classification import CLASSIFICATION
from parse_p2p.lab.experiments.recorded_simulation import record, rehearse
from parse_p2p.lab.graphs import graph_sources
from parse_p2p.lab.graphs.export import annotated
from parse_p2p.lab.graphs.graph_metrics import GraphMetrics, measure
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.runtime.simulator import Ledger
from parse_p2p.topology import graph_io

if TYPE_CHECKING:
    from parse_p2p.data.tasks.base import Task
    from parse_p2p.lab.graphs.picture import Picture

Row = dict[str, Any]
"""``round`` (from 0), ``agent``, ``type``, ``accuracy``, ``loss`` (None of who did not train) and ``bytes`` sent.

Of a graph of networkx also ``node``, the agent's node as it stands there, which need be no name that an agent can have.
In place of ``accuracy`` it is ``macro-f1`` or ``r2`` where the task is multi-label or regression. And what ``metrics``
asks for, by name; an agent has no ``accuracy/CLASS`` for a class that it has no test sample of. Where samples arrive,
``arriving`` is how many, and ``arrived/…`` what was measured on them before they were trained on.
"""


@dataclass(frozen=True, repr=False)
class Run:
    """A run that is over, its numbers and its pictures: ``rows`` has one entry for each round and agent."""

    plan: RunPlan
    rows: Sequence[Row]

    def table(self) -> list[Row]:
        """The rows, for ``pandas.DataFrame(run.table())``."""
        return [dict(row) for row in self.rows]

    @property
    def task(self) -> "Task":
        """What the agents learn: its ``score`` is what it is called, its ``key`` where it is in ``rows``."""
        return self.plan.schema.solved

    @property
    def score(self) -> float:
        """Mean test score of the agents after the last round, without a coordinator's: accuracy, macro-F1 or R²."""
        last = max(row["round"] for row in self.rows)
        return float(statistics.mean(row[self.task.key] for row in self._agents() if row["round"] == last))

    @property
    def accuracy(self) -> float:
        """Mean test accuracy of the agents after the last round, from 0 to 1, without a coordinator's.

        Raises ConfigError where the task has another score.
        """
        if not self.task.one_class:
            raise ConfigError(f"a run of {self.task.name} has no accuracy: its score is {self.task.score}, run.score")
        return self.score

    @property
    def bytes(self) -> int:
        """Payload bytes that all agents sent in all rounds."""
        return sum(row["bytes"] for row in self.rows)

    @cached_property
    def graph_metrics(self) -> GraphMetrics:
        """Degrees, spectral gaps and bytes of the graph, as ``parse-lab topology`` prints them."""
        return measure(self.plan)

    @property
    def gap(self) -> float:
        """The smallest spectral gap of any slice's overlay, from 0 to 1.

        Raises ConfigError where nothing is shared among peers, as under a method with a coordinator.
        """
        slowest = self.graph_metrics.slowest
        if slowest is None:
            raise ConfigError(f"under the method {self.plan.run.method!r} nothing is shared, and no graph has a gap")
        return slowest.gap

    @property
    def graph(self) -> nx.Graph:
        """The graph, with ``modalities`` at its nodes and ``slices``, ``bytes`` a round and ``weight`` at its edges."""
        return annotated(self.plan)

    def by_type(self) -> dict[str, list[float]]:
        """Mean test score after each round, of the agents with the same modalities, such as ``audio+motion``."""
        rounds = range(1 + max(row["round"] for row in self.rows))
        found: dict[str, dict[int, list[float]]] = {}
        for row in self._agents():
            found.setdefault(row["type"], {}).setdefault(row["round"], []).append(row[self.task.key])
        return {kind: [statistics.mean(at[r]) for r in rounds if r in at] for kind, at in found.items()}

    def plot(self, file: str | Path | None = None) -> "Picture":
        """Accuracy, or the task's score, over rounds: every agent a thin line, the mean of a type a thick one.

        Needs matplotlib.
        With a ``file``, such as ``plot.svg``, it is written there. Raises ConfigError where that cannot be.
        """
        from parse_p2p.lab.graphs import picture

        curves: dict[str, tuple[str, list[int], list[float]]] = {}
        for row in self._agents():
            _, rounds, accuracies = curves.setdefault(row["agent"], (row["type"], [], []))
            rounds.append(row["round"] + 1)
            accuracies.append(row[self.task.key])
        title = f"{self.plan.run.method} on {self.plan.run.dataset}"
        drawn = picture.accuracy(list(curves.values()), title, self.task.score)
        if file is not None:
            picture.save(drawn, Path(file))
        return drawn

    def draw(self, file: str | Path | None = None) -> "Picture":
        """The graph and the overlay of every slice, agents coloured by what they sense. Needs matplotlib.

        With a ``file``, such as ``graph.svg``, it is written there. Raises ConfigError where that cannot be.
        """
        from parse_p2p.lab.graphs import picture

        drawn = picture.drawn(self.plan)
        if file is not None:
            picture.save(drawn, Path(file))
        return drawn

    def _agents(self) -> list[Row]:
        return [row for row in self.rows if row["agent"] != self.plan.coordinator]

    def __repr__(self) -> str:
        run = self.plan.run
        what = f"{run.method} on {run.dataset}: {len(self.plan.peers)} agents, {run.rounds} rounds"
        return f"<{what}, {self.task.score} {self.score:.3f}>"


def run(
    graph: nx.Graph | str,
    agents: Mapping[Any, Any] | None = None,
    *,
    method: str = "parse",
    dataset: str = "htad",
    data: Any = None,
    rounds: int = 20,
    seed: int = 0,
    coordinator: str | None = None,
    folder: str | Path | None = None,
    task: str = "classification",
    common_test: Any = None,
    **keys: Any,
) -> Run:
    """Simulate a network of agents from its first round to its last, in this process; what came of it.

    ``graph`` is a graph of networkx or a generator such as ``"watts-strogatz:8,k=4"``. ``agents`` are counted by type
    (``{"audio": 3, "audio+motion": 2}``) or named node by node (``{0: ["audio"], …}``); without them the graph's nodes
    may have ``modalities``, and else a third each has audio, motion, and both, or each has all of ``data``. A
    ``coordinator`` is one agent more, for centralised methods.

    ``data`` are samples that are dealt to the agents: arrays by name with the classes as ``y``, a
    ``parse_p2p.data.Dataset``, a ``torch.utils.data.Dataset`` or a ``datasets.Dataset`` (``parse_p2p.data.samples`` has
    options); or such samples for each node by its name, which stay its own; or else options of the named ``dataset``.
    Of nodes with their own, ``common_test`` are samples that all are tested with too, or where such lie.
    Where ``y`` are labels of 0 and 1, or numbers to predict, say ``task="multi-label"`` or ``"regression"``.

    ``keys`` are any others of a run file, as ``partition={"kind": "dirichlet"}``. With a ``folder`` it is written as
    the run of real agents is. ``method``, ``dataset``, ``codec=…`` and an encoder's ``kind`` may be the dotted names of
    modules of one's own, an encoder's also ``module:Name`` of any class that makes a module.

    Raises ConfigError in one sentence for what cannot be run, and TrainingError where a loss stops being a number.
    """
    _refuse_unknown(task)
    chosen, given = _given(data, dataset, task)
    if isinstance(given, Mapping) and isinstance(graph, nx.Graph):
        _refuse_other_nodes(given, list(map(str, graph)), coordinator)
    if agents is None and given is not None:
        agents = _all_of(given, graph)
    raw = _network(graph, agents, coordinator) | {"method": method, "rounds": rounds, "seed": seed} | chosen
    common, said = _common(common_test, task)
    raw |= said
    file = run_file.resolve(deepcopy({**raw, **keys}), Path("parse_p2p.run"))
    mine = _by_agent(given, graph, file) if isinstance(given, Mapping) else given
    plan = RunPlan(file, samples=mine, common=common)
    for note in plan.notes():
        warnings.warn(note, stacklevel=2)
    rows, key = list[Row](), plan.schema.solved.key
    nodes = _nodes(graph, file)

    def each(round: int, scores: Mapping[PeerId, Mapping[str, float]], ledger: Ledger, seconds: float) -> None:
        for me, scored in scores.items():
            sent = sum(sum(slices.values()) for slices in ledger.get(me, {}).values())
            node = {"node": nodes.get(me)} if nodes else {}
            rows.append({"round": round, "agent": me, **node, "type": plan.kind(me, round), key: scored["accuracy"],
                         "loss": scored.get("loss"), "bytes": sent,
                         **{name: scored[name] for name in ("validation", "validation_loss") if name in scored},
                         **{name: scored[name] for name in scored if name.startswith(events.ARRIVED)},
                         **{name: int(scored[name]) for name in (events.ARRIVING,) if name in scored},
                         **events.metrics(scored).get("scores", {})})  # fmt: skip

    threads = torch.get_num_threads()
    torch.set_num_threads(plan.threads)  # as many as each process would take: more only cost time
    try:
        if folder is None:
            rehearse(plan, each, plan.agent_states())
        else:
            record(plan, RunFolder(Path(folder)), each)
    finally:
        torch.set_num_threads(threads)
    return Run(plan, rows)


Given = Dataset | Mapping[str, Dataset] | None
"""Samples in memory: of all agents, or of each node by its name."""


def _given(data: Any, dataset: str, task: str) -> tuple[dict[str, Any], Given]:
    """The keys of a run file for what ``run`` is given as data, and samples in memory."""
    values = list(data.values()) if isinstance(data, Mapping) else []
    if any(map(_are_samples, values)):
        return {"dataset": run_file.OWN}, {str(node): _samples_of(node, each, task) for node, each in data.items()}
    if data is None or (isinstance(data, Mapping) and not any(map(_is_array, values))):
        options = dict(data or {})
        _refuse_other(task, options.get("task", task))
        return {"dataset": dataset, "data": options | ({"task": task} if task != CLASSIFICATION.name else {})}, None
    return {"dataset": run_file.IN_MEMORY}, _samples(data, task)


def _common(given: Any, task: str) -> tuple[Dataset | None, dict[str, Any]]:
    """Samples in memory that all are tested with, or the keys of a run file for where they lie."""
    if isinstance(given, str | Path):
        given = {"path": str(given)}
    if given is None or (isinstance(given, Mapping) and not any(map(_is_array, given.values()))):
        return None, {} if given is None else {"common_test": dict(given)}
    try:
        return _samples(given, task), {}
    except ConfigError as error:
        raise ConfigError(f"common_test: {error}") from error


def _samples(given: Any, task: str) -> Dataset:
    """Samples of a task; a data set says itself of which. Raises ConfigError where another was asked for."""
    if not isinstance(given, Dataset):
        return samples(given, task=task)
    _refuse_other(task, given.task.name)
    return samples(given)


def _refuse_unknown(task: Any) -> None:
    known = plugins.known(plugins.TASKS)
    if task not in known:
        raise ConfigError(f"task: there is no task {task!r}: {nearest(str(task), known)}")


def _refuse_other(task: str, there: Any) -> None:
    """Raise ConfigError where data are of a task that is not the one asked for; to ask for none is for classes."""
    if task not in (CLASSIFICATION.name, there):
        raise ConfigError(f"task: {task} is asked for, and the data are of {there}: say the same of both")


def _samples_of(node: Any, given: Any, task: str) -> Dataset:
    try:
        return _samples(given, task)
    except ConfigError as error:
        raise ConfigError(f"data of the node {node!r}: {error}") from error


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and not huggingface.is_one(value)


def _are_samples(value: Any) -> bool:
    """Whether this is a data set, arrays by name, or a sequence of items that is no plain list."""
    if isinstance(value, Mapping):
        return any(map(_is_array, value.values()))
    items = hasattr(value, "__len__") and hasattr(value, "__getitem__")
    return items and not _is_array(value) and not isinstance(value, str | bytes | list | tuple)


def _all_of(given: Dataset | Mapping[str, Dataset], graph: nx.Graph | str) -> dict[Any, Any] | None:
    """Agents that have all modalities of their data, where nodes do not say what they have."""
    if isinstance(graph, str):
        if isinstance(given, Mapping):
            raise ConfigError(f"data: the nodes of {graph} have no names: give a graph of networkx")
        count = sum(graph_sources.of_generator(graph, None)["agents"]["mix"].values())
        return {"+".join(given.modalities): count}
    if any("modalities" in facts for _, facts in graph.nodes(data=True)):
        return None
    return {node: list((given[str(node)] if isinstance(given, Mapping) else given).modalities) for node in graph}


def _refuse_other_nodes(given: Mapping[str, Dataset], nodes: Sequence[str], coordinator: str | None) -> None:
    for node in given:
        if node not in nodes and node != coordinator:
            raise ConfigError(f"data: {node!r} is no node of the graph: {nearest(node, nodes)}")
    for node in nodes:
        if node not in given:
            raise ConfigError(f"data: the node {node!r} has none: give it some, as {{'audio': ..., 'y': ...}}")


def _by_agent(given: Mapping[str, Dataset], graph: nx.Graph | str, run: RunFile) -> dict[PeerId, Dataset]:
    """The samples of each agent, which has the place of its node in the graph."""
    nodes = _nodes(graph, run)
    return {me: given[name] for me in agent_ids(run) if (name := str(nodes.get(me, me))) in given}


def _nodes(graph: nx.Graph | str, run: RunFile) -> dict[PeerId, Any]:
    """The node of each agent, as it stands in a graph of networkx; a coordinator has none."""
    return dict(zip(agent_ids(run), graph, strict=False)) if isinstance(graph, nx.Graph) else {}


def _network(graph: nx.Graph | str, agents: Mapping[Any, Any] | None, coordinator: str | None) -> dict[str, Any]:
    """The keys ``graph`` and ``agents`` of a run file."""
    counted = agents is None or all(isinstance(count, int) for count in agents.values())
    if isinstance(graph, str):
        if not counted:
            raise ConfigError(f"agents: the nodes of {graph} have no names: count agents by type, as {{'audio': 3}}")
        keys = graph_sources.of_generator(graph, agents)
    else:
        plain = graph_io.plain("the graph", graph)
        if not counted:
            _give(plain, {str(node): modalities for node, modalities in (agents or {}).items()})
        mix = dict(agents) if agents is not None and counted else None
        listed = graph_sources.agents_of(plain) if mix is None else None
        keys = {"graph": graph_io.entry(plain), "agents": listed or {"mix": mix or graph_sources.thirds(len(plain))}}
    if coordinator is not None and isinstance(keys["agents"], dict):
        keys["agents"]["coordinator"] = coordinator
    elif coordinator is not None:
        keys["agents"].append({"id": coordinator, "role": "coordinator"})
    return keys


def _give(graph: nx.Graph, modalities: Mapping[str, Any]) -> None:
    """Give every node its modalities."""
    if unknown := [node for node in modalities if node not in graph]:
        raise ConfigError(f"agents: {unknown[0]!r} is no node of the graph: {nearest(unknown[0], graph)}")
    if without := [node for node in graph if not modalities.get(node)]:
        raise ConfigError(f"agents: the node {without[0]!r} has no modalities: give it some, as ['audio']")
    for node, named in modalities.items():
        graph.nodes[node]["modalities"] = named
