"""What one agent knows of others, within bounds that no peer's messages can move.

An entry is by hearsay until its owner has spoken for itself; from then on only the owner changes what it says. Some
entries are drawn: they are the random partial view, which says nothing of who holds what.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

import torch

from parse_p2p.core.types import PeerId
from parse_p2p.discovery.gossip.messages import OLDEST, Edge, PeerDescriptor

VIEW = 16  # entries of the random view
RUMOURS = 64  # entries by hearsay, those of the view among them
SPOKEN = 256  # entries of those who spoke themselves
VIEW_OF_ONE = 4  # entries of the view that one peer may have told me
RUMOURS_OF_ONE = 16  # entries by hearsay that one peer may have told me
PATIENCE = 6  # messages in a row without a word from a peer before it counts as gone
GONE = 64  # of those the last that are remembered


@dataclass
class Entry:
    """One other agent. Rounds are mine: ``born`` is the one in which the card was made.

    ``edges`` is what its owner offers me, ``offered`` what I last offered it; ``unheard`` counts my messages since it
    spoke last.
    """

    descriptor: PeerDescriptor
    born: int
    source: PeerId
    drawn: bool = False
    spoken: bool = False
    unheard: int = 0
    edges: dict[str, Edge] = field(default_factory=dict)
    offered: frozenset[str] = frozenset()


class PeerSample:
    """The entries of one agent. ``now`` counts its rounds."""

    def __init__(self, me: PeerId) -> None:
        self.me = me
        self.now = 0
        self.entries: dict[PeerId, Entry] = {}
        self._gone: dict[PeerId, int] = {}

    @property
    def view(self) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.drawn]

    @property
    def rumours(self) -> list[Entry]:
        return [entry for entry in self.entries.values() if not entry.spoken]

    @property
    def spoken(self) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.spoken]

    def descriptor(self, entry: Entry) -> PeerDescriptor:
        """As I pass it on: with the age it has by now."""
        return replace(entry.descriptor, age=self.now - entry.born)

    def turn(self) -> None:
        """A round has gone by: forget who is too old or too silent."""
        self.now += 1
        for peer, entry in list(self.entries.items()):
            if entry.unheard > PATIENCE:
                self._give_up(peer)
            elif self.now - entry.born >= OLDEST:
                del self.entries[peer]
        self._gone = {peer: when for peer, when in self._gone.items() if self.now - when < OLDEST}

    def _give_up(self, peer: PeerId) -> None:
        del self.entries[peer]
        self._gone[peer] = self.now
        if len(self._gone) > GONE:
            del self._gone[next(iter(self._gone))]

    def hear(self, descriptor: PeerDescriptor, source: PeerId) -> None:
        """Take in what ``source`` says of another agent."""
        born = self.now - descriptor.age
        entry = self.entries.get(descriptor.id)
        if (
            descriptor.id in (self.me, source)
            or born <= self._gone.get(descriptor.id, -OLDEST)
            or descriptor.age >= OLDEST
        ):
            return
        if entry is not None and entry.spoken:
            if entry.descriptor.alike(descriptor):
                entry.born = max(entry.born, born)
        elif (entry is None or born > entry.born) and self._may_tell(source, entry):
            drawn, unheard = (entry.drawn, entry.unheard) if entry else (False, 0)
            self.entries[descriptor.id] = Entry(replace(descriptor, age=0), born, source, drawn, unheard=unheard)

    def _may_tell(self, source: PeerId, entry: Entry | None) -> bool:
        rumours = self.rumours
        if entry is None and len(rumours) >= RUMOURS:
            return False
        offered = [other for other in rumours if other.source == source and other is not entry]
        limit = VIEW_OF_ONE if entry is not None and entry.drawn else len(offered) + 1
        return len(offered) < RUMOURS_OF_ONE and sum(other.drawn for other in offered) < limit

    def meet(self, descriptor: PeerDescriptor, edges: dict[str, Edge]) -> Entry | None:
        """Take in what an agent says of itself; None where the sample is full."""
        self._gone.pop(descriptor.id, None)
        entry = self.entries.get(descriptor.id)
        if (entry is None or not entry.spoken) and len(self.spoken) >= SPOKEN:
            return None
        if entry is None:
            entry = self.entries[descriptor.id] = Entry(descriptor, self.now, descriptor.id)
        entry.descriptor, entry.born, entry.source = descriptor, self.now, descriptor.id
        entry.spoken, entry.unheard, entry.edges = True, 0, edges
        return entry

    def draw(self, peers: Iterable[PeerId], rng: torch.Generator) -> None:
        """Take these into the random view, where it is full for others drawn at random."""
        for peer in peers:
            entry = self.entries.get(peer)
            if entry is None or entry.drawn:
                continue
            theirs = [other for other in self.view if other.source == entry.source]
            leave = theirs if len(theirs) >= VIEW_OF_ONE else self.view if len(self.view) >= VIEW else []
            if leave:
                pick(leave, 1, rng)[0].drawn = False
            entry.drawn = True

    def keep(self, peers: Collection[PeerId]) -> None:
        """Forget all but these and the random view."""
        self.entries = {peer: entry for peer, entry in self.entries.items() if entry.drawn or peer in peers}


def pick(entries: list[Entry], count: int, rng: torch.Generator) -> list[Entry]:
    """Up to ``count`` of them, drawn without replacement."""
    order = torch.randperm(len(entries), generator=rng)[:count].tolist()
    return [entries[i] for i in order]
