"""What a run's graph is like before anybody trains on it: how fast each slice mixes, and what a round costs.

Everything is read off the same overlays that the agents will use.
"""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import networkx as nx
import numpy as np

from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import PeerId
from parse_p2p.methods.gossip import GossipOptions
from parse_p2p.topology import spectrum
from parse_p2p.topology.dynamic import drawn
from parse_p2p.topology.graph import Topology
from parse_p2p.topology.overlay import Overlays
from parse_p2p.topology.weights import Matrix
from parse_p2p.wire.codecs.base import Codec

EPSILON = 1e-3  # of the first disagreement; rounds are counted until it is reached
HORIZON = 200  # rounds of a graph that varies that are looked at
SAMPLE = 50  # rounds of such a graph whose bytes are averaged


@dataclass(frozen=True)
class GroupMetrics:
    """The overlay of the slices of one group.

    ``rho`` is the factor by which a round shrinks disagreement, ``gap`` = 1 − ρ, ``rounds`` how many bring it to
    EPSILON (infinite where it is not connected), ``bytes`` what all agents together send of these slices in a round.
    """

    name: str
    holders: int
    connected_components: int
    edges: float
    rho: float
    gap: float
    rounds: float
    bytes: float


@dataclass(frozen=True)
class TypeMetrics:
    """Agents with the same modalities: with how many others each exchanges, and the bytes each sends in a round."""

    type: str
    agents: int
    partners: float
    bytes: float


@dataclass(frozen=True)
class GraphMetrics:
    """``edges``, ``degree`` (least, mean, most) and ``diameter`` are those of the run's graph.

    ``bytes`` is what an agent sends in a round, payload alone: mean and most. ``total`` is all agents together.
    """

    name: str
    method: str
    agents: int
    edges: int
    degree: tuple[int, float, int]
    diameter: int | None
    groups: list[GroupMetrics]
    types: list[TypeMetrics]
    bytes: tuple[float, float]
    total: float
    notes: list[str]

    @property
    def slowest(self) -> GroupMetrics | None:
        """The group with the smallest gap among those with two holders or more."""
        return min((g for g in self.groups if g.holders > 1), key=lambda g: g.gap, default=None)

    def plain(self) -> dict[str, Any]:
        """For machines: what is infinite is null."""
        plain = asdict(self)
        for group in plain["groups"]:
            group["rounds"] = group["rounds"] if math.isfinite(group["rounds"]) else None
        return plain


def measure(plan: RunPlan) -> GraphMetrics:
    """Of the overlays of a plan. Raises ConfigError for a method with a coordinator, whose clients have no graph."""
    refuse_coordinator(plan)
    graph, seen = plan.topology.graph, _seen(plan)
    sent = _mean(seen, [traffic(overlays, plan.codec) for overlays in seen])
    by_agent, by_group = _summed(sent, 0), _summed(sent, 1)
    partners = _mean(seen, [_partners(overlays) for overlays in seen])
    degrees = [len(graph[me]) for me in graph]  # the successors, where edges go one way
    each = [by_agent.get(me, 0.0) for me in plan.peers]
    return GraphMetrics(
        name=plan.run.name,
        method=plan.run.method,
        agents=len(plan.peers),
        edges=graph.number_of_edges(),
        degree=(min(degrees), statistics.mean(degrees), max(degrees)),
        diameter=nx.diameter(graph) if len(plan.topology.connected_components()) == 1 else None,
        groups=[_group(plan, name, laid, by_group.get(name, 0.0)) for name, laid in _groups(plan).items()],
        types=[_type(kind, agents, partners, by_agent) for kind, agents in _types(plan).items()],
        bytes=(statistics.mean(each), max(each)),
        total=sum(each),
        notes=_notes(plan, seen),
    )


def refuse_coordinator(plan: RunPlan) -> None:
    """Raise ConfigError for a method in which nobody exchanges along the graph."""
    if plan.method.centralised:
        raise ConfigError(
            f"with the method {plan.run.method!r} all exchange with a coordinator and along no graph: "
            "look at the graph under a method among peers, as with --method parse"
        )


def traffic(overlays: Overlays, codec: Codec) -> Counter[tuple[str, str]]:
    """Payload bytes that each agent sends in a round, by agent and group: ``Plan.payload`` under this codec."""
    sent: Counter[tuple[str, str]] = Counter()
    for me, offered in overlays.offers.items():
        for key, region in offered.items():
            audience = len(overlays.graph(key).graph[me])  # the successors, where edges go one way
            sent[me, key.group] += audience * codec.length(region.size)
    return sent


def contraction(matrices: Iterable[Matrix]) -> tuple[float, float]:
    """ρ and the rounds to EPSILON of mixing by these matrices in turn, (n, n) with rows that sum to one.

    ρ is the geometric mean over the rounds, until EPSILON is reached or the matrices end.
    """
    left, t = 1.0, 0
    away: Matrix | None = None  # what is left of a disagreement, as a matrix
    for t, matrix in enumerate(matrices, 1):
        centred = matrix - matrix.mean(axis=0)
        away = (centred - centred.mean(axis=1, keepdims=True)) if away is None else centred @ away
        left = float(np.linalg.norm(away, 2))
        if left <= EPSILON:
            return float(left ** (1 / t)), t
    rho = left ** (1 / max(1, t))
    return rho, math.inf if rho > 1 - spectrum.ROUNDING else math.log(EPSILON) / math.log(rho)


# what is averaged over rounds


def _seen(plan: RunPlan) -> dict[Overlays, int]:
    """The overlays of the run, and in how many of its rounds each is in force; where each is another, some of them."""
    rounds = plan.run.rounds if plan.run.varying is None else min(plan.run.rounds, SAMPLE)
    return Counter(plan.overlays(round) for round in range(rounds))


def _mean(seen: Mapping[Overlays, int], measured: Iterable[Counter[Any]]) -> dict[Any, float]:
    """Of counts that belong to overlays, weighted by their rounds."""
    total: Counter[Any] = Counter()
    for rounds, counts in zip(seen.values(), measured, strict=True):
        for key, count in counts.items():
            total[key] += rounds * count
    return {key: count / sum(seen.values()) for key, count in total.items()}


def _summed(sent: Mapping[tuple[str, str], float], part: int) -> dict[str, float]:
    total: dict[str, float] = {}
    for key, nbytes in sent.items():
        total[key[part]] = total.get(key[part], 0.0) + nbytes
    return total


def _partners(overlays: Overlays) -> Counter[str]:
    """With how many others each agent exchanges something: whom it sends to."""
    graphs = [(key, overlays.graph(key).graph) for key in overlays.keys]
    return Counter({me: len({peer for key, graph in graphs if key in offered for peer in graph[me]})
                    for me, offered in overlays.offers.items()})  # fmt: skip


# rows


def _types(plan: RunPlan) -> dict[str, list[PeerId]]:
    types: dict[str, list[PeerId]] = {}
    for me in plan.peers:
        types.setdefault(plan.kind(me), []).append(me)
    return types


def _type(kind: str, agents: list[PeerId], partners: Mapping[str, float], sent: Mapping[str, float]) -> TypeMetrics:
    with_others, nbytes = ([of.get(me, 0.0) for me in agents] for of in (partners, sent))
    return TypeMetrics(kind, len(agents), statistics.mean(with_others), statistics.mean(nbytes))


def _groups(plan: RunPlan) -> dict[str, Topology]:
    """Every group of the run and its overlay when it first shares something, before anything is drawn."""
    found: dict[str, Topology] = {}
    for round in range(plan.run.rounds):
        for name, overlay in plan.laid(round).groups().items():
            found.setdefault(name, overlay)
    return found


def _group(plan: RunPlan, name: str, laid: Topology, nbytes: float) -> GroupMetrics:
    connected_components, edges = len(laid.connected_components()), float(laid.graph.number_of_edges())
    if (varying := plan.run.varying) is None:
        rho = 1 - laid.spectral_gap()
        rounds = spectrum.rounds_at(rho, EPSILON)
    else:
        graphs = [drawn(laid, varying, plan.run.seed, round) for round in range(HORIZON)]
        rho, rounds = contraction(graph.matrix() for graph in graphs)
        connected_components = len(
            spectrum.connected_components(nx.compose_all([graph.graph.to_undirected() for graph in graphs]))
        )
        edges = statistics.mean(graph.graph.number_of_edges() for graph in graphs)
    return GroupMetrics(name, len(laid.peers), connected_components, edges, rho, 1 - rho, rounds, nbytes)


def _notes(plan: RunPlan, seen: Mapping[Overlays, int]) -> list[str]:
    notes = []
    if (varying := plan.run.varying) is not None:
        notes.append(
            f"varying: {varying.kind} draws the graph of every slice anew in each round; gap and rounds are what the "
            f"first {HORIZON} rounds of seed {plan.run.seed} do, bytes their mean over {sum(seen.values())} rounds"
        )
    elif len(seen) > 1:
        notes.append("what is shared, or by whom, changes from round to round: bytes are their mean over the run")
    if isinstance(plan.options, GossipOptions) and (copies := plan.options.exchange_mode.copies) != 1:
        notes.append(
            f"exchange: {plan.options.exchange} sends about {copies:g} times as much: bytes are those of one copy of "
            "each slice over each link"
        )
    return notes
