"""Every family is a function of the number of nodes, so that it can be laid again over fewer agents.

A family gives an undirected graph on the nodes ``0 … n−1``, in that order, whatever networkx made of
them: processes that read the same file must number their agents alike. For the same reason anything
drawn at random has a seed, 0 unless told. The functions raise :class:`ConfigError` where a family does not
exist on ``n`` nodes. Edge weights that a generator or a file may carry are dropped; mixing weights are
computed (weights.py).
"""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import networkx as nx

from parse_p2p.core.errors import ConfigError, nearest

DRAWS = 200  # seeds tried before a random family is said to be disconnected at these settings
TWISTED = 2  # columns to rows from which a torus is closed with a twist


def ring(n: int) -> nx.Graph:
    """A cycle."""
    return _circulant(n, [1])


def chordal_ring(n: int, chord: int | None = None) -> nx.Graph:
    """A cycle with chords i ~ i + chord, round(√n) unless told; arXiv 2601.10012 does not give its chord."""
    step = round(math.sqrt(n)) if chord is None else chord
    _require(chord is None or 0 < step < n, f"a chord of {step} does not fit a ring of {n} nodes")
    return _circulant(n, [1, step])


def exponential(n: int) -> nx.Graph:
    """i ~ i + 2^k for every 2^k < n, undirected: degree about 2·log₂ n (Ying et al. 2021, made symmetric)."""
    return _circulant(n, [1 << k for k in range((n - 1).bit_length())])


def complete(n: int) -> nx.Graph:
    """Everyone with everyone."""
    return nx.complete_graph(n)


def star(n: int) -> nx.Graph:
    """Node 0 with everyone else."""
    return _graph(n, ((0, leaf) for leaf in range(1, n)))


def line(n: int) -> nx.Graph:
    """A path."""
    return nx.path_graph(n)


def tree(n: int, branching: int = 2) -> nx.Graph:
    """A complete tree filled level by level; node 0 is the root."""
    _require(branching >= 1, f"a tree needs a branching of 1 or more, not {branching}")
    return _graph(n, (((child - 1) // branching, child) for child in range(1, n)))


def torus(n: int, rows: int | None = None) -> nx.Graph:
    """A grid closed in both directions, as nearly square as n allows unless ``rows`` is told.

    Where it would be more than twice as long as wide, or n is prime, the grid is closed with a twist: rows of
    round(√n) one after the other, the last going on in the first. That is the chordal ring i ~ i ± 1, i ± round(√n):
    four neighbours each at any n, and 22 agents mix with a gap of .30, not the .08 of two rows of 11.
    """
    a = rows or max(d for d in range(1, math.isqrt(n) + 1) if n % d == 0)
    if rows is None and n > TWISTED * a * a:
        return chordal_ring(n)
    fits = a > 1 and n % a == 0 and n // a > 1
    _require(fits, f"{n} nodes make no torus of {rows or 'some'} rows: n is rows × columns, each 2 or more")
    b = n // a
    right = ((r * b + c, r * b + (c + 1) % b) for r in range(a) for c in range(b))
    down = ((r * b + c, (r + 1) % a * b + c) for r in range(a) for c in range(b))
    return _graph(n, [*right, *down])


def hypercube(n: int) -> nx.Graph:
    """Nodes whose binary names differ in one digit; n must be a power of two."""
    _require(n & (n - 1) == 0, f"a hypercube needs a power of two nodes, and {n} is none")
    return _graph(n, ((i, i | 1 << k) for k in range(n.bit_length() - 1) for i in range(n) if not i >> k & 1))


def random_regular(n: int, degree: int = 4, seed: int = 0) -> nx.Graph:
    """Everyone has ``degree`` neighbours, drawn at random; n·degree must be even and degree < n."""
    fits = 0 <= degree < n and n * degree % 2 == 0
    _require(fits, f"no {n} nodes have degree {degree} each: n·degree must be even and degree below n")
    return _connected("random-regular", n, seed, lambda s: nx.random_regular_graph(degree, n, seed=s))


def erdos_renyi(n: int, p: float, seed: int = 0) -> nx.Graph:
    """Every edge with probability ``p``; connected for sure only well above ln(n)/n."""
    return _connected("erdos-renyi", n, seed, lambda s: nx.gnp_random_graph(n, p, seed=s))


def watts_strogatz(n: int, k: int = 4, p: float = 0.1, seed: int = 0) -> nx.Graph:
    """A ring of ``k`` nearest neighbours each of whose edges is rewired with probability ``p``."""
    _require(2 <= k <= n, f"{n} nodes cannot have {k} nearest neighbours each; k lies between 2 and n")
    return _connected("watts-strogatz", n, seed, lambda s: nx.watts_strogatz_graph(n, k, p, seed=s))


def barabasi_albert(n: int, m: int = 2, seed: int = 0) -> nx.Graph:
    """Newcomers attach to ``m`` nodes, the busier the likelier."""
    _require(1 <= m < n, f"newcomers cannot attach to {m} of {n} nodes; m lies between 1 and n − 1")
    return _connected("barabasi-albert", n, seed, lambda s: nx.barabasi_albert_graph(n, m, seed=s))


FAMILIES: Mapping[str, Callable[..., nx.Graph]] = {
    "ring": ring, "chordal-ring": chordal_ring, "torus": torus, "complete": complete, "star": star,
    "line": line, "tree": tree, "hypercube": hypercube, "random-regular": random_regular,
    "erdos-renyi": erdos_renyi, "watts-strogatz": watts_strogatz, "barabasi-albert": barabasi_albert,
    "exponential": exponential,
}  # fmt: skip

# networkx generators whose ``n`` is an exponent, an order or a number of leaves: never fill it with ours.
N_IS_NO_COUNT = {
    "binomial_tree", "dorogovtsev_goltsev_mendes_graph", "hypercube_graph", "margulis_gabber_galil_graph",
    "mycielski_graph", "star_graph", "sudoku_graph",
}  # fmt: skip


def build(generator: str, n: int, args: Mapping[str, Any]) -> nx.Graph:
    """The family or networkx generator of that name on ``n`` nodes; ConfigError for whatever is wrong."""
    _require(n >= 1, f"the graph {generator!r} needs at least one agent, not {n}")
    make = _find(generator)
    takes = _takes(make) - ({"n"} if generator in FAMILIES else set())
    known = f"it takes {', '.join(sorted(takes)) or 'no arguments'}"
    if extra := sorted(set(map(str, args)) - takes):
        raise ConfigError(f"the generator {generator!r} does not know {', '.join(extra)}; {known}")
    try:
        graph = make(**_filled(generator, make, n, args))
    except ConfigError:
        raise
    except Exception as error:  # other people's code, fed with what the user typed: it raises all sorts
        raise ConfigError(f"the generator {generator!r} refuses its arguments ({error}); {known}") from error
    source = f"the generator {generator!r}"
    nodes = len(checked(source, graph))
    _require(nodes == n, f"{source} gives {nodes} nodes, and there are {n} agents; {known}")
    return _numbered(graph)


def from_edges(edges: Iterable[Sequence[Any]]) -> nx.Graph:
    """The graph of these pairs, its nodes in the order in which they are first named."""
    graph = nx.Graph()
    for edge in edges:
        pair = isinstance(edge, list | tuple) and len(edge) == 2
        _require(pair and all(isinstance(end, str | int) for end in edge), f"{edge!r} is not a pair of names")
        graph.add_edge(*edge)
    _require(len(graph) > 0, "the list of edges is empty; name at least one pair")
    return graph


def _find(generator: str) -> Callable[..., Any]:
    found = FAMILIES.get(generator) or getattr(nx.generators, generator, None)
    if generator.startswith("_") or not callable(found) or inspect.isclass(found):
        raise ConfigError(
            f"no graph family or networkx generator is called {generator!r}; {nearest(generator, FAMILIES)}"
        )
    return found


def _takes(make: Callable[..., Any]) -> set[str]:
    named = (p.name for p in inspect.signature(make).parameters.values() if p.kind is not p.VAR_KEYWORD)
    return set(named) - {"create_using", "backend"}  # they choose networkx's own classes, not the graph


def _filled(generator: str, make: Callable[..., Any], n: int, args: Mapping[str, Any]) -> dict[str, Any]:
    takes = _takes(make) - ({"n"} if generator in N_IS_NO_COUNT else set())
    defaults = {"n": n, "seed": 0}  # an unseeded draw would give every process a graph of its own
    return {name: value for name, value in defaults.items() if name in takes} | dict(args)


def checked(source: str, graph: Any, directed: bool = False) -> nx.Graph:
    """The graph, if gossip can use one of its kind, or push-sum one that is ``directed``.

    Raises ConfigError, naming the source.
    """
    _require(isinstance(graph, nx.Graph), f"{source} does not give one graph")
    _require(directed or not graph.is_directed(), f"{source} gives a directed graph; edges must go both ways")
    _require(not graph.is_multigraph(), f"{source} gives parallel edges; name every edge once")
    _require(len(graph) > 0, f"{source} gives a graph without nodes")
    return graph


def _numbered(graph: nx.Graph) -> nx.Graph:
    n = len(graph)
    names = range(n) if set(graph) == set(range(n)) else list(graph)
    number = {name: i for i, name in enumerate(names)}
    return _graph(n, ((number[a], number[b]) for a, b in graph.edges))


def _graph(n: int, edges: Iterable[tuple[int, int]]) -> nx.Graph:
    graph = nx.Graph()
    graph.add_nodes_from(range(n))
    graph.add_edges_from(edges)
    return graph


def _circulant(n: int, steps: Iterable[int]) -> nx.Graph:
    return _graph(n, ((i, (i + step) % n) for step in steps for i in range(n) if step % n))


def _connected(name: str, n: int, seed: int, draw: Callable[[int], nx.Graph]) -> nx.Graph:
    for s in range(seed, seed + DRAWS):
        graph = draw(s)
        if nx.is_connected(graph):
            return _numbered(graph)
    raise ConfigError(f"{DRAWS} draws of {name} on {n} nodes were all in pieces; ask for more edges")


def _require(fits: bool, otherwise: str) -> None:
    if not fits:
        raise ConfigError(otherwise)
