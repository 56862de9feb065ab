"""What a run file may ask that cannot be: each is refused in a sentence before anything is written."""

from typing import TYPE_CHECKING

from parse_p2p import roles
from parse_p2p.data.tasks import refuse_unknown
from parse_p2p.errors import ConfigError, nearest
from parse_p2p.faults import refuse_strangers

if TYPE_CHECKING:
    from parse_p2p.assembly import World


def refuse_impossible(world: "World") -> None:
    """Raises ConfigError, naming the key and the remedy."""
    _refuse_unknown(world)
    _refuse_tasks(world)
    _refuse_varying(world)
    _refuse_events(world)
    _refuse_islands(world)
    refuse_strangers(world.run.faults, roles.ids(world.run))


def _refuse_unknown(world: "World") -> None:
    known = world.data[0].modalities
    for seat in world.seats.values():
        for modality in seat.modalities:
            if modality not in known:
                raise ConfigError(
                    f"agents: {seat.id} is to have the modality {modality!r}, which the data set "
                    f"{world.run.dataset!r} does not hold: {nearest(modality, known)}"
                )
        if world.method.centralised and seat.model.latent != world.run.model.latent:
            raise ConfigError(
                f"agents: {seat.id} has model.latent {seat.model.latent} and the run {world.run.model.latent}: "
                "with a coordinator all must have the same"
            )
    if world.method.public and world.public is None:
        raise ConfigError(
            f"the method {world.method.name!r} needs a public data set at its coordinator: "
            "add public: {share: 0.15} to the file, or --set public.share=0.15"
        )
    world.shares  # noqa: B018 -- a partition that cannot be is refused before anything is written


def _refuse_tasks(world: "World") -> None:
    for name, task in world.run.tasks.items():
        refuse_unknown(name, task, world.data[0])
    for seat in world.seats.values():
        if seat.task and not all(map(len, world.share(seat.id))):
            raise ConfigError(
                f"agents: {seat.id} has no samples of its task {seat.task!r} to train on, or none to test with: "
                "give the task more classes, or agents larger shares"
            )


def _refuse_varying(world: "World") -> None:
    if world.run.varying is None:
        return
    if world.method.centralised:
        raise ConfigError(
            f"varying: the method {world.method.name!r} has a coordinator and no graph among its clients that could "
            "vary: leave varying out"
        )
    if world.run.weights != "metropolis":
        raise ConfigError(f"varying: its graphs have Metropolis weights, not {world.run.weights}: leave weights out")


def _refuse_events(world: "World") -> None:
    if world.run.events is not None and world.method.centralised:
        raise ConfigError(
            f"events: the method {world.method.name!r} has a coordinator, whose model would have to follow: leave "
            "events out, or choose a decentralised method"
        )
    for event in world.run.events or ():
        for modality in event.gain or ():
            if modality not in world.data[0].modalities:
                raise ConfigError(
                    f"events: {event.agent} is to gain {modality!r}, which the data set {world.run.dataset!r} does "
                    f"not hold: {nearest(modality, world.data[0].modalities)}"
                )
        if event.round is not None and event.round >= world.run.rounds:
            raise ConfigError(f"events: round {event.round} of {event.agent} never comes: rounds is {world.run.rounds}")


def _refuse_islands(world: "World") -> None:
    if not world.laid(0).keys or world.method.centralised:
        return  # no graph is needed
    if len(islands := world.topology.islands()) > 1:
        smallest = sorted(islands, key=len)[0]
        alone = ", ".join(sorted(smallest)[:4])
        raise ConfigError(
            f"graph: it falls into {len(islands)} islands, one of them {{{alone}}}, which could never agree: "
            "add an edge between them"
        )
