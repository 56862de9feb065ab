"""The gossip of many agents in one process, each message packed and unpacked as on the wire, some of them lost."""

from collections import deque
from collections.abc import Iterable, Sequence

import networkx as nx
import torch

from parse_p2p.core.message import Message
from parse_p2p.core.rng import seeded
from parse_p2p.core.types import PeerId
from parse_p2p.discovery.gossip.gossiper import Gossiper
from parse_p2p.discovery.gossip.messages import GossipMessage, PeerDescriptor, read, write
from parse_p2p.wire.codecs import raw
from parse_p2p.wire.framing import Frames, Header, pack, unpack

CONTACTS = ("first", "chain", "tree")
"""Whom an agent knows: all know the first; each the one before it; each one that is drawn from those before it."""


def gossipers(descriptors: Sequence[PeerDescriptor], contacts: str, seed: int) -> list[Gossiper]:
    """An agent for each card; all but the first know one other, no more of it than name and addresses."""
    rng = seeded(seed, "contacts", contacts)
    known: dict[PeerId, list[PeerDescriptor]] = {descriptors[0].id: []}
    for i in range(1, len(descriptors)):
        other = {"first": 0, "chain": i - 1, "tree": int(torch.randint(i, (), generator=rng))}[contacts]
        known[descriptors[i].id] = [PeerDescriptor(descriptors[other].id, descriptors[other].addresses)]
    return [Gossiper(descriptor, known[descriptor.id], seed) for descriptor in descriptors]


class GossipNetwork:
    """``loss`` is the share of messages that do not arrive; none crosses the ``wall`` around some of the agents.

    ``agents`` and ``wall`` may be changed between two rounds; messages to one that is not there are lost.
    """

    def __init__(self, agents: Iterable[Gossiper], seed: int, loss: float = 0.0) -> None:
        self.agents = {agent.me: agent for agent in agents}
        self.wall: frozenset[PeerId] = frozenset()
        self.rounds = 0
        self.messages = 0
        self.bytes = 0
        self._loss = loss
        self._rng = seeded(seed, "crowd")

    def round(self) -> None:
        """Every agent ticks once; its messages, the answers and the answers to these come before the next round."""
        self.rounds += 1
        sends = [item for agent in list(self.agents.values()) for item in self._sent(agent.me, agent.tick())]
        order = torch.randperm(len(sends), generator=self._rng).tolist()
        queue = deque(sends[i] for i in order)
        while queue:
            sender, receiver, frames = queue.popleft()
            header, _ = unpack(frames)
            queue.extend(self._sent(receiver, self.agents[receiver].receive(sender, read(header.meta))))

    def _sent(self, sender: PeerId, messages: dict[PeerId, GossipMessage]) -> list[tuple[PeerId, PeerId, Frames]]:
        arriving = []
        for receiver, message in messages.items():
            [frames] = pack(Header("crowd", sender, 0, "gossip"), Message(meta=write(message)), raw.CODEC)
            self.messages += 1
            self.bytes += sum(map(len, frames))
            lost = float(torch.rand((), generator=self._rng)) < self._loss
            if receiver in self.agents and not lost and (sender in self.wall) == (receiver in self.wall):
                arriving.append((sender, receiver, frames))
        return arriving

    def overlay(self, slice: str) -> nx.Graph:
        """The holders of a slice and the edges on which both ends agree."""
        rows = {me: agent.neighbours(slice) for me, agent in self.agents.items() if slice in agent.descriptor.slices}
        graph = nx.Graph()
        graph.add_nodes_from(rows)
        graph.add_edges_from((me, peer) for me, row in rows.items() for peer in row if me in rows.get(peer, ()))
        return graph

    @property
    def slices(self) -> list[str]:
        return sorted({name for agent in self.agents.values() for name in agent.descriptor.slices})

    def connected(self) -> bool:
        """Whether the overlay of every slice is in one piece."""
        return all(nx.is_connected(self.overlay(name)) for name in self.slices)
