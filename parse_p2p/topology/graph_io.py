"""Graphs in files that networkx and its neighbours read and write: GraphML, GEXF, edge lists and node-link JSON.

Nodes are text, in the file's order, and nodes and edges keep their attributes. In a file that we wrote, an edge with
``given`` false is none of the run's graph but one that some slice's overlay has beside it; reading leaves it out.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from pathlib import Path
from typing import Any
from xml.parsers import expat

import networkx as nx

from parse_p2p.core.errors import ConfigError, nearest
from parse_p2p.core.types import is_number
from parse_p2p.topology import generators

LARGEST = 16_000_000  # bytes of a file; its graph takes some twenty times that in memory
GIVEN = "given"


def read(path: str | Path) -> nx.Graph:
    """The graph in a file, directed where an edge goes one way. Raises ConfigError, naming the file, for no such."""
    path = Path(path)
    reader = _by_suffix(path, READERS)
    if not path.is_file():
        raise ConfigError(f"{path}: cannot be read as a graph: there is no such file")
    if path.stat().st_size > LARGEST:
        raise ConfigError(f"{path}: is larger than the {LARGEST // 1_000_000} MB that a graph may take")
    try:
        graph = reader(path)
    except Exception as error:  # parsers raise their own kinds, and one sentence has to come out
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{path}: cannot be read as a graph: {reason}") from None
    return plain(str(path), graph)


def write(graph: nx.Graph, path: str | Path) -> None:
    """Write a graph whose nodes are text and whose attributes are text, numbers or booleans; ``read`` gives it back.

    An edge list keeps the given edges with their weights, and no other attribute. Raises ConfigError.
    """
    path = Path(path)
    writer = _by_suffix(path, WRITERS)
    try:
        writer(graph, path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {(error.strerror or str(error)).lower()}") from None


def plain(source: str, graph: Any) -> nx.Graph:
    """A graph of networkx as a run can use it: its nodes' names as text, and the given edges alone.

    A directed one each of whose edges goes the other way too, with the same weight, is an undirected one.
    Raises ConfigError, naming the source, for one that has parallel edges or loops, or odd names.
    """
    generators.checked(source, graph, directed=True)
    names = {node: str(node) for node in graph}
    if odd := [node for node in graph if not isinstance(node, str | int)]:
        raise ConfigError(f"{source}: the node {odd[0]!r} has no plain name; write text or a number")
    if len(set(names.values())) < len(names):
        raise ConfigError(f"{source}: two nodes have the same name, one as text and one as a number; rename one")
    if loop := next(iter(nx.selfloop_edges(graph)), None):
        raise ConfigError(f"{source}: joins {names[loop[0]]!r} to itself; remove that edge")
    found = nx.DiGraph() if _one_way(graph) else nx.Graph()
    found.add_nodes_from((names[node], facts) for node, facts in graph.nodes(data=True))
    found.add_edges_from((names[a], names[b], facts) for a, b, facts in _given(graph))
    return found


def undirected(source: str, graph: nx.Graph) -> nx.Graph:
    """The plain graph with each of its edges both ways.

    Raises ConfigError, naming the source, where two agents have two edges of other weights.
    """
    for a, b, facts in graph.edges(data=True):
        back = graph.get_edge_data(b, a, facts)
        if back.get("weight") != facts.get("weight"):
            weights = f"{facts.get('weight')} and {back.get('weight')}"
            raise ConfigError(f"{source}: the edges between {a!r} and {b!r} have the weights {weights}; give both one")
    return graph.to_undirected()


def entry(graph: nx.Graph) -> dict[str, Any]:
    """What a run file says of a plain graph, the same for equal graphs."""
    directed = {"directed": True} if graph.is_directed() else {}
    edges = sorted(list(edge) if directed else sorted(edge) for edge in graph.edges)
    weights = [graph.edges[edge].get("weight") for edge in edges]
    are_numbers = all(isinstance(weight, Real) for weight in weights)
    weighted = {"edge_weights": [float(weight) for weight in weights]} if edges and are_numbers else {}
    return {"nodes": list(graph), "edges": edges} | weighted | directed


def _one_way(graph: nx.Graph) -> bool:
    """Whether an edge has none back, or one of another weight."""
    weights = {(a, b): facts.get("weight") for a, b, facts in _given(graph)}
    return graph.is_directed() and any(weights.get((b, a), ()) != weight for (a, b), weight in weights.items())


def _by_suffix(path: Path, known: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    if path.suffix not in known:
        raise ConfigError(f"{path}: no graph format ends in {path.suffix!r}; {nearest(path.suffix, known)}")
    return known[path.suffix]


def _given(graph: nx.Graph) -> Iterable[tuple[Any, Any, dict[str, Any]]]:
    return ((a, b, facts) for a, b, facts in graph.edges(data=True) if facts.get(GIVEN) is not False)


# XML


def _xml(read: Callable[[Path], nx.Graph]) -> Callable[[Path], nx.Graph]:
    def guarded(path: Path) -> nx.Graph:
        _refuse_entities(path)
        return read(path)

    return guarded


def _refuse_entities(path: Path) -> None:
    """No graph needs a document type, and a few lines of one can stand for gigabytes, or for other files."""
    parser = expat.ParserCreate()

    def refuse(*declared: object) -> None:
        raise ValueError("it declares a document type, which may hold entities without end; remove <!DOCTYPE …>")

    parser.StartDoctypeDeclHandler = refuse
    with path.open("rb") as file:
        parser.ParseFile(file)


# edge lists


def _read_edges(path: Path) -> nx.Graph:
    # not networkx's: it passes over a line with a single name, and an agent would silently be missing
    lines = (line.split("#")[0].replace(",", " ").split() for line in path.read_text("utf-8").splitlines())
    rows = [words for words in lines if words]
    graph = generators.from_edges(words[:2] for words in rows)
    for words in rows:
        if len(words) == 3 and is_number(words[2]):
            graph.edges[words[0], words[1]]["weight"] = float(words[2])
    return graph


def _write_edges(graph: nx.Graph, path: Path) -> None:
    if graph.is_directed():
        raise ConfigError(f"{path}: an edge list cannot hold which way an edge goes: write .graphml or .json")
    if alone := [node for node, degree in graph.degree if not degree]:
        raise ConfigError(f"{path}: an edge list cannot hold {alone[0]!r}, which has no edge: write .graphml or .json")
    if odd := [node for node in graph if node.split("#")[0].replace(",", " ").split() != [node]]:
        raise ConfigError(f"{path}: the name {odd[0]!r} would fall apart in an edge list: write .graphml or .json")
    lines = [" ".join([a, b, *([repr(f["weight"])] if "weight" in f else [])]) for a, b, f in _given(graph)]
    path.write_text("\n".join(lines) + "\n", "utf-8")


# node-link JSON, as networkx and d3 have it


def _read_json(path: Path) -> nx.Graph:
    data = json.loads(path.read_text("utf-8-sig"))
    edges = data.get("edges", data.get("links")) if isinstance(data, dict) else None
    if not isinstance(edges, list) or not isinstance(data.get("nodes"), list):
        raise ValueError("node-link JSON is an object with the lists 'nodes' and 'edges'")
    directed, parallel = bool(data.get("directed")), bool(data.get("multigraph"))
    kinds = {(False, False): nx.Graph, (True, False): nx.DiGraph, (False, True): nx.MultiGraph}
    graph = kinds.get((directed, parallel), nx.MultiDiGraph)()
    for node in data["nodes"]:
        if not isinstance(node, dict) or "id" not in node:
            raise ValueError(f"the node {node!r} has no 'id'")
        graph.add_nodes_from([(node["id"], {k: v for k, v in node.items() if k != "id"})])
    for edge in edges:
        if not isinstance(edge, dict) or not {"source", "target"} <= edge.keys():
            raise ValueError(f"the edge {edge!r} has no 'source' or no 'target'")
        facts = {k: v for k, v in edge.items() if k not in ("source", "target")}
        graph.add_edges_from([(edge["source"], edge["target"], facts)])
    if len(graph) != len(data["nodes"]):
        raise ValueError("a node is named twice, or an edge has an end that is none of the nodes")
    return graph


def _write_json(graph: nx.Graph, path: Path) -> None:
    nodes = [{"id": node, **facts} for node, facts in graph.nodes(data=True)]
    edges = [{"source": a, "target": b, **facts} for a, b, facts in graph.edges(data=True)]
    data = {"directed": graph.is_directed(), "multigraph": False, "graph": {}, "nodes": nodes, "edges": edges}
    path.write_text(json.dumps(data, indent=1) + "\n", "utf-8")


READERS: Mapping[str, Callable[[Path], nx.Graph]] = {
    ".graphml": _xml(nx.read_graphml), ".gexf": _xml(nx.read_gexf), ".json": _read_json,
    ".edges": _read_edges, ".edgelist": _read_edges, ".txt": _read_edges,
}  # fmt: skip
WRITERS: Mapping[str, Callable[[nx.Graph, Path], None]] = {
    ".graphml": nx.write_graphml, ".gexf": nx.write_gexf, ".json": _write_json,
    ".edges": _write_edges, ".edgelist": _write_edges, ".txt": _write_edges,
}  # fmt: skip
