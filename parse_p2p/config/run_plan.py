"""From a run file to agents: graph, data, models and overlays, all derived from the file and the seed alone.

Every process of a run derives the same plan, so that who shares what with whom needs no messages.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import networkx as nx
import torch

from parse_p2p.config import validation
from parse_p2p.config.agent_data import Samples, agent_data
from parse_p2p.config.endpoints import Endpoints
from parse_p2p.config.own_data import Part
from parse_p2p.config.roster import AgentSpec, agent_ids, read_roster, specs
from parse_p2p.config.roster import spec as spec_of
from parse_p2p.config.run_file import RunFile, options
from parse_p2p.core import plugins
from parse_p2p.core.errors import ConfigError, cause, nearest
from parse_p2p.core.membership import Change, Membership, Modalities, planned
from parse_p2p.core.rng import seeded
from parse_p2p.core.slices import Holder, Region, Sharing
from parse_p2p.core.types import PeerId
from parse_p2p.data.base import Dataset, Scale, silent
from parse_p2p.data.label_spaces import seen_as
from parse_p2p.data.lazy import LazyInput
from parse_p2p.data.schema import DataSchema
from parse_p2p.data.splits import BY
from parse_p2p.data.streams import Stream, stream
from parse_p2p.learning import devices
from parse_p2p.learning.learner import Learner
from parse_p2p.methods.base import GENERAL, Method
from parse_p2p.models.base import Build, InputShapes, Network, initialise, rectified
from parse_p2p.models.encoder import Trunk, drawing, making
from parse_p2p.models.parameter_buffer import regions
from parse_p2p.models.weighting.base import held_out, weigh
from parse_p2p.models.weights import load_weights
from parse_p2p.runtime.agent_state import AgentState, LearnerVariants
from parse_p2p.runtime.arrivals.arrivals import Arrivals
from parse_p2p.runtime.arrivals.watched_folder import WatchedFolder
from parse_p2p.runtime.scale_agreement import Agreed, Agreement, exchanges
from parse_p2p.topology.dynamic import VaryingOptions, drawn
from parse_p2p.topology.overlay import Overlays
from parse_p2p.topology.weights import GIVEN
from parse_p2p.wire.codecs.base import Codec
from parse_p2p.wire.faults.base import broken

RECENT = 4  # rounds whose drawn graphs are kept


class RunPlan:
    """All that a run file implies; immutable. Raises ConfigError, naming the key, for one that cannot be run.

    What agents announce while they run makes another plan of it, see ``with_changes``.

    Without ``refuse`` it is left to the caller to look at ``problems``. ``samples`` are in place of the run's data,
    and ``common`` of its common test set.
    """

    def __init__(
        self, run: RunFile, refuse: bool = True, samples: Samples | None = None, common: Dataset | None = None
    ) -> None:
        self.method: Method = plugins.load(plugins.METHODS, run.method)
        run = _with_network(run, self.method)
        self.options = options(self.method.options, run.options, "options")
        self.codec: Codec = plugins.load(plugins.CODECS, run.codec)
        if not _made_for(self.method, run.model.network):
            raise ConfigError(
                f"the method {run.method!r} is not made for model.network {run.model.network!r}: "
                f"{nearest(run.model.network, self.method.networks)}"
            )
        roster = read_roster(run, self.method)
        self.coordinator = roster.coordinator
        self.topology = roster.topology
        self.specs = {spec.id: spec for spec in specs(roster.run, roster)}
        self.peers = [me for me in self.specs if me != self.coordinator]
        self.data = agent_data(roster.run, self.peers, self.coordinator, samples, common)
        try:
            self.run = self.data.run
        except ConfigError:  # of which problems tell
            self.run = roster.run
        run = self.run
        self.membership = planned({me: self.specs[me].modalities for me in self.peers}, run.events or ())
        self._overlays: dict[tuple[Any, ...], Overlays] = {}
        self._holders_of: dict[tuple[PeerId, Modalities], Holder] = {}
        self._drawn = lru_cache(RECENT)(self._draw)
        # by what networks are made of; of this plan only, for in a notebook an encoder may be written anew
        self._layouts: dict[tuple[Any, ...], tuple[Mapping[str, Region], tuple[int, int] | None]] = {}
        self._trunks: dict[Any, Trunk] = {}
        self._frozen: dict[Any, Trunk] = {}
        for problem in self.problems() if refuse else ():
            raise ConfigError(problem)

    def problems(self) -> Iterator[str]:
        """Everything that the run file asks and that cannot be, each a sentence; found only as far as one reads on."""
        run, specs, method = self.run, self.specs.values(), self.method
        fits = True
        for problem in _found(
            lambda: validation.unlike(run, method, specs, self.schema),
            lambda: validation.unsuited(run, method, self.options, self.schema, specs),
            self.data.problems,
        ):
            fits = False
            yield problem
        yield from _found(
            lambda: validation.impossible_directed(run, method, self.options, self.data.agrees),
            lambda: validation.impossible_varying(run, method),
            lambda: validation.impossible_events(run, method, self.schema),
            lambda: validation.impossible_arrivals(run),
            lambda: validation.unknown_in_faults(run, agent_ids(run)),
            lambda: validation.unknown_sensors(run, specs),
            lambda: validation.impossible_early_stopping(run),
            lambda: validation.impossible_held_out(run, specs),
            lambda: validation.unknown_encoders(run, specs),
        )
        if fits:  # there are no networks, and so no overlays, for modalities that the data do not have
            yield from _found(
                lambda: validation.impossible_tasks(run, self.schema),
                self._without_task,
                self._disconnected,
                self._without_agreement,
                self._unweighed,
                lambda: validation.unreachable_pairs(specs, self.neighbours),
            )

    def notes(self) -> Iterator[str]:
        """What the run file says that is not done, and yet is nothing wrong."""
        if self.run.graph.edge_weights is not None and self.run.weights != GIVEN and not self.method.centralised:
            yield f"the weights of the graph's edges are not used: weights: {GIVEN} mixes by them"

    def _unweighed(self) -> Iterator[str]:
        """What keeps modalities from being weighed; with large trunks of one's own only said once they are made."""
        made = {(spec.modalities, spec.model, *spec.encoders.items()): spec for spec in self.specs.values()}
        for spec in made.values():
            if spec.model.weighting != "none" and not any(encoder.ones_own for encoder in spec.encoders.values()):
                self.network(spec)  # which raises ConfigError
        yield from ()

    def _without_task(self) -> Iterator[str]:
        """Agents that are dealt nothing of their task; of one with a source of its own nobody else knows."""
        for me in self.peers:
            if not self.data.dealt or not self.specs[me].task:
                continue
            try:
                self.share(me)
            except ConfigError as error:
                yield str(error)

    def _disconnected(self) -> Iterable[str]:
        needed = (self.laid(0).keys or self.data.agrees) and not self.method.centralised
        return validation.disconnected(self.topology) if needed else ()

    def _without_agreement(self) -> Iterable[str]:
        if not self.data.agrees or (not self.method.centralised and len(self.topology.connected_components()) > 1):
            return ()
        return validation.slow_agreement(self.run, self.data.agreed_modalities, exchanges(self._agreeing))

    def with_changes(self, changes: Iterable[Change]) -> "RunPlan":
        """The plan of the same run with changes that agents announced; data and whatever is derived are shared."""
        plan = copy(self)
        plan.membership = self.membership.with_changes(changes)
        return plan

    # data

    @property
    def schema(self) -> DataSchema:
        """Modalities, shapes, task and classes of the data."""
        return self.data.schema

    def share(self, me: PeerId, modalities: Modalities | None = None) -> Part:
        """An agent's training and test samples, both of its task and with its modalities only, or those given.

        Raises ConfigError where there are none.
        """
        mine = self.data.share(me, modalities or self.specs[me].modalities)
        if not self.method.gaps:
            self._refuse_gaps(me, mine)
        name = self.specs[me].task
        if not name:
            return mine
        train, test = (seen_as(self.run.tasks[name], part) for part in mine)
        if not len(train) or not len(test):
            raise ConfigError(
                f"agents: {me} has no samples of its task {name!r} to train on, or none to test with: "
                "give the task more classes, or agents larger shares"
            )
        return train, test

    def common(self, me: PeerId, modalities: Modalities) -> Dataset | None:
        """What an agent is tested with as all others are, seen as its task; None where there is nothing.

        Raises ConfigError where no sample is of its task.
        """
        found, name = self.data.common(me, modalities), self.specs[me].task
        if found is None:
            return None
        if not self.method.gaps:
            self._refuse_gaps(me, (found,))
        found = seen_as(self.run.tasks[name], found) if name else found
        if not len(found):
            raise ConfigError(f"common_test: none of its samples is of the task {name!r} of {me}: add some")
        return found

    def _refuse_gaps(self, me: PeerId, mine: Iterable[Dataset]) -> None:
        for part in mine:
            if part.present:
                m, there = sorted(part.present.items())[0]
                others = [name for name in plugins.known(plugins.METHODS) if plugins.load(plugins.METHODS, name).gaps]
                raise ConfigError(
                    f"the method {self.run.method!r} does not learn from samples that lack a modality, and of {me} "
                    f"{int((~there).sum())} of {len(there)} lack {m!r}: leave them out, or take {', '.join(others)}"
                )

    def ceiling(self, me: PeerId) -> float | None:
        """The best accuracy that any model can reach with what an agent ends with, where a closed form is known."""
        known = None if self.specs[me].task or self.run.stream else self.data.ceiling
        return None if known is None else known(frozenset(self.senses(me, self.run.rounds - 1)))

    def classes(self, spec: AgentSpec) -> int:
        """The number of classes that an agent tells apart, or of labels or outputs."""
        return len(self.run.tasks[spec.task].classes) if spec.task else len(self.schema.names)

    def tasks(self, me: PeerId, modalities: Modalities | None = None) -> Stream | None:
        """An agent's stream of tasks, where the run has them; the coordinator has none."""
        if self.run.stream is None or me == self.coordinator:
            return None
        return stream(
            *self.share(me, modalities), self.peers.index(me), len(self.peers), self.run.stream, self.run.seed
        )

    @property
    def sensed(self) -> Modalities:
        """All modalities that there are, sorted."""
        return tuple(sorted(self.schema.modalities))

    def senses(self, me: PeerId, round: int) -> Modalities:
        """What an agent has in a round; what the file says where it is not there."""
        return self.membership.of(me, round) or self.specs[me].modalities

    def kind(self, me: PeerId, round: int = 0) -> str:
        """The modalities of an agent as a table shows them, with its task where there are several; or coordinator."""
        if me == self.coordinator:
            return "coordinator"
        several = len({spec.task for spec in self.specs.values()}) > 1
        return "+".join(self.senses(me, round)) + (f": {self.specs[me].task or 'all classes'}" if several else "")

    # what agents agree on

    @cached_property
    def _agreeing(self) -> nx.Graph:
        """The graph of all that are there from the outset: of a coordinator and its clients, a star."""
        if self.coordinator is not None:
            return nx.Graph((self.coordinator, client) for client in self.peers)
        first = planned({me: self.specs[me].modalities for me in self.peers}, self.run.events or ()).at(0)
        return self.topology.over(list(first)).graph

    @cached_property
    def _exchanges(self) -> int:
        return int(exchanges(self._agreeing))

    def agreement(self, me: PeerId) -> Agreement | None:
        """What an agent needs to agree with all others on scales and classes, where there is any to agree on."""
        if not self.data.agrees:
            return None
        first = self.senses(me, self.spans[me].start)
        return Agreement(
            me,
            len(self._agreeing),
            frozenset(self._agreeing[me]) if me in self._agreeing else frozenset(),
            self._exchanges,
            self.schema.shapes(self.data.agreed_modalities),
            partial(self.data.training, me, first),
            partial(self._scaled, me),
            len(self.schema.names) if self.data.counts_classes else 0,
        )

    def arrivals(self, me: PeerId, modalities: Modalities) -> Arrivals | None:
        """What an agent needs to take in samples while it runs, where any arrive.

        Raises ConfigError where it cannot, and for a package that is missing.
        """
        if (chosen := self.data.arrivals(me)) is None:
            return None
        return Arrivals(
            me,
            self.run.seed,
            WatchedFolder(chosen.watch, self.data.apart()),
            chosen.keep,
            chosen.drift,
            partial(self._start, me, modalities),
            partial(self._arrived, me, modalities),
            partial(self.data.scales, me),
        )

    def _start(self, me: PeerId, modalities: Modalities) -> Dataset:
        """The training samples that an agent begins with."""
        train = self._divided(me, modalities, *self.share(me, modalities))[0]
        for m, x in train.inputs.items():
            if isinstance(x, LazyInput):
                raise ConfigError(
                    f"agents: {me}.data.watch: {m!r} is read lazily, and what arrives is not: leave one out"
                )
        return train

    def _arrived(self, me: PeerId, modalities: Modalities, path: Path) -> Dataset:
        """The samples of a file that appeared, of the agent's task. Raises ConfigError where it cannot use them."""
        found = self.data.arrived(me, modalities, path)
        if self.specs[me].task:
            found = seen_as(self.run.tasks[self.specs[me].task], found)
        if not len(found):
            raise ConfigError(f"{path} has no sample that the agent can use: none is of its task and modalities")
        if not self.method.gaps:
            self._refuse_gaps(me, (found,))
        if found.present:
            self._refuse_unread(me, self._layout(self.specs[me]), found)
        return found

    def _refuse_unread(self, me: PeerId, network: Network, *samples: Dataset) -> None:
        if any(part.present for part in samples) and not network.reads_some:
            raise ConfigError(
                f"model.network: {self.specs[me].model.network!r} does not say that it reads samples that lack a "
                f"modality (reads_some), and {me} has such: leave them out, or take another network"
            )

    def _scaled(self, me: PeerId, agreed: Agreed, learner: Learner) -> Dataset | None:
        """Have a learner learn from samples that are scaled so; the public samples of the coordinator."""
        self.data.use_agreed(me, agreed.scales, agreed.frequencies)
        modalities = learner.holder.modalities
        divided = self._divided(me, modalities, *self.share(me, modalities))
        learner.learn_from(*divided, self.common(me, modalities))
        return self._public(me)

    def _public(self, me: PeerId) -> Dataset | None:
        return self.data.public_of(me, self.specs[me].modalities) if me == self.coordinator else None

    # models

    def network(self, spec: AgentSpec) -> Network:
        """The network as it is made; what it draws by itself is common to all, unless ``model.init`` is own."""
        whose = spec.id if spec.model.init == "own" else "all"
        with making(self.run.seed, whose, self._trunks), drawing(self.run.seed, "init", whose):
            return _built(spec.model.network, self.schema.shapes(spec.modalities), self.classes(spec), spec)

    def initialised(self, spec: AgentSpec) -> Network:
        """The network with its first parameters: equal components start equal, unless ``model.init`` is own.

        Trunks of one's own, and what else says so, keep those of their constructor.
        """
        network = self.network(spec)
        before = rectified(network)
        for name, module in network.initialised_apart():
            frozen = not any(p.requires_grad for p in module.parameters())
            whose = spec.id if spec.model.init == "own" and not frozen else "all"
            initialise(module, seeded(self.run.seed, "init", whose, name), spec.model.initialisation, before)
        for modality, encoder in spec.encoders.items():
            trunk = network.trunk_of(modality)
            if encoder.weights is not None:
                load_weights(trunk, encoder.weights)
            if isinstance(trunk, Trunk) and trunk.frozen:
                trunk.hold_once(self._frozen.setdefault((modality, encoder), trunk))
        return network

    def spec(self, me: PeerId, modalities: Modalities) -> AgentSpec:
        """An agent's entry once it has these modalities."""
        spec = self.specs[me]
        if modalities == spec.modalities:
            return spec
        own = {m: options for m, options in spec.entry.encoders.items() if m in modalities}
        entry = spec.entry.model_copy(update={"modalities": list(modalities), "encoders": own})
        return spec_of(self.run, entry, spec.role, list(spec.model.modalities))

    @cached_property
    def holders(self) -> dict[PeerId, Holder]:
        """What the sharing tables see of every agent, with the modalities of the run file."""
        return {me: self._holder(spec) for me, spec in self.specs.items()}

    def _holder(self, spec: AgentSpec) -> Holder:
        key = (spec.modalities, self.classes(spec), spec.model, *spec.encoders.items())
        if key not in self._layouts:
            network = self._layout(spec)
            self._layouts[key] = regions(network.components()), network.dimensions
        return Holder(spec.id, spec.modalities, *self._layouts[key], spec.task)

    def _layout(self, spec: AgentSpec) -> Network:
        """The network for the shapes of its parameters alone, for which no memory is taken where that can be."""
        try:
            with torch.device("meta"):
                return self.network(spec)
        except ConfigError:
            if not plugins.ones_own(spec.model.network):
                raise
        return self.network(spec)  # such as one that looks at numbers while it is made

    def _holders(self, round: int, membership: Membership) -> list[Holder]:
        """Who is there in a round, each with what it then has."""
        if self.run.events is None:
            return list(self.holders.values())
        there = membership.at(round)
        return [self._as(me, there[me]) for me in self.peers if me in there]

    def _as(self, me: PeerId, modalities: Modalities) -> Holder:
        if (me, modalities) not in self._holders_of:
            self._holders_of[me, modalities] = self._holder(self.spec(me, modalities))
        return self._holders_of[me, modalities]

    # who shares what with whom

    def overlays(self, round: int, membership: Membership | None = None) -> Overlays:
        """The overlays in force in a round, by what the run file plans or by what an agent knows."""
        laid = self.laid(round, membership)
        varying = self.run.varying
        return laid if varying is None else self._drawn(laid, varying, round)

    def laid(self, round: int, membership: Membership | None = None) -> Overlays:
        """The overlays of a round before anything is drawn: what the run's graph makes of the sharing table."""
        return self._under(
            self.method.sharing(self.options, round, self.run.rounds),
            self._holders(round, membership or self.membership),
        )

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
        met = (o.partners(me) if anyone else o.plan(me).partners for o in self._overlays.values())
        agreeing = self._agreeing[me] if self.data.agrees else ()
        return frozenset(peer for peers in met for peer in peers).union(agreeing)

    def agent_state(self, me: PeerId, device: torch.device | None = None) -> AgentState:
        self.data.use_agreed(me, dict.fromkeys(self.data.agreed_modalities, Scale.none()), None)  # until they agreed
        build = partial(self.learner, me, device=device)
        variants, first = None, self.specs[me].modalities
        if self.run.events is not None:
            planned = {m for round in self.spans[me] for m in self.membership.of(me, round)}
            # raises ConfigError now, and not when it gains one
            for each in {tuple(sorted(planned)) or first, *(self.membership.of(me, r) for r in self.spans[me])} - {()}:
                self.share(me, each)
            variants = LearnerVariants(self.sensed, build)
            first = self.senses(me, self.spans[me].start)
        return AgentState(
            me,
            self.specs[me].role,
            self.method,
            self.options,
            build(first),
            self.membership,
            self.overlays,
            self.run.rounds,
            public=self._public(me),
            variants=variants,
            sense=partial(self._sense, me),
            agreement=self.agreement(me),
            arrivals=self.arrivals(me, first),
        )

    def _sense(self, me: PeerId, round: int, data: Dataset) -> Dataset:
        """What an agent reads in a round: no numbers of a modality whose sensor a fault has broken."""
        lost = broken(self.run.faults, me, round)
        return data if lost.isdisjoint(data.inputs) else silent(data, lost)

    def learner(self, me: PeerId, modalities: Modalities, device: torch.device | None = None) -> Learner:
        """An agent's learner with these modalities and its first parameters."""
        train, test = self.share(me, modalities)
        device = device or self.device(me)
        devices.open_up(device, me)
        network = self.initialised(self.spec(me, modalities))
        common = self.common(me, modalities)
        self._refuse_unread(me, network, *(part for part in (train, test, common) if part is not None))
        train, test, tasks, validation, held = self._divided(me, modalities, train, test)
        return Learner(
            me,
            network,
            train,
            test,
            self.run.train,
            self.run.seed,
            device,
            tasks,
            [plugins.load(plugins.METRICS, name) for name in self.run.metrics],
            validation,
            held,
            common,
        )

    def _divided(
        self, me: PeerId, modalities: Modalities, train: Dataset, test: Dataset
    ) -> tuple[Dataset, Dataset, Stream | None, Dataset | None, Dataset | None]:
        """An agent's share as its learner takes it.

        To train on and to test with, the stream, to validate with, and to weigh predictions by.
        """
        if (tasks := self.tasks(me, modalities)) is not None:
            return tasks.at(0), tasks.own, tasks, None, None
        if me == self.coordinator:
            return train, test, None, None, None
        cut = BY[self.run.test_by]
        stopping, validation, held = self.run.early_stopping, None, None
        if stopping is not None:
            train, validation = stopping.held_out(train, me, self.run.seed, cut)
        if share := self.specs[me].model.chosen("weighting").keeps_apart:
            train, held = held_out(train, share, me, self.run.seed, cut)
        return train, test, None, validation, held

    @property
    def spans(self) -> dict[PeerId, range]:
        """The rounds that each agent is there, by what is known now."""
        return {me: self.membership.span(me, self.run.rounds) for me in self.peers} | (
            {} if self.coordinator is None else {self.coordinator: range(self.run.rounds)}
        )

    def agent_states(self) -> list[AgentState]:
        return [self.agent_state(me) for me in self.specs]

    # the machine

    def device(self, me: PeerId) -> torch.device:
        """``auto`` gives agents the GPUs in turn, and the CPU where there is none."""
        return devices.choose(self.specs[me].entry.device or self.run.device, me, list(self.specs).index(me))

    @property
    def threads(self) -> int:
        """Compute threads of one agent, so that all of them fit the cores of one host."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, cores // len(self.specs))

    @cached_property
    def endpoints(self) -> Endpoints:
        """Where the agents listen, and with which keys."""
        return Endpoints(self.run, {me: spec.entry for me, spec in self.specs.items()})


def _found(*checks: Callable[[], Iterable[str]]) -> Iterator[str]:
    """What all of these checks say."""
    for check in checks:
        try:
            yield from check()
        except ConfigError as error:  # what the check looks at cannot be had
            yield str(error)


def _made_for(method: Method, name: str) -> bool:
    """Whether a method can train a network.

    One of one's own has to be derived from one that the method is made for, where that is not for any.
    """
    if name in method.networks or not plugins.ones_own(name):
        return name in method.networks
    build = plugins.load(plugins.NETWORKS, name)
    bases = tuple(plugins.load(plugins.NETWORKS, each) for each in method.networks if not plugins.ones_own(each))
    return method.networks == GENERAL or (isinstance(build, type) and issubclass(build, bases))


def _built(name: str, shapes: InputShapes, classes: int, spec: AgentSpec) -> Network:
    build: Build = plugins.load(plugins.NETWORKS, name)
    try:
        made: object = build(shapes, classes, spec.model, spec.encoders)
    except ConfigError:
        raise
    except Exception as error:
        if not plugins.ones_own(name):
            raise
        raise ConfigError(f"the network {name!r} cannot be made ({cause(error)}): correct it") from error
    if not isinstance(made, Network):
        raise ConfigError(
            f"the network {name!r} makes a {type(made).__name__}: derive what it makes from parse_p2p.models.Network"
        )
    return weigh(made, shapes, spec.model.weighting, spec.model.chosen("weighting"))


def _with_network(run: RunFile, method: Method) -> RunFile:
    """The run file with the method's own network where it leaves the choice."""
    if run.model.network != "auto":
        return run
    return run.model_copy(update={"model": run.model.model_copy(update={"network": method.networks[0]})})
