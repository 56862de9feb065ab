"""What a run file may ask that cannot be: each is refused in a sentence before anything is written."""

from collections.abc import Callable, Iterable

from parse_p2p.config.roster import AgentSpec
from parse_p2p.config.run_file import RunFile
from parse_p2p.core.errors import ConfigError, nearest
from parse_p2p.core.types import PeerId
from parse_p2p.data.base import Dataset
from parse_p2p.data.label_spaces import refuse_unknown
from parse_p2p.methods.base import Method
from parse_p2p.topology.graph import Topology
from parse_p2p.wire.faults.base import SensorFault


def refuse_unlike(
    run: RunFile, method: Method, specs: Iterable[AgentSpec], train: Dataset, public: Dataset | None
) -> None:
    """Agents that do not fit the data, or the method. Raises ConfigError."""
    known = train.modalities
    for spec in specs:
        for modality in spec.modalities:
            if modality not in known:
                raise ConfigError(
                    f"agents: {spec.id} is to have the modality {modality!r}, which the data set "
                    f"{run.dataset!r} does not hold: {nearest(modality, known)}"
                )
        if method.centralised and spec.model.latent != run.model.latent:
            raise ConfigError(
                f"agents: {spec.id} has model.latent {spec.model.latent} and the run {run.model.latent}: "
                "with a coordinator all must have the same"
            )
    if method.public and public is None:
        raise ConfigError(
            f"the method {method.name!r} needs a public data set at its coordinator: "
            "add public: {share: 0.15} to the file, or --set public.share=0.15"
        )


def refuse_unreachable_pairs(specs: Iterable[AgentSpec], neighbours: Callable[[PeerId], Iterable[PeerId]]) -> None:
    """Neighbours of whom neither can dial the other. Raises ConfigError."""
    dial_only = {spec.id for spec in specs if spec.entry.dial_only}
    for me in sorted(dial_only) if len(dial_only) > 1 else ():
        if both := sorted(dial_only.intersection(neighbours(me))):
            raise ConfigError(
                f"agents: {me} and {both[0]} are neighbours and nobody dials either (dial_only: true): give one of "
                "them an address that the other reaches, or another graph"
            )


def refuse_sensors(run: RunFile, specs: Iterable[AgentSpec]) -> None:
    """Faults of sensors that nobody has. Raises ConfigError."""
    for i, fault in enumerate(run.faults):
        if isinstance(fault, SensorFault) and not any(fault.modality in spec.model.modalities for spec in specs):
            raise ConfigError(f"faults.{i}.modality: no agent ever has {fault.modality!r}")


def refuse_tasks(
    run: RunFile, specs: Iterable[AgentSpec], train: Dataset, share: Callable[[PeerId], tuple[Dataset, Dataset]]
) -> None:
    """Tasks that the data do not have, or an agent has nothing of. Raises ConfigError."""
    for name, task in run.tasks.items():
        refuse_unknown(name, task, train)
    for spec in specs:
        if spec.task and not all(map(len, share(spec.id))):
            raise ConfigError(
                f"agents: {spec.id} has no samples of its task {spec.task!r} to train on, or none to test with: "
                "give the task more classes, or agents larger shares"
            )


def refuse_varying(run: RunFile, method: Method) -> None:
    """Graphs that change where none can. Raises ConfigError."""
    if run.varying is None:
        return
    if method.centralised:
        raise ConfigError(
            f"varying: the method {method.name!r} has a coordinator and no graph among its clients that could "
            "vary: leave varying out"
        )
    if run.weights != "metropolis":
        raise ConfigError(f"varying: its graphs have Metropolis weights, not {run.weights}: leave weights out")


def refuse_events(run: RunFile, method: Method, train: Dataset) -> None:
    """Changes that cannot be. Raises ConfigError."""
    if run.events is not None and method.centralised:
        raise ConfigError(
            f"events: the method {method.name!r} has a coordinator, whose model would have to follow: leave "
            "events out, or choose a decentralised method"
        )
    for event in run.events or ():
        for modality in event.gain or ():
            if modality not in train.modalities:
                raise ConfigError(
                    f"events: {event.agent} is to gain {modality!r}, which the data set {run.dataset!r} does "
                    f"not hold: {nearest(modality, train.modalities)}"
                )
        if event.round is not None and event.round >= run.rounds:
            raise ConfigError(f"events: round {event.round} of {event.agent} never comes: rounds is {run.rounds}")


def refuse_disconnected(topology: Topology) -> None:
    """A graph that falls apart. Raises ConfigError."""
    if len(components := topology.connected_components()) > 1:
        smallest = sorted(components, key=len)[0]
        alone = ", ".join(sorted(smallest)[:4])
        raise ConfigError(
            f"graph: it has {len(components)} connected components, one of them {{{alone}}}, which could never agree: "
            "add an edge between them"
        )
