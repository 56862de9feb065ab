"""Agents find those who hold the same slices, from one contact each and without a server.

Three layers in one kind of message. A small random view is shuffled with a peer every round (Cyclon; Voulgaris, Gavidia
and van Steen 2005; Jelasity et al. 2007), which keeps all agents in one network. Every message also tells of those
that are nearest to its receiver on the rings of the receiver's slices (Vicinity; Voulgaris and van Steen 2013, and
T-Man). And every agent offers edges for a slice to the nearest holders it has spoken to, and to those who want one of
it while it has room. What is said is the state and never a change of it, so that a lost message costs a round and no
more.

The rings depend on names alone: slices with the same holders have the same neighbours. They hold each holder with
2 · ``RINGS`` neighbours, fewer where there are fewer holders.

What a hostile peer can do is bounded: hearsay never displaces who has spoken for itself, never changes an address
learned from its owner, and fills no more than a share of any list; what one sender says of others in its name counts
once. What is not defended: peers under many names that do answer (Sybil), which may settle next to an agent on every
ring and fill its view (eclipse); a peer that gives another's address for its own, which makes others dial it for
nothing; and one that lies about what it holds. Whoever may speak at all is for the transport to say (keys). Cards show
everyone what an agent senses.
"""

from collections.abc import Iterable, Mapping

from parse_p2p.core.errors import ConfigError, MalformedFrame
from parse_p2p.core.rng import seeded
from parse_p2p.core.types import PeerId
from parse_p2p.discovery.gossip.messages import MAX_SLICES, Edge, GossipMessage, PeerDescriptor, fitting
from parse_p2p.discovery.gossip.peer_sample import Entry, PeerSample, pick
from parse_p2p.topology.ring_overlay import RINGS, nearer, nearest, reach

MOST = 4 * RINGS  # edges of one agent for one slice
SPARE = 2  # kept on each side of each ring, so that one who goes leaves a neighbour behind
DRAWN = 6  # cards of the random view in a shuffle, the sender's own among them
USEFUL = 8  # cards told for the sake of the receiver's slices
PROBES = 4  # rumours asked in a round
RECALL = 16  # rounds until the contacts are asked again: a network that fell in two finds together
ANSWERS = 256  # in a round, one for each peer

Plan = dict[str, dict[PeerId, bool]]
"""For each slice the peers I offer an edge, and whether I want it myself."""


class Gossiper:
    """What one agent knows and says. ``descriptor`` may be set anew when the agent gains or loses a slice.

    ``contacts`` are cards of which no more than the name and the addresses need be known; every ``recall`` rounds they
    are asked again. ``wanted`` are agents to look for, whatever they hold, until they speak. Nothing here waits or
    sends: ``tick`` once a round and ``receive`` for each message that came give the messages to send, by receiver.
    Raises ConfigError where the agent holds more slices than a card can name.
    """

    def __init__(
        self,
        descriptor: PeerDescriptor,
        contacts: Iterable[PeerDescriptor],
        seed: int,
        wanted: Iterable[PeerId] = (),
        recall: int = RECALL,
    ) -> None:
        self.me = descriptor.id
        self.sample = PeerSample(self.me)
        self._contacts = {contact.id: contact for contact in contacts if contact.id != self.me}
        self._unheard = list(self._contacts)  # contacts to ask until they speak
        self._recall = recall
        self.wanted = set(wanted)
        self._seed = seed
        self._rng = seeded(seed, "gossip", self.me, 0)
        self._answered: set[PeerId] = set()
        self._plan: Plan = {}
        self._holders: dict[str, tuple[PeerId, ...]] = {}  # of each of my slices those that told me so themselves
        self.descriptor = descriptor

    @property
    def descriptor(self) -> PeerDescriptor:
        return self._descriptor

    @descriptor.setter
    def descriptor(self, descriptor: PeerDescriptor) -> None:
        if len(descriptor.slices) > MAX_SLICES:
            raise ConfigError(
                f"{descriptor.id} holds {len(descriptor.slices)} slices, and gossip can tell of {MAX_SLICES} at most"
            )
        self._descriptor = descriptor
        self._settle()

    def addresses(self, peer: PeerId) -> tuple[str, ...]:
        """Where this peer listens, as far as I know; of a contact hearsay counts for less than what I was told."""
        entry = self.sample.entries.get(peer)
        if peer in self._contacts and (entry is None or not entry.spoken):
            return self._contacts[peer].addresses
        return entry.descriptor.addresses if entry else ()

    def neighbours(self, slice: str) -> dict[PeerId, int]:
        """With whom I share an edge for this slice, with the number of edges each said it has for it."""
        offered = self._plan.get(slice, ())
        return {peer: self.sample.entries[peer].edges[slice].degree for peer in offered if self._mutual(slice, peer)}

    def weights(self, slice: str) -> dict[PeerId, float]:
        """Metropolis weights, 1/(1 + max(d_i, d_j)); what is left to one is my own (Xiao and Boyd 2004).

        Never negative, never more than one together. Over all holders symmetric, and so doubly stochastic, once both
        ends of every edge have heard each other's last word.
        """
        theirs = self.neighbours(slice)
        return {peer: 1 / (1 + max(len(theirs), degree)) for peer, degree in theirs.items()}

    def coholders(self, slice: str) -> list[PeerId]:
        """Those I know to hold this slice, from themselves or by hearsay."""
        return [peer for peer, entry in self.sample.entries.items() if slice in entry.descriptor.slices]

    def tick(self) -> dict[PeerId, GossipMessage]:
        """One round: shuffle with one of the view, ask rumours that would be nearer, repeat my edges to their ends."""
        self.sample.turn()
        self._rng = seeded(self._seed, "gossip", self.me, self.sample.now)
        self._answered.clear()
        self._settle()
        partners = self._partners()
        probes = {entry.descriptor.id for entry in pick(self._improving(), PROBES, self._rng)}
        said = {peer: self._edges(peer) for peer in sorted({peer for row in self._plan.values() for peer in row})}
        missing = {peer for peer, edges in said.items() if self._unanswered(peer, edges)}
        receivers = dict.fromkeys([*partners, *sorted(probes), *said])
        asked = {*partners, *probes, *missing}
        return {peer: self._message(peer, peer in partners, peer in asked) for peer in receivers}

    def receive(self, sender: PeerId, message: GossipMessage) -> dict[PeerId, GossipMessage]:
        """Take in a message that, as the transport says, is from ``sender``. Raises MalformedFrame."""
        own = message.descriptors[0]
        if own.id != sender or sender == self.me:
            raise MalformedFrame(f"{sender} shows the card of {own.id}")
        self._unheard = [contact for contact in self._unheard if contact != sender]
        self.wanted.discard(sender)
        shared = own.slices & self.descriptor.slices
        before = self.sample.entries.get(sender)
        known = before is not None and before.spoken and before.descriptor.slices == own.slices
        said = before.edges if before is not None else {}
        entry = self.sample.meet(own, {name: edge for name, edge in message.edges.items() if name in shared})
        for descriptor in message.descriptors[1:]:
            self.sample.hear(descriptor, sender)
        self.sample.draw([descriptor.id for descriptor in message.descriptors[: message.drawn]], self._rng)
        if not known:
            self._settle()
        elif entry is not None and entry.edges != said:
            self._replan()
        return self._answer(sender, message, entry)

    def _answer(self, sender: PeerId, message: GossipMessage, entry: Entry | None) -> dict[PeerId, GossipMessage]:
        """Where it is asked for, or where the two of us do not agree on our edges; once a round."""
        mine = frozenset(self._edges(sender))
        agreed = entry is None or mine == entry.offered == frozenset(message.edges)
        if (agreed and not message.asks) or sender in self._answered or len(self._answered) >= ANSWERS:
            return {}
        self._answered.add(sender)
        return {sender: self._message(sender, message.asks and message.drawn > 0, False, message.descriptors[0])}

    def _partners(self) -> list[PeerId]:
        """With whom I shuffle: the oldest of the view, which leaves it, and a contact until all have spoken."""
        oldest = sorted(self.sample.view, key=lambda entry: entry.born)[:1]
        for entry in oldest:
            entry.drawn = False
        if not oldest or self.sample.now % self._recall == 0:
            self._unheard += [contact for contact in self._contacts if contact not in self._unheard]
        contacts = self._unheard[:1]
        self._unheard = self._unheard[1:] + contacts
        self._contacts |= {contact: self._contacts.pop(contact) for contact in contacts}  # the last in turn from now on
        return list(dict.fromkeys([*(entry.descriptor.id for entry in oldest), *contacts]))

    def _unanswered(self, peer: PeerId, edges: Mapping[str, Edge]) -> bool:
        return any(edge.wants and name not in self.sample.entries[peer].edges for name, edge in edges.items())

    def _message(
        self, peer: PeerId, shuffle: bool, asks: bool, descriptor: PeerDescriptor | None = None
    ) -> GossipMessage:
        """``descriptor`` is the receiver's, where it is not in the sample."""
        entry = self.sample.entries.get(peer)
        edges = self._edges(peer)
        if entry is not None:
            entry.unheard += 1
            entry.offered = frozenset(edges)
            descriptor = entry.descriptor
        drawn = (
            [e for e in pick(self.sample.view, DRAWN, self._rng) if e.descriptor.id != peer][: DRAWN - 1]
            if shuffle
            else []
        )
        useful = self._useful(peer, descriptor.slices if descriptor else frozenset())
        others = dict.fromkeys(entry.descriptor.id for entry in [*drawn, *useful])
        descriptors = [self._descriptor, *(self.sample.descriptor(self.sample.entries[id]) for id in others)]
        receivers = fitting(descriptors, edges)
        return GossipMessage(tuple(receivers), min(len(receivers), 1 + len(drawn)) if shuffle else 0, asks, edges)

    def _useful(self, peer: PeerId, slices: frozenset[str]) -> list[Entry]:
        """Those nearest to this peer on the rings of its slices, the rarest slices first."""
        entries = [entry for entry in self.sample.entries.values() if entry.descriptor.id != peer]
        rows = sorted(set(holding(entries, slices).values()), key=lambda row: (len(row), row))
        ids = dict.fromkeys(id for row in rows for id in nearest(peer, row, RINGS))
        return [self.sample.entries[id] for id in list(ids)[:USEFUL]]

    # edges

    def _edges(self, peer: PeerId) -> dict[str, Edge]:
        """What I offer to this peer."""
        rows = {name: row[peer] for name, row in self._plan.items() if peer in row}
        return {name: Edge(wants, len(self.neighbours(name))) for name, wants in rows.items()}

    def _settle(self) -> None:
        """Choose my edges, and forget those who serve neither them nor the random view."""
        self._replan()
        keep = {entry.descriptor.id for entry in self._improving()} | {
            peer for row in self._plan.values() for peer in row
        }
        for row in set(self._holders.values()):
            keep |= set(nearest(self.me, row, RINGS, SPARE))
        self.sample.keep(keep)

    def _replan(self) -> None:
        spoken = self.sample.spoken
        offering = sorted((entry for entry in spoken if entry.edges), key=lambda entry: entry.descriptor.id)
        self._holders = holding(spoken, self.descriptor.slices)
        self._plan = {name: self._offers(name, row, offering) for name, row in self._holders.items()}

    def _offers(self, name: str, holders: tuple[PeerId, ...], offering: list[Entry]) -> dict[PeerId, bool]:
        """To whom I offer an edge for this slice, at most ``MOST``, and whether I want it.

        I want the nearest, and until I have them all also those that I have. Whoever wants one gets it while there
        is room.
        """
        near = nearest(self.me, holders, RINGS)
        theirs = {entry.descriptor.id: entry.edges[name] for entry in offering if name in entry.edges}
        ready = all(self._mutual(name, peer) for peer in near)
        wanted = near if ready else (*near, *(peer for peer in theirs if self._mutual(name, peer)))
        asked = (peer for peer, edge in theirs.items() if edge.wants)
        return {peer: peer in wanted for peer in list(dict.fromkeys([*wanted, *asked]))[:MOST]}

    def _mutual(self, name: str, peer: PeerId) -> bool:
        """Whether both of us have said that they offer this edge."""
        entry = self.sample.entries[peer]
        return name in entry.edges and name in entry.offered

    def _improving(self) -> list[Entry]:
        """Those I know by hearsay alone and want, or who are nearer on some slice's ring than all who spoke to me."""
        rows = {row: reach(self.me, row, RINGS) for row in set(self._holders.values())}
        reached = {name: rows[row] for name, row in self._holders.items()}
        return [
            rumour
            for rumour in self.sample.rumours
            if rumour.descriptor.id in self.wanted
            or any(
                nearer(self.me, rumour.descriptor.id, reached[name])
                for name in rumour.descriptor.slices & reached.keys()
            )
        ]


def holding(entries: Iterable[Entry], slices: frozenset[str]) -> dict[str, tuple[PeerId, ...]]:
    """For each of these slices, in order of their names, who of these entries holds it, sorted.

    Most agents are of a few kinds, and most slices have the holders of another, so each is looked at once.
    """
    kinds: dict[frozenset[str], list[PeerId]] = {}
    for entry in entries:
        kinds.setdefault(entry.descriptor.slices, []).append(entry.descriptor.id)
    among = {name: tuple(kind for kind in kinds if name in kind) for name in sorted(slices)}
    rows = {some: tuple(sorted(id for kind in some for id in kinds[kind])) for some in set(among.values())}
    return {name: rows[some] for name, some in among.items()}
