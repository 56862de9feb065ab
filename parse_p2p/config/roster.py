"""Who of a run file takes part in which role, with everything filled in, and the graph among the peers.

A coordinator is an agent without data of its own. It takes part in centralised methods alone, so that the other
agents, their data and the graph among them are the same for every method.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import Any

import networkx as nx

from parse_p2p.config.run_file import RunFile, options
from parse_p2p.config.sections import AgentEntry, MixEntry
from parse_p2p.core.errors import ConfigError, nearest
from parse_p2p.core.types import Modality, PeerId, Role
from parse_p2p.methods.base import Method
from parse_p2p.models.base import ModelOptions
from parse_p2p.models.encoder import EncoderOptions
from parse_p2p.topology import generators
from parse_p2p.topology.directed import OneWay
from parse_p2p.topology.graph import Topology
from parse_p2p.topology.placement import Type, place
from parse_p2p.topology.weights import GIVEN, refuse_odd


@dataclass(frozen=True)
class AgentSpec:
    """One agent of the run file, everything filled in."""

    id: PeerId
    role: Role
    modalities: tuple[Modality, ...]
    entry: AgentEntry
    model: ModelOptions
    encoders: Mapping[Modality, EncoderOptions]
    task: str = ""


@dataclass(frozen=True)
class Roster:
    """The agents that take part; ``hub`` is the coordinator's entry, None in a method without one.

    ``run`` is the run file, with the middle of a star written down as the coordinator where it was taken for one.
    """

    run: RunFile
    peers: list[AgentEntry]
    hub: AgentEntry | None
    topology: Topology

    @property
    def coordinator(self) -> PeerId | None:
        return None if self.hub is None else PeerId(self.hub.id)


def read_roster(run: RunFile, method: Method) -> Roster:
    """Deal the roles. Raises ConfigError, with the remedy, for a centralised method without a coordinator."""
    for problem in problems(run, method):
        raise ConfigError(problem)
    entries = _entries(run)
    hubs = [entry for entry in entries if entry.role == "coordinator"]
    peers = [entry for entry in entries if entry.role != "coordinator"]
    topology = _topology(run, [PeerId(entry.id) for entry in peers], {hub.id for hub in hubs})
    if not method.centralised:
        return Roster(run, peers, None, topology)
    if hubs:
        return Roster(run, peers, hubs[0], topology)
    hub = _middle_of_star(topology, method)
    becomes = {"role": "coordinator", "model": {}, "encoders": {}}
    named = [e.model_copy(update=becomes) if e.id == hub else e for e in entries]
    return read_roster(run.model_copy(update={"agents": named}), method)


def problems(run: RunFile, method: Method) -> Iterator[str]:
    """Everything about the agents of a run file by which they cannot take part, each a sentence."""
    entries = _entries(run)
    ids = [entry.id for entry in entries]
    for repeated in sorted({i for i in ids if ids.count(i) > 1}):
        yield f"agents: the id {repeated!r} is given twice; ids must differ"
    hubs = [entry for entry in entries if entry.role == "coordinator"]
    if len(hubs) > 1:
        yield f"agents: {hubs[0].id} and {hubs[1].id} are both coordinators; keep one"
    if hubs and (hubs[0].model or hubs[0].encoders):
        yield (
            f"agents: the coordinator {hubs[0].id} has a model or encoders of its own, which its clients could not "
            "read: set model.encoder of the run"
        )
    peers = [entry for entry in entries if entry.role != "coordinator"]
    if not peers:
        yield f"agents: the coordinator {hubs[0].id} has nobody to coordinate: add agents with modalities"
    yield from _odd_tasks(run, peers, method)
    yield from _unmet(run, [entry.id for entry in peers])


def agent_ids(run: RunFile) -> list[PeerId]:
    """Every agent that a run file names, its coordinator included."""
    return [PeerId(entry.id) for entry in _entries(run)]


def specs(run: RunFile, roster: Roster) -> list[AgentSpec]:
    gained = {m for event in run.events or () for m in event.gain or ()}
    sensed = sorted({m for entry in roster.peers for m in entry.modalities or ()} | gained)
    found = [spec(run, entry, Role.CLIENT if roster.coordinator else Role.PEER, sensed) for entry in roster.peers]
    if roster.hub is not None:
        found.append(spec(run, roster.hub.model_copy(update={"modalities": sensed}), Role.COORDINATOR, sensed))
    return found


def spec(run: RunFile, entry: AgentEntry, role: Role, sensed: list[str]) -> AgentSpec:
    where = f"agents: {entry.id}"
    modalities = tuple(sorted(map(Modality, entry.modalities or ())))
    if len(set(modalities)) < len(modalities):
        raise ConfigError(f"{where} has a modality twice: {', '.join(modalities)}")
    if odd := sorted(set(entry.encoders) - set(modalities)):
        raise ConfigError(f"{where} has an encoder for {odd[0]!r}, a modality it lacks: {', '.join(modalities)}")
    known: dict[str, Any] = {"modalities": run.model.modalities or tuple(sensed)}
    known |= (
        {"encoders": {}} if "encoder" in entry.model else {}
    )  # the agent's own says more than the run's for a modality
    model = options(ModelOptions, run.model.model_dump() | known | entry.model, f"{where}.model")
    changed = {m: model.encoder_of(m).changed(entry.encoders.get(m, {})) for m in modalities}
    encoders = {m: options(EncoderOptions, e, f"{where}.encoders.{m}") for m, e in changed.items()}
    # whatever this agent's own are, the run's encoder stays what others are measured by
    model = model.model_copy(update={"encoder": run.model.encoder, "encoders": run.model.encoders})
    return AgentSpec(PeerId(entry.id), role, modalities, entry, model, encoders, entry.task or "")


def _odd_tasks(run: RunFile, peers: list[AgentEntry], method: Method) -> Iterator[str]:
    with_task = [(entry.id, entry.task) for entry in peers if entry.task is not None]
    for id, task in with_task:
        if task not in run.tasks:
            remedy = nearest(task, run.tasks) if run.tasks else f"add tasks: {{{task}: {{classes: [[0, 1], [2]]}}}}"
            yield f"agents: {id} has the task {task!r}, which is not among tasks: {remedy}"
    if with_task and method.centralised:
        yield (
            f"tasks: the method {method.name!r} has a coordinator with the same heads for all clients: leave out the "
            "tasks of agents, or take a method among peers"
        )
    if with_task and run.stream is not None:
        yield "tasks: a stream has one label space for all: leave out stream, or the tasks of agents"


def _unmet(run: RunFile, ids: list[str]) -> Iterator[str]:
    """Whom a trace names and the file does not."""
    if run.varying is None:
        return
    source = run.varying.file or "varying.contacts"
    for round, one, other in run.varying.contacts:
        for agent in (one, other):
            if agent not in ids:
                near = nearest(agent, ids)
                yield f"varying: {source} has {round},{one},{other} and {agent!r} is none of the agents: {near}"


def _middle_of_star(topology: Topology, method: Method) -> PeerId:
    for middle in topology.peers:
        others = [peer for peer in topology.peers if peer != middle]
        if len(others) > 1 and all(topology.neighbours(peer) == (middle,) for peer in others):
            return middle
    raise ConfigError(
        f"the method {method.name!r} needs a coordinator and {topology.name!r} is no star with one in its middle: add "
        "{id: hub, role: coordinator} to a list of agents, --set agents.coordinator=hub to a mix, or take "
        "topologies/star.yaml"
    )


def _entries(run: RunFile) -> list[AgentEntry]:
    if not isinstance(run.agents, MixEntry):
        return run.agents
    types = place(run.agents.mix, run.agents.placement, run.seed)
    tasks = _dealt(run.agents.tasks, types)
    entries = [
        AgentEntry.model_validate({"id": f"a{i}", "modalities": list(t), "task": tasks.get(i)})
        for i, t in enumerate(types)
    ]
    if run.agents.coordinator is not None:
        entries.append(AgentEntry.model_validate({"id": run.agents.coordinator, "role": "coordinator"}))
    return entries


def _dealt(tasks: list[str], types: list[Type]) -> dict[int, str]:
    """The task of each agent: in turn, type after type, so that every type and the whole are dealt evenly."""
    order = sorted(range(len(types)), key=lambda i: types[i])
    return {i: tasks[turn % len(tasks)] for turn, i in enumerate(order)} if tasks else {}


def _topology(run: RunFile, ids: list[PeerId], hubs: set[str]) -> Topology:
    family = None
    if run.graph.generator is not None:
        family = partial(generators.build, run.graph.generator, args=run.graph.args)
        graph = nx.relabel_nodes(generators.build(run.graph.generator, len(ids), run.graph.args), dict(enumerate(ids)))
    else:
        graph = _named(run, ids, hubs)
    ordered = nx.DiGraph() if run.graph.directed else nx.Graph()
    ordered.add_nodes_from(ids)
    ordered.add_edges_from(graph.edges(data=run.weights == GIVEN))
    if run.weights == GIVEN:
        _refuse_odd_weights(run, ordered)
    if run.graph.directed:
        return OneWay(run.name, ordered, run.weights, run.overlay)
    return Topology(run.name, ordered, run.weights, run.overlay, family)


def _refuse_odd_weights(run: RunFile, graph: nx.Graph) -> None:
    source = run.graph.file or "graph.edge_weights"
    if run.graph.edge_weights is None:
        raise ConfigError(f"weights: given needs weights of edges, and {source} gives none: give all, or leave it out")
    refuse_odd(f"weights: {source}", graph)


def _named(run: RunFile, ids: list[PeerId], hubs: set[str]) -> nx.Graph:
    """A graph given edge by edge, between agents; in a file the nodes may have other names, one for each agent."""
    if run.graph.edges is None:
        raise ConfigError("graph: give a generator, edges or a file")
    nodes = [name for name in run.graph.nodes or ids if name not in hubs]
    if len(nodes) != len(ids):
        source = run.graph.file or "graph.nodes"
        raise ConfigError(f"graph.file: {source} has {len(nodes)} nodes for {len(ids)} agents; make them equal")
    agent = dict(zip(nodes, ids if set(nodes) != set(ids) else nodes, strict=True))
    graph = nx.DiGraph() if run.graph.directed else nx.Graph()
    for edge, weight in zip_longest(run.graph.edges, run.graph.edge_weights or ()):
        if odd := [end for end in edge if end not in agent and end not in hubs]:
            raise ConfigError(f"graph.edges: {odd[0]!r} is no agent of this file: {nearest(odd[0], agent)}")
        if hubs.isdisjoint(edge):
            graph.add_edge(*(agent[end] for end in edge), weight=weight)
    return graph
