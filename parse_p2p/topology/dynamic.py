"""Graphs that change from round to round, drawn by every agent for itself from the run's seed and the round.

No server deals the pairs: the names of those that hold a slice enter the draw, so that slices with the same holders
have the same graph and all others one of their own. ``base`` has weights of its own, and every other graph but that of
``el-local`` Metropolis weights (1/2 in a matching, 1/(1 + k) in a k-regular graph): symmetric and doubly stochastic
whatever was drawn, so mixing keeps the mean in every round. Epidemic learning is arXiv 2310.01972: ``regular`` is its
EL-Oracle.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import combinations
from typing import Literal, Self

import networkx as nx
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from parse_p2p.core.rng import seeded
from parse_p2p.topology.base_graph import Edge, Round, base_graph
from parse_p2p.topology.contact_trace import Contact
from parse_p2p.topology.directed import Directed
from parse_p2p.topology.graph import Topology
from parse_p2p.topology.weights import GIVEN

Edges = Sequence[tuple[int, int] | Edge]
"""Pairs of places in ``Topology.peers``, with a weight or without; of a directed graph first who sends."""


class VaryingOptions(BaseModel):
    """How the graph of every slice changes from round to round.

    ``failing`` keeps to the run's graph; all others join any of a slice's holders, whatever that graph.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["matching", "one-peer-exponential", "base", "regular", "el-local", "failing", "trace"] = Field(
        description="what is drawn every round; base is the Base-(k+1) graph, regular is EL-Oracle"
    )
    degree: int | None = Field(
        None,
        ge=1,
        description="neighbours in a round of regular (4), receivers in one of el-local (4), neighbours at most in one "
        "of base (1)",
    )
    probability: float = Field(0.2, ge=0, le=1, description="with which each edge fails in a round of failing")
    file: str | None = Field(None, description="trace: lines round,agent,agent, in a file beside this one")
    contacts: tuple[Contact, ...] = Field((), description="trace: what was read from the file")
    repeat: bool = Field(False, description="trace: after its last round from the start again; else nobody meets")

    @field_validator("file")
    @classmethod
    def _read_by_trace(cls, file: str | None, info: ValidationInfo) -> str | None:
        if file is not None and info.data.get("kind") != "trace":
            raise ValueError("the kind trace alone has a file")
        return file

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.kind == "regular" and self.neighbours < 2:
            raise ValueError("a regular graph needs a degree of two or more (one is the kind matching)")
        if self.kind == "trace" and not self.contacts:
            raise ValueError("a trace needs a file with a contact or more")
        return self

    @cached_property
    def meetings(self) -> Mapping[int, list[tuple[str, str]]]:
        """Who meets whom, by round of the trace."""
        found: dict[int, list[tuple[str, str]]] = {}
        for round, one, other in self.contacts:
            found.setdefault(round, []).append((one, other))
        return found

    @property
    def neighbours(self) -> int:
        """``degree``, or that of the kind."""
        return self.degree or (1 if self.kind == "base" else 4)

    @property
    def one_way(self) -> bool:
        """Whether agents send to others than they hear from."""
        return self.kind == "el-local"

    @property
    def keeps_to_graph(self) -> bool:
        """Whether agents exchange along the edges of the run's graph alone."""
        return self.kind == "failing"


def drawn(base: Topology, options: VaryingOptions, seed: int, round: int) -> Topology:
    """The topology of one round among the agents of ``base``, the overlay of one slice.

    A function of its arguments alone, the same in every process.
    """
    names = (seed, "varying", options.kind, round // _period(base, options), *base.peers)
    edges = KINDS[options.kind](base, options, round, seeded(*names))
    graph = nx.DiGraph() if options.one_way else nx.Graph()
    graph.add_nodes_from(base.peers)
    for a, b, *weight in edges:
        graph.add_edge(base.peers[a], base.peers[b], **({"weight": weight[0]} if weight else {}))
    if options.one_way:
        return Directed(base.name, graph, overlay=base.overlay)
    return Topology(base.name, graph, GIVEN, base.overlay)  # Metropolis where edges have no weight


def _period(base: Topology, options: VaryingOptions) -> int:
    """For how many rounds a draw holds."""
    return max(len(_cycle(base, options)), 1)


def _cycle(base: Topology, options: VaryingOptions) -> tuple[Round, ...]:
    """The rounds after which all have the exact mean, of a kind that has such; others have none."""
    n = len(base.peers)
    if options.kind == "base":
        return base_graph(n, options.neighbours)
    return base_graph(n, 1) if options.kind == "one-peer-exponential" and not n & (n - 1) else ()


def matching(base: Topology, options: VaryingOptions, round: int, rng: torch.Generator) -> Edges:
    """All in pairs, every such pairing equally likely; of an odd number one is left over."""
    order = torch.randperm(len(base.peers), generator=rng).tolist()
    return list(zip(order[::2], order[1::2], strict=False))


def one_peer_exponential(base: Topology, options: VaryingOptions, round: int, rng: torch.Generator) -> Edges:
    """Place i with i XOR 2^(t mod log₂ n): exact averaging in log₂ n rounds; n no power of two: a random matching.

    The symmetric member of the family: the one-peer exponential graph itself sends from i to i + 2^(t mod log₂ n)
    (Ying et al. 2021, arXiv 2110.13363) and gets its answer from somebody else.
    """
    n = len(base.peers)
    return matching(base, options, round, rng) if n & (n - 1) else exact(base, options, round, rng)


def exact(base: Topology, options: VaryingOptions, round: int, rng: torch.Generator) -> Edges:
    """One round after another of ``base_graph``, and then again with other places drawn for the agents.

    With the same places again and again, momentum over two rounds may resonate with the cycle, and agents drift apart.
    """
    rounds = _cycle(base, options)
    if not rounds:
        return ()
    place = torch.randperm(len(base.peers), generator=rng).tolist()
    return [(place[a], place[b], weight) for a, b, weight in rounds[round % len(rounds)]]


def regular(base: Topology, options: VaryingOptions, round: int, rng: torch.Generator) -> Edges:
    """``degree`` neighbours each, drawn at random; of n agents at most n − 1, and one fewer where n·degree is odd.

    With weights 1/(1 + degree) it is EL-Oracle (arXiv 2310.01972, algorithm 1).
    """
    n = len(base.peers)
    degree = min(options.neighbours, n - 1)
    degree -= n * degree % 2
    if degree == n - 1:
        return list(combinations(range(n), 2))
    number = int(torch.randint(2**31, (), generator=rng))
    return list(nx.random_regular_graph(degree, n, seed=number).edges)


def el_local(base: Topology, options: VaryingOptions, round: int, rng: torch.Generator) -> Edges:
    """Each sends to ``degree`` others, at most n − 1, and each draws its own (EL-Local, arXiv 2310.01972)."""
    others = len(base.peers) - 1
    drawn = [torch.randperm(others, generator=rng)[: options.neighbours].tolist() for _ in base.peers]
    return [(me, other + (other >= me)) for me, chosen in enumerate(drawn) for other in chosen]


def failing(base: Topology, options: VaryingOptions, round: int, rng: torch.Generator) -> Edges:
    """The edges of ``base``, each failing by itself."""
    position = {peer: i for i, peer in enumerate(base.peers)}
    # sorted: networkx may list edges in another order in every process
    edges = sorted((min(position[a], position[b]), max(position[a], position[b])) for a, b in base.graph.edges)
    fates = torch.rand(len(edges), generator=rng, dtype=torch.float64).tolist()
    return [edge for edge, draw_faults in zip(edges, fates, strict=True) if draw_faults >= options.probability]


def trace(base: Topology, options: VaryingOptions, round: int, rng: torch.Generator) -> Edges:
    """The contacts of a recorded round among the agents of ``base``."""
    rounds = max(options.meetings) + 1
    met = options.meetings.get(round % rounds if options.repeat else round, [])
    position: dict[str, int] = {peer: i for i, peer in enumerate(base.peers)}
    return [(position[one], position[other]) for one, other in met if one in position and other in position]


Kind = Callable[[Topology, VaryingOptions, int, torch.Generator], Edges]

KINDS: Mapping[str, Kind] = {
    "matching": matching,
    "one-peer-exponential": one_peer_exponential,
    "base": exact,
    "regular": regular,
    "el-local": el_local,
    "failing": failing,
    "trace": trace,
}
