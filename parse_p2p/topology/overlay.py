"""One overlay per slice: who exchanges what with whom, and with which weight.

On a modality-blind ring the holders of one modality almost never form a connected subgraph, so every slice has
a graph of its own over its holders (arXiv 2601.10012v2 speaks of modality-conditioned overlays).
"""

import copy
import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.message import Message, check_tensors
from parse_p2p.core.slices import Holder, Region, Sharing, SliceKey, offers
from parse_p2p.core.types import PeerId
from parse_p2p.topology.graph import Topology


@dataclass(frozen=True)
class Plan:
    """One agent's share of the overlays of a round: what it exchanges with whom, and with which weight.

    ``regions`` are the slices it offers. ``weights`` says with which weight each neighbour's copy of a slice is mixed;
    what is left to one is the agent's own. ``audience`` says whom a slice is sent to: the same neighbours, unless the
    graph is directed, which it is of the slices in ``one_way``, for all of their holders. ``links`` and ``expected``
    are the two by neighbour. With a ``coordinator`` there are links to it alone, and no weights: what it makes of the
    slices is its script's to say.
    """

    me: PeerId
    regions: Mapping[SliceKey, Region]
    weights: Mapping[SliceKey, Mapping[PeerId, float]]
    holders: Mapping[PeerId, Holder]
    coordinator: PeerId | None = None
    offers: Mapping[PeerId, Mapping[SliceKey, Region]] = field(default_factory=dict)
    audience: Mapping[SliceKey, Collection[PeerId]] = field(default_factory=dict)
    one_way: frozenset[SliceKey] = frozenset()

    @cached_property
    def links(self) -> dict[PeerId, tuple[SliceKey, ...]]:
        """The slices that go to each neighbour."""
        if self.me == self.coordinator:
            return {peer: tuple(sorted(self.offers[peer])) for peer in self.clients}
        if self.coordinator is not None:
            return {self.coordinator: tuple(sorted(self.regions))}
        return _by_peer(self.audience)

    @cached_property
    def expected(self) -> dict[PeerId, tuple[SliceKey, ...]]:
        """The slices that come from each neighbour."""
        return self.links if self.coordinator is not None else _by_peer(self.weights)

    @property
    def partners(self) -> frozenset[PeerId]:
        """All neighbours: those that something goes to, and those that it comes from."""
        return frozenset((*self.links, *self.expected))

    @property
    def clients(self) -> tuple[PeerId, ...]:
        """Every client of the coordinator, sorted."""
        return tuple(sorted(peer for peer in self.holders if peer != self.coordinator))

    def size(self, sender: PeerId, key: SliceKey) -> int:
        """Elements of a slice that I exchange with this agent."""
        return self.offers[sender][key].size if self.me == self.coordinator else self.regions[key].size

    def check(self, sender: PeerId, message: Message, whole: bool = True) -> None:
        """Refuse a message that is not exactly the slices expected of its sender, each of the right length and finite.

        Not ``whole``: some of them will do. Raises SpecMismatch, one sentence naming the slice.
        """
        wanted = {str(key): (self.size(sender, key),) for key in self.expected.get(sender, ())}
        check_tensors(sender, message, wanted if whole else {}, wanted)

    def payload(self) -> int:
        """Bytes this agent sends in one round uncompressed: four for each parameter of each slice and link."""
        return sum(4 * self.size(peer, key) for peer, keys in self.links.items() for key in keys)


class Overlays:
    """The overlays of all slices of a run under one sharing table.

    Under a ``coordinator``, which is no node of the topology, every agent is linked to it and to no other.
    Raises ConfigError when two agents would share a slice that they hold with different layouts.
    """

    def __init__(
        self, topology: Topology, sharing: Sharing, holders: Iterable[Holder], coordinator: PeerId | None = None
    ) -> None:
        self.topology = topology
        self.coordinator = coordinator
        self.members = {holder.id: holder for holder in holders}
        self.offers = {id: offers(sharing, holder) for id, holder in self.members.items()}
        self._lay: Callable[[frozenset[PeerId]], Topology] = topology.over
        self._graphs: dict[frozenset[PeerId], Topology] = {}
        self._plans: dict[PeerId, Plan] = {}
        found: defaultdict[SliceKey, list[PeerId]] = defaultdict(list)
        for id, offered in self.offers.items():
            for key in offered:
                found[key].append(id)
        self.keys = tuple(sorted(found))
        self._holders = {key: frozenset(found[key]) for key in self.keys}
        for key in self.keys:
            self._refuse_unequal(key, found[key])

    def holders(self, key: SliceKey) -> frozenset[PeerId]:
        return self._holders.get(key, frozenset())

    def graph(self, key: SliceKey) -> Topology:
        """The overlay of a slice; slices with the same holders have the same one."""
        return self.over(self.holders(key))

    def over(self, holders: Collection[PeerId]) -> Topology:
        chosen = frozenset(holders)
        if chosen not in self._graphs:
            self._graphs[chosen] = self._lay(chosen)
        return self._graphs[chosen]

    def drawn(self, draw: Callable[[Topology], Topology]) -> "Overlays":
        """The same slices on other graphs: ``draw`` makes each of the one that is laid here, when it is asked for."""
        other = copy.copy(self)
        other._lay = lambda chosen: draw(self.over(chosen))
        other._graphs, other._plans = {}, {}
        return other

    def layout(self, me: PeerId) -> str:
        """A digest of the slices an agent offers: equal exactly where names and shapes are."""
        text = "".join(f"{key}:{region.digest}\n" for key, region in sorted(self.offers[me].items()))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def partners(self, me: PeerId) -> frozenset[PeerId]:
        """All that hold a slice with this agent, whatever the graph."""
        return frozenset(peer for key in self.offers[me] for peer in self.holders(key)) - {me}

    def groups(self) -> dict[str, Topology]:
        """The overlay of every group that shares something among peers, by the group's name."""
        if self.coordinator is not None:
            return {}
        return {key.group: self.graph(key) for key in self.keys}

    def plan(self, me: PeerId) -> Plan:
        """What an agent exchanges, with whom, and with what weights."""
        if me not in self._plans:
            self._plans[me] = self._plan(me)
        return self._plans[me]

    def _plan(self, me: PeerId) -> Plan:
        regions = self.offers[me]
        if self.coordinator is not None:
            return Plan(me, regions, {}, self.members, self.coordinator, self.offers)
        weights = {key: dict(self.graph(key).weights(me)) for key in sorted(regions)}
        audience = {key: self.graph(key).audience(me) for key in weights}
        one_way = frozenset(key for key in weights if self.graph(key).graph.is_directed())
        return Plan(me, regions, weights, self.members, audience=audience, one_way=one_way)

    def _refuse_unequal(self, key: SliceKey, holders: Sequence[PeerId]) -> None:
        first, *rest = holders
        mine = self.offers[first][key]
        for other in rest:
            theirs = self.offers[other][key]
            if theirs.digest != mine.digest:
                raise ConfigError(
                    f"agents {first} and {other} would share the slice {key} but hold it with {mine.size} and "
                    f"{theirs.size} parameters in different shapes; give both the same latent, split, fusion and "
                    "classes"
                )


def _by_peer(slices: Mapping[SliceKey, Collection[PeerId]]) -> dict[PeerId, tuple[SliceKey, ...]]:
    peers = {peer for row in slices.values() for peer in row}
    return {p: tuple(key for key in slices if p in slices[key]) for p in sorted(peers)}
