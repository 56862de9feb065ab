"""What a run file may ask that cannot be: each function yields a sentence for everything of its kind."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from pydantic import BaseModel

from parse_p2p.config.roster import AgentSpec
from parse_p2p.config.run_file import OWN, RunFile
from parse_p2p.core import plugins
from parse_p2p.core.errors import ConfigError, nearest
from parse_p2p.core.types import Modality, PeerId
from parse_p2p.data.label_spaces import refuse_unknown
from parse_p2p.data.schema import DataSchema
from parse_p2p.data.streams import unshifted
from parse_p2p.learning.learner import FEDERATION
from parse_p2p.learning.metrics.base import tasks_of
from parse_p2p.methods.base import Method
from parse_p2p.models.base import LatentOptions
from parse_p2p.runtime.scale_agreement import MOST
from parse_p2p.topology.graph import Topology
from parse_p2p.wire.faults.base import SensorFault, refuse_unknown_agents


def unlike(run: RunFile, method: Method, specs: Iterable[AgentSpec], schema: DataSchema) -> Iterator[str]:
    """Agents that do not fit the data, or the method."""
    known = schema.modalities
    for spec in specs:
        for modality in spec.modalities:
            if modality not in known:
                yield (
                    f"agents: {spec.id} is to have the modality {modality!r}, which {_holder(run)} does not hold: "
                    f"{nearest(modality, known)}"
                )
        own, common = (options.read(LatentOptions).latent for options in (spec.model, run.model))
        if method.centralised and own != common:
            yield (
                f"agents: {spec.id} has model.latent {own} and the run {common}: "
                "with a coordinator all must have the same"
            )
        if method.common_start and spec.model.init == "own":
            yield (
                f"agents: {spec.id} has model.init own, and the method {method.name!r} measures from a start that all "
                "have in common: leave it out"
            )
    if method.public and run.public is None and run.dataset != OWN:
        yield (
            f"the method {method.name!r} needs a public data set at its coordinator: "
            "add public: {share: 0.15} to the file, or --set public.share=0.15"
        )


def unsuited(
    run: RunFile, method: Method, chosen: BaseModel, schema: DataSchema, specs: Iterable[AgentSpec]
) -> Iterator[str]:
    """What the run file asks that its task does not have."""
    task = schema.solved
    if run.stream is not None and run.stream.shift:
        yield from filter(None, [unshifted(m for m, each in schema.modalities.items() if each.kind == "tokens")])
    for name in run.metrics:
        suits = tasks_of(plugins.load(plugins.METRICS, name))
        if task.name not in suits:
            yield (
                f"metrics: {name!r} is for {' and '.join(suits)}, and the task of the data is {task.name}: "
                f"{_suited(task.name)}"
            )
    if run.stream is not None and run.train.class_weights == FEDERATION:
        yield "train.class_weights: a stream's tasks have other classes each, which are not counted: take balanced"
    elif run.stream is not None and run.train.prior:
        yield "train.prior: a stream's tasks have other classes each, which are not counted: leave it out"
    if task.one_class:
        return
    where = f"and the task of the data is {task.name}"
    if method.classes:
        yield f"the method {method.name!r} learns from the class of each sample, {where}: {_methods_without_classes()}"
    if key := getattr(chosen, "needs_classes", ""):
        yield f"options.{key}: it looks at the class of each sample, {where}: leave it out"
    if run.train.class_weights != "none":
        yield f"train.class_weights: {run.train.class_weights} weighs classes, {where}: leave it out"
    if run.train.prior:
        yield f"train.prior: it corrects for how frequent classes are, {where}: leave it out"
    for name in {spec.model.weighting: None for spec in specs if spec.model.chosen("weighting").needs_classes}:
        yield f"model.weighting: {name} counts how frequent classes are, {where}: take weighting: none"
    if run.tasks:
        yield f"tasks: they are made of classes, {where}: leave them out"
    if run.stream is not None:
        yield f"stream: its tasks are made of classes, {where}: leave it out"


def impossible_arrivals(run: RunFile) -> Iterator[str]:
    """Keys that say themselves which samples there are in a round."""
    if run.dataset != OWN or not any("watch" in values for values in _sources(run)):
        return
    for key, why in (("events", "agents that gain and lose modalities"), ("stream", "tasks that shift")):
        if getattr(run, key) is not None:
            yield f"{key}: samples that arrive (watch) do not go with {why}: leave one of them out"


def _suited(task: str) -> str:
    metrics = {name: plugins.load(plugins.METRICS, name) for name in plugins.known(plugins.METRICS)}
    suited = [name for name, metric in metrics.items() if task in tasks_of(metric)]
    return f"take {', '.join(suited)}, or a function of torchmetrics by its dotted name"


def _methods_without_classes() -> str:
    methods = [plugins.load(plugins.METHODS, name) for name in plugins.known(plugins.METHODS)]
    return f"take {', '.join(each.name for each in methods if not each.classes)}"


def _holder(run: RunFile) -> str:
    """What says which modalities there are."""
    return "data_schema" if run.dataset == OWN else f"the data set {run.dataset!r}"


def unreachable_pairs(specs: Iterable[AgentSpec], neighbours: Callable[[PeerId], Iterable[PeerId]]) -> Iterator[str]:
    """Neighbours of whom neither can dial the other."""
    dial_only = {spec.id for spec in specs if spec.entry.dial_only}
    for me in sorted(dial_only) if len(dial_only) > 1 else ():
        if both := sorted(dial_only.intersection(neighbours(me))):
            yield (
                f"agents: {me} and {both[0]} are neighbours and nobody dials either (dial_only: true): give one of "
                "them an address that the other reaches, or another graph"
            )


def unknown_in_faults(run: RunFile, known: Collection[PeerId]) -> Iterator[str]:
    """Faults that strike agents which the file does not have."""
    try:
        refuse_unknown_agents(run.faults, known)
    except ConfigError as error:
        yield str(error)


def unknown_sensors(run: RunFile, specs: Iterable[AgentSpec]) -> Iterator[str]:
    """Faults of sensors that nobody has."""
    for i, fault in enumerate(run.faults):
        if isinstance(fault, SensorFault) and not any(fault.modality in spec.model.modalities for spec in specs):
            yield f"faults.{i}.modality: no agent ever has {fault.modality!r}"


def unknown_encoders(run: RunFile, specs: Iterable[AgentSpec]) -> Iterator[str]:
    """Encoders of modalities that nobody has."""
    known = {modality for spec in specs for modality in spec.model.modalities}
    for modality in run.model.encoders:
        if modality not in known:
            yield f"model.encoders: no agent ever has {modality!r}: {nearest(modality, known)}"


def impossible_tasks(run: RunFile, schema: DataSchema) -> Iterator[str]:
    """Tasks that the data do not have."""
    for name, task in run.tasks.items():
        try:
            refuse_unknown(name, task, schema)
        except ConfigError as error:
            yield str(error)


def impossible_directed(run: RunFile, method: Method, chosen: BaseModel, agrees: bool) -> Iterator[str]:
    """What cannot be where edges go one way."""
    if not run.graph.directed or method.centralised:
        return
    if run.graph.generator is not None:
        yield "graph.directed: the edges of a generator go both ways: leave it out, or give edges or a file"
    exchange = getattr(chosen, "exchange_mode", None)
    if exchange is not None and not exchange.one_way:
        modes = {name: plugins.load(plugins.EXCHANGES, name) for name in plugins.known(plugins.EXCHANGES)}
        fitting = " or ".join(name for name, mode in modes.items() if mode.one_way)
        yield (
            f"graph.directed: an edge goes one way, and options.exchange {getattr(chosen, 'exchange', '')!r} needs an "
            f"answer over each: take exchange: {fitting}, or say directed: false for edges that go both ways"
        )
    if run.varying is not None:
        yield "varying: it draws graphs of its own: leave it out, or directed"
    if run.events is not None:
        yield "events: whoever comes is told things by those it shares edges with, both ways: leave out directed"
    if agrees:
        yield (
            "graph.directed: agents agree on scales and classes over edges that go both ways: give a mean and "
            "deviation in data_schema and neither class_weights of the federation nor a prior, or leave out directed"
        )


def impossible_varying(run: RunFile, method: Method) -> Iterator[str]:
    """Graphs that change where none can."""
    if run.varying is None:
        return
    if method.centralised:
        yield (
            f"varying: the method {method.name!r} has a coordinator and no graph among its clients that could "
            "vary: leave varying out"
        )
    if run.weights != "metropolis":
        yield f"varying: its graphs have weights of their own, not {run.weights} ones: leave weights out"


def impossible_events(run: RunFile, method: Method, schema: DataSchema) -> Iterator[str]:
    """Changes that cannot be."""
    if run.events is not None and method.centralised:
        yield (
            f"events: the method {method.name!r} has a coordinator, whose model would have to follow: leave "
            "events out, or choose a decentralised method"
        )
    for event in run.events or ():
        for modality in event.gain or ():
            if modality not in schema.modalities:
                yield (
                    f"events: {event.agent} is to gain {modality!r}, which {_holder(run)} does not hold: "
                    f"{nearest(modality, schema.modalities)}"
                )
        if event.round is not None and event.round >= run.rounds:
            yield f"events: round {event.round} of {event.agent} never comes: rounds is {run.rounds}"


def impossible_early_stopping(run: RunFile) -> Iterator[str]:
    """Rounds to choose from that are not of the same modalities."""
    if run.early_stopping is None:
        return
    if run.events is not None:
        yield "early_stopping: with events, rounds are of different modalities and cannot be compared: leave one out"
    if any(isinstance(fault, SensorFault) for fault in run.faults):
        yield "early_stopping: a sensor breaks in some rounds, which cannot be compared with others: leave one out"


def impossible_held_out(run: RunFile, specs: Iterable[AgentSpec]) -> Iterator[str]:
    """Samples that are never to be trained on, where it changes which those are."""
    keeping = [spec.model.weighting for spec in specs if spec.model.chosen("weighting").keeps_apart]
    if not keeping:
        return
    said = f"model.weighting: {keeping[0]} keeps samples that are never trained on, and"
    if run.stream is not None:
        yield f"{said} a stream deals others in each task: leave stream out, or take weighting: none"
    if run.events is not None:
        yield f"{said} events change an agent's samples with its modalities: leave them out, or take weighting: none"
    if any("watch" in values for values in _sources(run)):
        yield f"{said} those that arrive (watch) change which those are: leave watch out, or take weighting: none"


def _sources(run: RunFile) -> Iterator[Mapping[str, object]]:
    """What is said of sources of the agents' own."""
    agents = run.agents
    yield from (run.data, *([e.data or {} for e in agents] if isinstance(agents, list) else agents.data.values()))


def slow_agreement(run: RunFile, modalities: Sequence[Modality], exchanges: float) -> Iterator[str]:
    """Agents that would take too long to agree on what these modalities are scaled by, or how frequent classes are."""
    if exchanges > MOST:
        key, remedy = "train.class_weights", "take balanced"
        if run.train.class_weights != FEDERATION:
            key, remedy = "train.prior", "leave it out"
        if modalities:
            key, remedy = f"data_schema.modalities.{modalities[0]}.scale", "give a mean and deviation"
        how = "never hear of each other" if math.isinf(exchanges) else f"take {2 * exchanges:.0f} exchanges to agree"
        yield (
            f"{key}: on this graph the agents that are there in the first round {how}, and at most {2 * MOST} are "
            f"made: {remedy}, or a graph that mixes faster"
        )


def disconnected(topology: Topology) -> Iterator[str]:
    """A graph that falls apart."""
    if len(components := topology.connected_components()) > 1:
        smallest = sorted(components, key=len)[0]
        alone = ", ".join(sorted(smallest)[:4])
        yield (
            f"graph: it has {len(components)} connected components, one of them {{{alone}}}, which could never agree: "
            "add an edge between them"
        )
