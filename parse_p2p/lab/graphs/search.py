"""An overlay for a budget: every family, with its parameters and a few seeds, laid over the same agents.

A candidate counts by its slowest slice: the smallest spectral gap over the groups that share something.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import networkx as nx

from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import PeerId
from parse_p2p.lab.graphs.graph_metrics import EPSILON, refuse_coordinator, traffic
from parse_p2p.topology import generators, spectrum
from parse_p2p.topology.graph import Topology
from parse_p2p.topology.overlay import Overlays

SEEDS = 20  # draws of each random family with each of its parameters
PATIENCE = 20_000  # agents times draws, above which fewer seeds are tried
DIGITS = 9  # of a gap that are compared: two graphs that mix alike differ in what they cost

Args = dict[str, Any]


@dataclass(frozen=True)
class Candidate:
    """A graph of the run file: ``degree`` is the most neighbours of any agent in any slice's overlay.

    ``bytes`` is the most that any agent sends in a round, ``gap`` and ``rounds`` (to EPSILON) those of the slowest
    slice, which has the group ``slowest``.
    """

    generator: str
    args: Args
    degree: int
    bytes: int
    total: int
    gap: float
    rounds: float
    slowest: str

    @property
    def line(self) -> str:
        """To paste into a run file."""
        args = ", ".join(f"{key}: {value}" for key, value in self.args.items())
        return f"graph: {{generator: {self.generator}{f', args: {{{args}}}' if args else ''}}}"


def suggest(plan: RunPlan, degree: int | None = None, nbytes: float | None = None) -> list[Candidate]:
    """The best graph of each family within the budget, the best family first.

    Raises ConfigError where no family keeps the budget, with the cheapest there is; and where the run has no use for a
    graph.
    """
    _refuse_useless(plan)
    found, everyone = [], [c for c in (_measured(plan, *each) for each in _graphs(plan, degree)) if c is not None]
    for candidate in everyone:
        if candidate.degree <= (degree or candidate.degree) and candidate.bytes <= (nbytes or candidate.bytes):
            found.append(candidate)
    if not found:
        raise ConfigError(_too_little(everyone))
    best: dict[str, Candidate] = {}
    for candidate in sorted(found, key=_rank):
        best.setdefault(candidate.generator, candidate)
    return list(best.values())


def _rank(candidate: Candidate) -> tuple[Any, ...]:
    """Fast before slow, then cheap before dear, then few before many numbers to write down."""
    args = str(candidate.args)
    return -round(candidate.gap, DIGITS), candidate.total, len(args), candidate.generator, args


def _graphs(plan: RunPlan, degree: int | None) -> Iterator[tuple[str, Args, nx.Graph]]:
    n = len(plan.peers)
    for generator, args in _parameters(n, min(degree or n - 1, n - 1)):
        try:
            yield generator, args, generators.build(generator, n, args)
        except ConfigError:  # there is none of this kind on so many nodes
            continue


def _parameters(n: int, most: int) -> Iterator[tuple[str, Args]]:
    """The families with the arguments worth a look; random ones up to ``most`` neighbours, or a little more."""
    for generator in ("complete", "star", "line", "hypercube", "exponential", "torus", "ring"):
        yield generator, {}
    yield from (("chordal-ring", {"chord": chord}) for chord in range(2, n // 2 + 1))
    yield from (("torus", {"rows": rows}) for rows in range(2, int(n**0.5) + 1) if n % rows == 0)
    yield from (("tree", {"branching": branching}) for branching in range(2, min(most, n - 1) + 1))
    seeds = range(max(1, min(SEEDS, PATIENCE // n**2)))
    degrees = range(3, min(most, 12, n - 1) + 1)
    draws: list[tuple[str, Args]] = [("random-regular", {"degree": d}) for d in degrees]
    draws += [("watts-strogatz", {"k": k, "p": p}) for k in degrees if k % 2 == 0 for p in (0.1, 0.3, 1.0)]
    draws += [("erdos-renyi", {"p": round(d / (n - 1), 2)}) for d in degrees]
    draws += [("barabasi-albert", {"m": m}) for m in range(1, min(most, 4) + 1) if m < n]
    yield from ((generator, args | {"seed": seed}) for generator, args in draws for seed in seeds)


def _measured(plan: RunPlan, generator: str, args: Args, graph: nx.Graph) -> Candidate | None:
    """What a graph comes to under the run's method; None for one in pieces, or where nothing is shared on it."""
    if not nx.is_connected(graph):
        return None
    named = nx.relabel_nodes(graph, dict(enumerate(plan.peers)))
    run = plan.run
    topology = Topology(run.name, named, run.weights, run.overlay, partial(generators.build, generator, args=args))
    sharing = plan.method.sharing(plan.options, 0, run.rounds)
    overlays = Overlays(topology, sharing, plan.holders.values())
    graphs = {name: g for name, g in overlays.groups().items() if len(g.peers) > 1}
    if not graphs:
        return None
    slems = {id(g): spectrum.slem(g.matrix()) for g in graphs.values()}
    slowest = max(graphs, key=lambda name: round(slems[id(graphs[name])], DIGITS))
    sent: dict[PeerId, int] = dict.fromkeys(plan.peers, 0)
    for (me, _), count in traffic(overlays, plan.codec).items():
        sent[PeerId(me)] += count
    return Candidate(
        generator,
        args,
        max(degree for g in graphs.values() for _, degree in g.graph.degree),
        max(sent.values()),
        sum(sent.values()),
        1 - slems[id(graphs[slowest])],
        spectrum.rounds_to(graphs[slowest].matrix(), EPSILON),
        slowest,
    )


def _refuse_useless(plan: RunPlan) -> None:
    refuse_coordinator(plan)
    varying = plan.run.varying
    if varying is not None and not varying.keeps_to_graph:
        raise ConfigError(f"--suggest: varying {varying.kind} draws graphs whatever the run's is: leave varying out")
    if not any(overlay.graph.number_of_edges() for overlay in plan.laid(0).groups().values()):
        raise ConfigError(f"--suggest: under the method {plan.run.method!r} these agents share nothing")


def _too_little(everyone: list[Candidate]) -> str:
    fewest = min(everyone, key=lambda c: (c.degree, c.bytes))
    cheapest = min(everyone, key=lambda c: (c.bytes, c.degree))
    return (
        f"--suggest: no graph keeps this budget: the least are a degree of {fewest.degree} ({fewest.generator}) and "
        f"{cheapest.bytes} bytes of an agent and round ({cheapest.generator})"
    )
