"""Any graph that a person makes in networkx can be read, and what is written comes back."""

import json

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parse_p2p.config import run_file
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.config.sections import NAME
from parse_p2p.core.errors import ConfigError
from parse_p2p.topology import generators, graph_io

SUFFIXES = sorted(graph_io.READERS)
WITH_FACTS = (".gexf", ".graphml", ".json")
names = st.from_regex(NAME, fullmatch=True).filter(lambda name: not name.endswith("\n"))


@st.composite
def graphs(draw):
    """Connected graphs whose nodes are agents, in an order of their own, with weights."""
    order = draw(st.lists(names, min_size=2, max_size=8, unique=True))
    pairs = [(a, b) for i, a in enumerate(order) for b in order[:i]]
    graph = nx.Graph()
    graph.add_nodes_from((name, {"modalities": draw(st.sampled_from(["audio", "audio+motion"]))}) for name in order)
    chosen = {(a, b) for i, (a, b) in enumerate(zip(order[1:], order, strict=False))} | set(
        draw(st.lists(st.sampled_from(pairs)))
    )
    for a, b in sorted(chosen):
        graph.add_edge(a, b, weight=draw(st.floats(0, 1)), bytes=draw(st.integers(0, 2**31 - 1)))
    return graph


def weights(graph, name="weight"):
    return {frozenset(edge): graph.edges[edge][name] for edge in graph.edges}


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(deadline=None, max_examples=40)
@given(graph=graphs())
def test_what_is_written_comes_back(tmp_path_factory, suffix, graph):
    path = tmp_path_factory.mktemp("graphs") / f"net{suffix}"
    graph_io.write(graph, path)
    back = graph_io.read(path)
    assert set(back) == set(graph) and weights(back) == weights(graph)
    if suffix in WITH_FACTS:
        assert list(back) == list(graph) and weights(back, "bytes") == weights(graph, "bytes")
        assert dict(back.nodes(data="modalities")) == dict(graph.nodes(data="modalities"))


PAIRS = [("b", "a"), ("a", "c"), ("c", "d")]


def networkx_json(graph, path):
    path.write_text(json.dumps(nx.node_link_data(graph, edges="links")))


WRITERS = {".graphml": nx.write_graphml, ".gexf": nx.write_gexf, ".json": networkx_json}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_networkx_writes_keeps_names_order_and_edges(tmp_path, suffix):
    path = tmp_path / f"net{suffix}"
    WRITERS.get(suffix, nx.write_edgelist)(generators.from_edges(PAIRS), path)
    graph = graph_io.read(path)
    assert list(graph) == ["b", "a", "c", "d"]
    assert {frozenset(e) for e in graph.edges} == {frozenset(e) for e in PAIRS}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_run_goes_along_the_edges_of_its_file_whatever_its_nodes_are_called(tmp_path, suffix):
    path = tmp_path / f"net{suffix}"
    WRITERS.get(suffix, nx.write_edgelist)(nx.path_graph(4), path)
    run = tmp_path / "run.yaml"
    run.write_text(f"graph: {{file: net{suffix}}}\nagents: {{mix: {{audio: 2, motion: 2}}}}\ndataset: bits\n")
    topology = RunPlan(run_file.load(run)).topology
    assert topology.peers == ("a0", "a1", "a2", "a3")
    assert sorted(map(sorted, topology.graph.edges)) == [["a0", "a1"], ["a1", "a2"], ["a2", "a3"]]


def test_a_node_named_as_an_agent_is_that_agent_wherever_it_stands_in_the_file(tmp_path):
    (tmp_path / "net.txt").write_text("a2 a0\na0 a1\n")
    (tmp_path / "run.yaml").write_text("graph: {file: net.txt}\nagents: {mix: {audio: 3}}\ndataset: bits\n")
    assert RunPlan(run_file.load(tmp_path / "run.yaml")).topology.neighbours("a0") == ("a1", "a2")


def test_hosts_agree_on_a_graph_by_what_is_in_the_file_wherever_it_lies(tmp_path):
    digests = []
    for place, edges in (("here", PAIRS), ("there", PAIRS), ("elsewhere", [*PAIRS[:3], ("a", "d")])):
        (tmp_path / place).mkdir()
        graph_io.write(generators.from_edges(edges), tmp_path / place / "net.json")
        run = tmp_path / place / "run.yaml"
        run.write_text("graph: {file: net.json}\nagents: {mix: {audio: 4}}\n")
        digests.append(run_file.load(run).digest())
    assert digests[0] == digests[1] != digests[2]


def test_a_run_that_was_written_down_needs_its_graph_file_no_more(tmp_path):
    graph_io.write(generators.from_edges(PAIRS), tmp_path / "net.json")
    (tmp_path / "run.yaml").write_text("graph: {file: net.json}\nagents: {mix: {audio: 4}}\n")
    run = run_file.load(tmp_path / "run.yaml")
    (tmp_path / "net.json").unlink()
    (tmp_path / "again.yaml").write_text(run_file.dump(run))
    assert run_file.load(tmp_path / "again.yaml") == run


def test_an_edge_list_may_hold_comments_commas_and_weights(tmp_path):
    path = tmp_path / "net.txt"
    path.write_text("# mine\na, b\n\nb c 0.5  # slow\n")
    graph = graph_io.read(str(path))
    assert list(graph.edges(data="weight")) == [("a", "b", None), ("b", "c", 0.5)]


BOMB = """<!DOCTYPE g [<!ENTITY a "aaaaaaaaaa"> <!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<graphml>&b;</graphml>"""
NODES = '"nodes": [{"id": "a"}, {"id": "b"}]'
HOSTILE = {
    "an unknown suffix": ("net.png", "", "'.png'"),
    "no file": ("net.txt", None, "there is no such file"),
    "half a pair": ("net.txt", "a b\nc\n", "not a pair"),
    "nothing": ("net.txt", "# nothing\n", "empty"),
    "no text": ("net.edgelist", b"a \xff", "cannot be read"),
    "half a tag": ("net.graphml", "<graphml", "cannot be read"),
    "another language": ("net.graphml", "<html></html>", "cannot be read"),
    "no graph": ("net.gexf", "<gexf/>", "cannot be read"),
    "entities in GraphML": ("net.graphml", BOMB, "DOCTYPE"),
    "entities in GEXF": ("net.gexf", BOMB, "DOCTYPE"),
    "entities in UTF-16": ("net.gexf", BOMB.encode("utf-16"), "DOCTYPE"),
    "no JSON": ("net.json", "{", "cannot be read"),
    "no object": ("net.json", "[]", "the lists 'nodes' and 'edges'"),
    "depth": ("net.json", "[" * 100_000, "cannot be read"),
    "no id": ("net.json", '{"nodes": [{}], "edges": []}', "no 'id'"),
    "a node that is no object": ("net.json", '{"nodes": [1], "edges": []}', "no 'id'"),
    "a list as a name": ("net.json", '{"nodes": [{"id": ["a"]}], "edges": []}', "cannot be read"),
    "nothing as a name": ("net.json", '{"nodes": [{"id": null}], "edges": []}', "no plain name|cannot be read"),
    "half a number as a name": ("net.json", '{"nodes": [{"id": 0.5}], "edges": []}', "no plain name"),
    "one name twice": ("net.json", '{"nodes": [{"id": 1}, {"id": "1"}], "edges": []}', "the same name"),
    "a node twice": ("net.json", '{"nodes": [{"id": 1}, {"id": 1}], "edges": []}', "named twice"),
    "an edge to nowhere": ("net.json", f'{{{NODES}, "edges": [{{"source": "a", "target": 1}}]}}', "none of the nodes"),
    "an edge without end": ("net.json", f'{{{NODES}, "edges": [{{"source": "a"}}]}}', "no 'target'"),
    "parallel edges": ("net.json", f'{{"multigraph": true, {NODES}, "edges": []}}', "parallel"),
    "a loop": ("net.json", f'{{{NODES}, "edges": [{{"source": "a", "target": "a"}}]}}', "joins 'a' to itself"),
    "no node": ("net.json", '{"nodes": [], "edges": []}', "without nodes"),
    "too much": ("net.txt", "a b\n" * (graph_io.LARGEST // 4 + 1), "larger than the 16 MB"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_bad_file_is_one_sentence_with_its_path(tmp_path, case):
    name, text, says = HOSTILE[case]
    path = tmp_path / name
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=says) as caught:
        graph_io.read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".graphml", ".gexf", ".json"])
@pytest.mark.parametrize("kind", [nx.Graph(), nx.MultiGraph([("a", "b"), ("a", "b")])])
def test_a_file_must_hold_one_simple_graph(tmp_path, kind, suffix):
    path = tmp_path / f"net{suffix}"
    WRITERS[suffix](kind, path)
    with pytest.raises(ConfigError, match=rf"net{suffix}"):
        graph_io.read(path)


@pytest.mark.parametrize("suffix", [".graphml", ".gexf", ".json"])
def test_an_edge_that_goes_one_way_goes_that_way_still(tmp_path, suffix):
    path, graph = tmp_path / f"net{suffix}", nx.DiGraph([("c", "a"), ("a", "b"), ("b", "c"), ("a", "c")])
    graph_io.write(graph, path)
    found = graph_io.read(path)
    assert found.is_directed() and set(found.edges) == set(graph.edges)
    assert graph_io.entry(found)["edges"] == [["a", "b"], ["a", "c"], ["b", "c"], ["c", "a"]]
    assert graph_io.entry(found)["directed"] is True
    plain = graph_io.undirected(str(path), found)
    assert not plain.is_directed() and plain.number_of_edges() == 3
    with pytest.raises(ConfigError, match="an edge list cannot hold which way an edge goes"):
        graph_io.write(graph, tmp_path / "net.txt")


@pytest.mark.parametrize("suffix", [".graphml", ".gexf", ".json"])
def test_a_file_whose_edges_all_go_both_ways_is_an_undirected_graph(tmp_path, suffix):
    path = tmp_path / f"net{suffix}"
    both = nx.Graph([("a", "b"), ("b", "c")])
    WRITERS[suffix](both.to_directed(), path)
    assert not graph_io.read(path).is_directed() and graph_io.entry(graph_io.read(path)) == graph_io.entry(both)
    odd = nx.DiGraph([("a", "b", {"weight": 1.0}), ("b", "a", {"weight": 0.5})])
    WRITERS[suffix](odd, path)
    found = graph_io.read(path)
    assert found.is_directed()
    with pytest.raises(ConfigError, match=rf"net{suffix}: the edges between 'a' and 'b' have the weights 1.0 and 0.5"):
        graph_io.undirected(str(path), found)


@pytest.mark.parametrize("text", ["a b", "a#b", "a,b"])
def test_a_name_that_an_edge_list_cannot_hold_is_not_written(tmp_path, text):
    with pytest.raises(ConfigError, match="fall apart"):
        graph_io.write(nx.Graph([(text, "c")]), tmp_path / "net.txt")


def test_an_agent_without_edges_is_not_lost_in_an_edge_list(tmp_path):
    graph = nx.Graph([("a", "b")])
    graph.add_node("c")
    with pytest.raises(ConfigError, match="'c', which has no edge"):
        graph_io.write(graph, tmp_path / "net.txt")


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(SUFFIXES), st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_a_file_holds_the_answer_is_a_graph_or_one_sentence(tmp_path_factory, suffix, data):
    path = tmp_path_factory.mktemp("graphs") / f"net{suffix}"
    path.write_bytes(data)
    try:
        assert len(graph_io.read(path))
    except ConfigError as error:
        assert "\n" not in str(error)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3)
)
node_links = st.fixed_dictionaries(
    {
        "nodes": st.lists(st.fixed_dictionaries({"id": json_values}) | json_values, max_size=3),
        "edges": st.lists(st.fixed_dictionaries({"source": json_values, "target": json_values}), max_size=3),
    },
    optional={"directed": json_values, "multigraph": json_values},
)


@settings(deadline=None)
@given(node_links)
def test_nearly_node_link_json_is_a_graph_or_one_sentence(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("graphs") / "net.json"
    path.write_text(json.dumps(data))
    try:
        assert all(isinstance(node, str) for node in graph_io.read(path))
    except ConfigError as error:
        assert "\n" not in str(error)


def test_the_run_file_names_a_missing_graph_file(tmp_path):
    (tmp_path / "run.yaml").write_text("graph: {file: no.graphml}\nagents: {mix: {audio: 2}}\n")
    with pytest.raises(ConfigError, match=r"no\.graphml: cannot be read as a graph"):
        run_file.load(tmp_path / "run.yaml")


@pytest.mark.parametrize("suffix", [".graphml", ".gexf", ".json", ".edges"])
def test_a_run_may_mix_by_the_weights_of_its_graph_file(tmp_path, suffix):
    graph = nx.Graph()
    graph.add_weighted_edges_from([("d", "a", 0.1), ("b", "a", 0.4), ("c", "b", 0.25)])
    graph_io.write(graph, tmp_path / f"g{suffix}")
    entry = graph_io.entry(graph_io.read(tmp_path / f"g{suffix}"))
    assert dict(zip(map(tuple, entry["edges"]), entry["edge_weights"], strict=True)) == {
        ("a", "b"): 0.4, ("a", "d"): 0.1, ("b", "c"): 0.25,
    }  # fmt: skip
    raw = {"graph": {"file": f"g{suffix}"}, "agents": {"mix": {"audio": 4}}, "dataset": "bits", "weights": "given"}
    plan = RunPlan(run_file.resolve(raw, tmp_path / "run.yaml"))
    assert plan.topology.spectral_gap() > 0
    assert sorted(weight for me in plan.peers for weight in plan.topology.weights(me).values()) == [
        0.1, 0.1, 0.25, 0.25, 0.4, 0.4,
    ]  # fmt: skip
    assert RunPlan(run_file.load(written_down(plan, tmp_path))).topology.weights("a1") == plan.topology.weights("a1")


def written_down(plan, folder):
    path = folder / "written.yaml"
    path.write_text(run_file.dump(plan.run))
    return path


def test_weights_of_some_edges_or_that_are_no_numbers_are_none_of_a_run():
    for odd in ({}, {"weight": "heavy"}):
        graph = nx.Graph([("a", "b", {"weight": 0.5}), ("b", "c", odd)])
        assert "edge_weights" not in graph_io.entry(graph)
    assert "edge_weights" not in graph_io.entry(nx.empty_graph(["a", "b"]))
