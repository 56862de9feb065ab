"""From a run file to agents: graph, data, models and overlays, all derived from the file and the seed alone.

Every process of a run derives the same world, so nobody has to be told who shares what with whom.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np
import torch

from parse_p2p import plugins, roles
from parse_p2p.arena import regions
from parse_p2p.codecs.base import Codec
from parse_p2p.config import AgentEntry, RunFile, options
from parse_p2p.data.base import Dataset, refuse_unlike, split, standardise
from parse_p2p.data.partition import PARTITIONS
from parse_p2p.data.stream import Stream, stream
from parse_p2p.data.tasks import refuse_unknown, seen_as
from parse_p2p.draws import seeded
from parse_p2p.errors import ConfigError, nearest
from parse_p2p.faults import refuse_strangers
from parse_p2p.learner import Learner
from parse_p2p.membership import Modalities, planned
from parse_p2p.methods.base import Method
from parse_p2p.models.base import Build, EncoderOptions, ModelOptions, Network, initialise, load_weights
from parse_p2p.names import Modality, PeerId, Role
from parse_p2p.participant import Participant, Wardrobe
from parse_p2p.places import Places
from parse_p2p.roles import Cast
from parse_p2p.slices import Holder, Sharing
from parse_p2p.topology.overlay import Overlays
from parse_p2p.topology.varying import VaryingOptions, drawn

RECENT = 4  # rounds whose drawn graphs are kept


@dataclass(frozen=True)
class Seat:
    """One agent of the run file, everything filled in."""

    id: PeerId
    role: Role
    modalities: tuple[Modality, ...]
    entry: AgentEntry
    model: ModelOptions
    encoders: Mapping[Modality, EncoderOptions]
    task: str = ""


class World:
    """All that a run file implies. Raises ConfigError, naming the key, for one that cannot be run."""

    def __init__(self, run: RunFile) -> None:
        self.method: Method = plugins.load(plugins.METHODS, run.method)
        run = _with_network(run, self.method)
        self.options = options(self.method.options, run.options, "options")
        self.codec: Codec = plugins.load(plugins.CODECS, run.codec)
        if run.model.network not in self.method.networks:
            raise ConfigError(
                f"the method {run.method!r} is not made for model.network {run.model.network!r}: "
                f"{nearest(run.model.network, self.method.networks)}"
            )
        cast = roles.cast(run, self.method)
        self.run = run = cast.run
        self.coordinator = cast.coordinator
        self.topology = cast.topology
        self.seats = {seat.id: seat for seat in _seats(run, cast)}
        self.peers = [me for me in self.seats if me != self.coordinator]
        self.membership = planned({me: self.seats[me].modalities for me in self.peers}, run.events or ())
        self._overlays: dict[tuple[Any, ...], Overlays] = {}
        self._costumes: dict[tuple[PeerId, Modalities], Holder] = {}
        self._drawn = lru_cache(RECENT)(self._draw)
        self._refuse_unknown()
        self._refuse_tasks()
        self._refuse_varying()
        self._refuse_events()
        self._refuse_islands()
        refuse_strangers(run.faults, roles.ids(run))

    # data

    @cached_property
    def data(self) -> tuple[Dataset, Dataset]:
        """What the agents train on, all together, and the test set."""
        return self._parts[0], self._parts[1]

    @property
    def public(self) -> Dataset | None:
        """The coordinator's data set: nobody's private sample is in it."""
        return self._parts[2]

    @cached_property
    def _parts(self) -> tuple[Dataset, Dataset, Dataset | None]:
        run = self.run
        opened = _open(run.dataset, run.data, "data", run.seed)
        train, test = standardise(*split(opened, run.test, run.seed))
        if run.public is None:
            return train, test, None
        if run.public.share is not None:
            private, public = split(train, run.public.share, run.seed)
            return private, test, public
        named = _open(run.public.dataset or "", run.public.data, "public.data", run.seed)
        refuse_unlike(named, train)
        return train, test, standardise(named, named)[0]

    @cached_property
    def shares(self) -> dict[PeerId, np.ndarray[Any, np.dtype[np.int64]]]:
        """The rows of the training pool that each agent holds."""
        entry = self.run.partition
        if entry.kind not in PARTITIONS:
            near = nearest(entry.kind, PARTITIONS)
            raise ConfigError(f"partition.kind: there is no partition {entry.kind!r}: {near}")
        rng = np.random.default_rng(self.run.seed)
        rows = PARTITIONS[entry.kind](self.data[0], len(self.peers), rng, entry.alpha)
        return dict(zip(self.peers, rows, strict=True))

    def share(self, me: PeerId, modalities: Modalities | None = None) -> tuple[Dataset, Dataset]:
        """An agent's training samples and the test set, both of its task and with its modalities only, or those given.

        A coordinator trains on the public samples, if there are any.
        """
        train, test = self.data
        modalities = modalities or self.seats[me].modalities
        if me == self.coordinator:
            public = train.select([]) if self.public is None else self.public
            return public.select(np.arange(len(public)), modalities), test.select(np.arange(len(test)), modalities)
        mine = train.select(self.shares[me], modalities), test.select(np.arange(len(test)), modalities)
        task = self.run.tasks.get(self.seats[me].task)
        return mine if task is None else (seen_as(task, mine[0]), seen_as(task, mine[1]))

    def classes(self, seat: Seat) -> int:
        """The number of classes that an agent tells apart."""
        return len(self.run.tasks[seat.task].classes) if seat.task else self.data[0].classes

    def tasks(self, me: PeerId, modalities: Modalities | None = None) -> Stream | None:
        """An agent's stream of tasks, where the run has them; the coordinator has none."""
        if self.run.stream is None or me == self.coordinator:
            return None
        return stream(
            *self.share(me, modalities), self.peers.index(me), len(self.peers), self.run.stream, self.run.seed
        )

    def senses(self, me: PeerId, round: int) -> Modalities:
        """What an agent has in a round; what the file says where it is not there."""
        return self.membership.of(me, round) or self.seats[me].modalities

    def kind(self, me: PeerId, round: int = 0) -> str:
        """The modalities of an agent as a table shows them, with its task where there are several; or coordinator."""
        if me == self.coordinator:
            return "coordinator"
        several = len({seat.task for seat in self.seats.values()}) > 1
        return "+".join(self.senses(me, round)) + (f": {self.seats[me].task or 'all classes'}" if several else "")

    # models

    def network(self, seat: Seat) -> Network:
        build: Build = plugins.load(plugins.NETWORKS, seat.model.network)
        shapes = {m: self.data[0].shape(m) for m in seat.modalities}
        return build(shapes, self.classes(seat), seat.model, seat.encoders)

    def initialised(self, seat: Seat) -> Network:
        """The network with its first parameters: equal components start equal, unless ``model.init`` is own."""
        network = self.network(seat)
        for name, module in network.initialised_apart():
            frozen = not any(p.requires_grad for p in module.parameters())
            whose = seat.id if seat.model.init == "own" and not frozen else "all"
            initialise(module, seeded(self.run.seed, "init", whose, name))
        for modality, encoder in seat.encoders.items():
            if encoder.weights is not None:
                load_weights(network.trunk_of(modality), encoder.weights)
        return network

    def seat(self, me: PeerId, modalities: Modalities) -> Seat:
        """An agent's seat once it has these modalities."""
        seat = self.seats[me]
        if modalities == seat.modalities:
            return seat
        own = {m: options for m, options in seat.entry.encoders.items() if m in modalities}
        entry = seat.entry.model_copy(update={"modalities": list(modalities), "encoders": own})
        return _seat(self.run, entry, seat.role, list(seat.model.modalities))

    @cached_property
    def holders(self) -> dict[PeerId, Holder]:
        """What the sharing tables see of every agent, with the modalities of the run file."""
        return {me: self._holder(seat) for me, seat in self.seats.items()}

    def _holder(self, seat: Seat) -> Holder:
        with torch.device("meta"):  # no memory is taken for the parameters
            network = self.network(seat)
        return Holder(seat.id, seat.modalities, regions(network.parts()), network.dimensions, seat.task)

    def _holders(self, round: int) -> list[Holder]:
        """Who is there in a round, each with what it then has."""
        if self.run.events is None:
            return list(self.holders.values())
        there = self.membership.at(round)
        return [self._as(me, there[me]) for me in self.peers if me in there]

    def _as(self, me: PeerId, modalities: Modalities) -> Holder:
        if (me, modalities) not in self._costumes:
            self._costumes[me, modalities] = self._holder(self.seat(me, modalities))
        return self._costumes[me, modalities]

    # who shares what with whom

    def overlays(self, round: int) -> Overlays:
        """The overlays in force in a round."""
        laid = self.laid(round)
        varying = self.run.varying
        return laid if varying is None else self._drawn(laid, varying, round)

    def laid(self, round: int) -> Overlays:
        """The overlays of a round before anything is drawn: what the run's graph makes of the sharing table."""
        return self._under(self.method.sharing(self.options, round, self.run.rounds), self._holders(round))

    def _draw(self, laid: Overlays, varying: VaryingOptions, round: int) -> Overlays:
        return laid.drawn(partial(drawn, options=varying, seed=self.run.seed, round=round))

    def _under(self, sharing: Sharing, holders: list[Holder]) -> Overlays:
        key = (*sharing.items(), *((holder.id, holder.modalities) for holder in holders))
        if key not in self._overlays:
            self._overlays[key] = Overlays(self.topology, sharing, holders, self.coordinator)
        return self._overlays[key]

    def neighbours(self, me: PeerId) -> frozenset[PeerId]:
        """All that an agent ever exchanges with in this run."""
        if self.coordinator is not None:
            return frozenset(self.peers if me == self.coordinator else [self.coordinator])
        if self.run.events is not None:  # any may come to share something with me
            return frozenset(self.peers) - {me}
        for round in range(self.run.rounds):
            self.laid(round)
        varying = self.run.varying
        anyone = varying is not None and not varying.keeps_to_graph
        met = (o.partners(me) if anyone else o.plan(me).links for o in self._overlays.values())
        return frozenset(peer for peers in met for peer in peers)

    def participant(self, me: PeerId, device: torch.device | None = None) -> Participant:
        build = partial(self.learner, me, device=device)
        wardrobe, first = None, self.seats[me].modalities
        if self.run.events is not None:
            wardrobe = Wardrobe(self.membership, self.data[0].modalities, build)
            first = self.senses(me, self.spans[me].start)
        public = self.public if me == self.coordinator else None
        return Participant(me, self.seats[me].role, self.method, self.options, build(first), self.overlays,
                           self.run.rounds, public=public, wardrobe=wardrobe)  # fmt: skip

    def learner(self, me: PeerId, modalities: Modalities, device: torch.device | None = None) -> Learner:
        """An agent's learner with these modalities and its first parameters."""
        train, test = self.share(me, modalities)
        tasks = self.tasks(me, modalities)
        return Learner(
            me,
            self.initialised(self.seat(me, modalities)),
            train if tasks is None else tasks.at(0),
            test if tasks is None else tasks.own,
            self.run.train,
            self.run.seed,
            device or self.device(me),
            tasks,
        )

    @property
    def spans(self) -> dict[PeerId, range]:
        """The rounds that each agent is there, by what is known now."""
        return {me: self.membership.span(me, self.run.rounds) for me in self.peers} | (
            {} if self.coordinator is None else {self.coordinator: range(self.run.rounds)}
        )

    def participants(self) -> list[Participant]:
        return [self.participant(me) for me in self.seats]

    # the machine

    def device(self, me: PeerId) -> torch.device:
        """``auto`` deals the GPUs round to the agents and is the CPU where there is none."""
        name = self.seats[me].entry.device or self.run.device
        if name == "auto":
            count = torch.cuda.device_count()
            return torch.device(f"cuda:{list(self.seats).index(me) % count}" if count else "cpu")
        try:
            device = torch.device(name)
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0].lower()
            raise ConfigError(f"device: {name!r} of agent {me} cannot be used ({reason}): try cpu or auto") from None
        return device

    @property
    def threads(self) -> int:
        """Compute threads of one agent, so that all of them fit the cores of one host."""
        return max(1, (os.cpu_count() or 1) // len(self.seats))

    @cached_property
    def places(self) -> Places:
        """Where the agents listen, and with which keys."""
        return Places(self.run, {me: seat.entry.address for me, seat in self.seats.items()})

    # what cannot be

    def _refuse_unknown(self) -> None:
        known = self.data[0].modalities
        for seat in self.seats.values():
            for modality in seat.modalities:
                if modality not in known:
                    raise ConfigError(
                        f"agents: {seat.id} is to have the modality {modality!r}, which the data set "
                        f"{self.run.dataset!r} does not hold: {nearest(modality, known)}"
                    )
            if self.method.centralised and seat.model.latent != self.run.model.latent:
                raise ConfigError(
                    f"agents: {seat.id} has model.latent {seat.model.latent} and the run {self.run.model.latent}: "
                    "with a coordinator all must have the same"
                )
        if self.method.public and self.public is None:
            raise ConfigError(
                f"the method {self.method.name!r} needs a public data set at its coordinator: "
                "add public: {share: 0.15} to the file, or --set public.share=0.15"
            )
        self.shares  # noqa: B018 -- a partition that cannot be is refused before anything is written

    def _refuse_tasks(self) -> None:
        for name, task in self.run.tasks.items():
            refuse_unknown(name, task, self.data[0])
        for seat in self.seats.values():
            if seat.task and not all(map(len, self.share(seat.id))):
                raise ConfigError(
                    f"agents: {seat.id} has no samples of its task {seat.task!r} to train on, or none to test with: "
                    "give the task more classes, or agents larger shares"
                )

    def _refuse_varying(self) -> None:
        if self.run.varying is None:
            return
        if self.method.centralised:
            raise ConfigError(
                f"varying: the method {self.method.name!r} has a coordinator and no graph among its clients that could "
                "vary: leave varying out"
            )
        if self.run.weights != "metropolis":
            raise ConfigError(f"varying: its graphs have Metropolis weights, not {self.run.weights}: leave weights out")

    def _refuse_events(self) -> None:
        if self.run.events is not None and self.method.centralised:
            raise ConfigError(
                f"events: the method {self.method.name!r} has a coordinator, whose model would have to follow: leave "
                "events out, or choose a decentralised method"
            )
        for event in self.run.events or ():
            for modality in event.gain or ():
                if modality not in self.data[0].modalities:
                    raise ConfigError(
                        f"events: {event.agent} is to gain {modality!r}, which the data set {self.run.dataset!r} does "
                        f"not hold: {nearest(modality, self.data[0].modalities)}"
                    )
            if event.round is not None and event.round >= self.run.rounds:
                raise ConfigError(
                    f"events: round {event.round} of {event.agent} never comes: rounds is {self.run.rounds}"
                )

    def _refuse_islands(self) -> None:
        if not self.laid(0).keys or self.method.centralised:
            return  # no graph is needed
        if len(islands := self.topology.islands()) > 1:
            smallest = sorted(islands, key=len)[0]
            alone = ", ".join(sorted(smallest)[:4])
            raise ConfigError(
                f"graph: it falls into {len(islands)} islands, one of them {{{alone}}}, which could never agree: "
                "add an edge between them"
            )


def _open(name: str, values: Mapping[str, Any], where: str, seed: int) -> Dataset:
    module = plugins.module(plugins.DATA, name)
    dataset: Dataset = module.open(options(module.Options, values, where), seed)
    return dataset


def _with_network(run: RunFile, method: Method) -> RunFile:
    """The run file with the method's own network where it leaves the choice."""
    if run.model.network != "auto":
        return run
    return run.model_copy(update={"model": run.model.model_copy(update={"network": method.networks[0]})})


def _seats(run: RunFile, cast: Cast) -> list[Seat]:
    gained = {m for event in run.events or () for m in event.gain or ()}
    sensed = sorted({m for entry in cast.peers for m in entry.modalities or ()} | gained)
    seats = [_seat(run, entry, Role.CLIENT if cast.coordinator else Role.PEER, sensed) for entry in cast.peers]
    if cast.hub is not None:
        seats.append(_seat(run, cast.hub.model_copy(update={"modalities": sensed}), Role.COORDINATOR, sensed))
    return seats


def _seat(run: RunFile, entry: AgentEntry, role: Role, sensed: list[str]) -> Seat:
    where = f"agents: {entry.id}"
    modalities = tuple(sorted(map(Modality, entry.modalities or ())))
    if len(set(modalities)) < len(modalities):
        raise ConfigError(f"{where} has a modality twice: {', '.join(modalities)}")
    if odd := sorted(set(entry.encoders) - set(modalities)):
        raise ConfigError(f"{where} has an encoder for {odd[0]!r}, a modality it lacks: {', '.join(modalities)}")
    known = {"modalities": run.model.modalities or tuple(sensed)}
    model = options(ModelOptions, run.model.model_dump() | known | entry.model, f"{where}.model")
    changed = {m: model.encoder.model_dump() | entry.encoders.get(m, {}) for m in modalities}
    encoders = {m: options(EncoderOptions, e, f"{where}.encoders.{m}") for m, e in changed.items()}
    # whatever this agent's own are, the run's encoder stays what others are measured by
    model = model.model_copy(update={"encoder": run.model.encoder})
    return Seat(PeerId(entry.id), role, modalities, entry, model, encoders, entry.task or "")
