"""From a run file to agents: graph, data, models and overlays, all derived from the file and the seed alone.

Every process of a run derives the same world, so nobody has to be told who shares what with whom.
"""

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import torch

from parse_p2p import plugins
from parse_p2p.arena import regions
from parse_p2p.codecs.base import Codec
from parse_p2p.config import AgentEntry, MixEntry, RunFile, options
from parse_p2p.data.base import Dataset, split, standardise
from parse_p2p.data.partition import PARTITIONS
from parse_p2p.errors import ConfigError, nearest
from parse_p2p.learner import Learner, seeded
from parse_p2p.methods.base import Method
from parse_p2p.models.base import Build, EncoderOptions, ModelOptions, Network, initialise, load_weights
from parse_p2p.names import Modality, PeerId, Role
from parse_p2p.participant import Participant
from parse_p2p.slices import Holder, Sharing
from parse_p2p.topology import families
from parse_p2p.topology.graph import Topology
from parse_p2p.topology.mix import place
from parse_p2p.topology.overlay import Overlays


@dataclass(frozen=True)
class Seat:
    """One agent of the run file, everything filled in."""

    id: PeerId
    modalities: tuple[Modality, ...]
    entry: AgentEntry
    model: ModelOptions
    encoders: Mapping[Modality, EncoderOptions]


class World:
    """All that a run file implies. Raises ConfigError, naming the key, for one that cannot be run."""

    def __init__(self, run: RunFile) -> None:
        self.run = run
        self.method: Method = plugins.load(plugins.METHODS, run.method)
        self.options = options(self.method.options, run.options, "options")
        self.codec: Codec = plugins.load(plugins.CODECS, run.codec)
        if run.model.network not in self.method.networks:
            raise ConfigError(
                f"the method {run.method!r} is not made for model.network {run.model.network!r}: "
                f"{nearest(run.model.network, self.method.networks)}"
            )
        self.seats = {seat.id: seat for seat in _seats(run)}
        self.topology = _topology(run, list(self.seats))
        self._refuse_unknown()
        self._overlays: dict[tuple[Any, ...], Overlays] = {}
        self.overlays(0)

    # data

    @cached_property
    def data(self) -> tuple[Dataset, Dataset]:
        """Training pool and test set, scaled by the pool."""
        module = plugins.module(plugins.DATA, self.run.dataset)
        opened = module.open(options(module.Options, self.run.data, "data"), self.run.seed)
        return standardise(*split(opened, self.run.test, self.run.seed))

    @cached_property
    def shares(self) -> dict[PeerId, np.ndarray[Any, np.dtype[np.int64]]]:
        """The rows of the training pool that each agent holds."""
        entry = self.run.partition
        if entry.kind not in PARTITIONS:
            near = nearest(entry.kind, PARTITIONS)
            raise ConfigError(f"partition.kind: there is no partition {entry.kind!r}: {near}")
        rng = np.random.default_rng(self.run.seed)
        rows = PARTITIONS[entry.kind](self.data[0], len(self.seats), rng, entry.alpha)
        return dict(zip(self.seats, rows, strict=True))

    def share(self, me: PeerId) -> tuple[Dataset, Dataset]:
        """An agent's training samples and the test set, both with its modalities only."""
        train, test = self.data
        modalities = self.seats[me].modalities
        return train.select(self.shares[me], modalities), test.select(np.arange(len(test)), modalities)

    # models

    def network(self, seat: Seat) -> Network:
        build: Build = plugins.load(plugins.NETWORKS, seat.model.network)
        shapes = {m: self.data[0].shape(m) for m in seat.modalities}
        return build(shapes, self.data[0].classes, seat.model, seat.encoders)

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

    @cached_property
    def holders(self) -> dict[PeerId, Holder]:
        """What the sharing tables see of every agent; no memory is taken for the parameters."""
        holders = {}
        for seat in self.seats.values():
            with torch.device("meta"):
                parts = self.network(seat).parts()
            holders[seat.id] = Holder(seat.id, seat.modalities, regions(parts))
        return holders

    # who shares what with whom

    def overlays(self, round: int) -> Overlays:
        return self._under(self.method.sharing(self.options, round, self.run.rounds))

    def _under(self, sharing: Sharing) -> Overlays:
        key = tuple(sharing.items())
        if key not in self._overlays:
            self._overlays[key] = Overlays(self.topology, sharing, self.holders.values())
        return self._overlays[key]

    def neighbours(self, me: PeerId) -> frozenset[PeerId]:
        """All that an agent ever exchanges with in this run."""
        for round in range(self.run.rounds):
            self.overlays(round)
        return frozenset(peer for overlays in self._overlays.values() for peer in overlays.plan(me).links)

    def participant(self, me: PeerId, device: torch.device | None = None) -> Participant:
        seat = self.seats[me]
        train, test = self.share(me)
        learner = Learner(
            me, self.initialised(seat), train, test, self.run.train, self.run.seed, device or self.device(me)
        )
        return Participant(
            me, seat.entry.role, self.method, self.options, learner, self.overlays, self.run.rounds
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

    def addresses(self, me: PeerId, folder: Path) -> dict[PeerId, tuple[str, str]]:
        """Where I and my neighbours listen: data and control."""
        return {peer: self.address(peer, folder) for peer in (me, *sorted(self.neighbours(me)))}

    def address(self, peer: PeerId, folder: Path) -> tuple[str, str]:
        entry = self.seats[peer].entry.address
        if entry is None and self.run.base_port is not None:
            entry = f"tcp://127.0.0.1:{self.run.base_port + 2 * list(self.seats).index(peer)}"
        if entry is not None:
            host, _, port = entry.rpartition(":")
            return entry, f"{host}:{int(port) + 1}"
        sockets = socket_folder(folder, self.run.digest())
        return f"ipc://{sockets}/{peer}.data", f"ipc://{sockets}/{peer}.control"

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
            self._refuse_role(seat)
        if len(islands := self.topology.islands()) > 1:
            smallest = sorted(islands, key=len)[0]
            alone = ", ".join(sorted(smallest)[:4])
            raise ConfigError(
                f"graph: it falls into {len(islands)} islands, one of them {{{alone}}}, which could never agree: "
                "add an edge between them"
            )
        self.shares  # noqa: B018 -- a partition that cannot be is refused before anything is written

    def _refuse_role(self, seat: Seat) -> None:
        if seat.entry.role not in self.method.scripts:
            raise ConfigError(
                f"agents: {seat.id} has the role {str(seat.entry.role)!r}, which the method {self.method.name!r} "
                f"lacks: {nearest(seat.entry.role, self.method.scripts)}"
            )


def socket_folder(folder: Path, digest: str) -> Path:
    """A private folder for the sockets of one run on this host; short, since a socket's path must be."""
    name = hashlib.blake2b(f"{folder.resolve()}{digest}".encode(), digest_size=6).hexdigest()
    path = Path(tempfile.gettempdir()) / f"p2p-{os.getuid()}-{name}"
    path.mkdir(mode=0o700, exist_ok=True)
    if path.stat().st_uid != os.getuid() or path.stat().st_mode & 0o077:
        raise ConfigError(f"the folder {path} for sockets is open to others: delete it, or set TMPDIR")
    return path


def _seats(run: RunFile) -> list[Seat]:
    entries = _entries(run)
    ids = [entry.id for entry in entries]
    if repeated := sorted({i for i in ids if ids.count(i) > 1}):
        raise ConfigError(f"agents: the id {repeated[0]!r} is given twice; ids must differ")
    return [_seat(run, entry) for entry in entries]


def _entries(run: RunFile) -> list[AgentEntry]:
    if isinstance(run.agents, MixEntry):
        types = place(run.agents.mix, run.agents.placement, run.seed)
        return [AgentEntry.model_validate({"id": f"a{i}", "modalities": list(t)}) for i, t in enumerate(types)]
    return run.agents


def _seat(run: RunFile, entry: AgentEntry) -> Seat:
    where = f"agents: {entry.id}"
    modalities = tuple(sorted(map(Modality, entry.modalities)))
    if len(set(modalities)) < len(modalities):
        raise ConfigError(f"{where} has a modality twice: {', '.join(modalities)}")
    if odd := sorted(set(entry.encoders) - set(modalities)):
        raise ConfigError(f"{where} has an encoder for {odd[0]!r}, a modality it lacks: {', '.join(modalities)}")
    model = options(ModelOptions, run.model.model_dump() | entry.model, f"{where}.model")
    changed = {m: model.encoder.model_dump() | entry.encoders.get(m, {}) for m in modalities}
    encoders = {m: options(EncoderOptions, e, f"{where}.encoders.{m}") for m, e in changed.items()}
    return Seat(PeerId(entry.id), modalities, entry, model, encoders)


def _topology(run: RunFile, ids: list[PeerId]) -> Topology:
    family = None
    if run.graph.generator is not None:
        family = partial(families.build, run.graph.generator, args=run.graph.args)
        graph = nx.relabel_nodes(families.build(run.graph.generator, len(ids), run.graph.args), dict(enumerate(ids)))
    else:
        graph = _named(run, ids)
    ordered = nx.Graph()
    ordered.add_nodes_from(ids)
    ordered.add_edges_from(graph.edges)
    hubs = [PeerId(e.id) for e in _entries(run) if e.role == Role.COORDINATOR]
    return Topology(run.name, ordered, run.weights, run.overlay, family, hubs[0] if hubs else None)


def _named(run: RunFile, ids: list[PeerId]) -> nx.Graph:
    """A graph given edge by edge: its nodes are agents' ids, or in a file as many nodes of any name."""
    if run.graph.edges is not None:
        graph = nx.Graph()
        graph.add_edges_from(run.graph.edges)
        if odd := sorted(set(graph) - set(ids)):
            raise ConfigError(f"graph.edges: {odd[0]!r} is no agent of this file: {nearest(odd[0], ids)}")
        return graph
    graph = families.from_file(run.graph.file or "")
    if len(graph) != len(ids):
        raise ConfigError(f"graph.file: {run.graph.file} has {len(graph)} nodes for {len(ids)} agents; make them equal")
    return nx.relabel_nodes(graph, dict(enumerate(ids)))
