"""parse_p2p.run is what parse-agent would do, in one call, and says in one sentence what it cannot."""

import networkx as nx
import numpy as np
import pytest
import torch
from plans import finished

import parse_p2p
import parse_p2p.data
from parse_p2p.config import run_file
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.event_log import Tail
from parse_p2p.core.events import Round
from parse_p2p.lab.graphs.graph_metrics import measure

SMALL = {
    "dataset": "bits",
    "data": {"samples": 320},
    "model": {"latent": 12, "hidden": 8, "encoder": {"width": 8, "depth": 1}},
    "train": {"batch": 16},
    "rounds": 3,
    "device": "cpu",
}
MIX = {"audio": 2, "motion": 2, "audio+motion": 2}


@pytest.fixture(scope="module")
def run():
    return parse_p2p.run(nx.cycle_graph(6), MIX, **SMALL)


def test_it_is_the_run_of_the_same_run_file(run, tmp_path):
    (tmp_path / "same.yaml").write_text(run_file.dump(run.plan.run))
    same = RunPlan(run_file.load(tmp_path / "same.yaml"))
    ended, _ = finished(same)
    last = {row["agent"]: row["accuracy"] for row in run.table() if row["round"] == 2}
    assert last == {me: p.learner.evaluate()["accuracy"] for me, p in ended.items()}


def test_the_table_has_a_row_for_each_round_and_agent(run):
    rows = run.table()
    assert [(row["round"], row["agent"]) for row in rows] == [(r, f"a{i}") for r in range(3) for i in range(6)]
    assert {row["type"] for row in rows} == set(MIX)
    assert all(set(row) == {"round", "agent", "node", "type", "accuracy", "loss", "bytes"} for row in rows)
    assert {row["agent"]: row["node"] for row in rows} == {f"a{i}": i for i in range(6)}
    rows[0]["accuracy"] = 2
    assert run.rows[0]["accuracy"] < 1


def test_its_numbers_are_those_of_the_table_and_of_the_graph(run):
    last = [row["accuracy"] for row in run.table() if row["round"] == 2]
    assert run.accuracy == pytest.approx(sum(last) / 6)
    assert run.by_type()["audio"][-1] == pytest.approx(
        sum(row["accuracy"] for row in run.table() if row["round"] == 2 and row["type"] == "audio") / 2
    )
    assert run.bytes == 3 * measure(run.plan).total
    assert run.gap == measure(run.plan).slowest.gap
    assert dict(run.graph.nodes(data="modalities"))["a2"] == run.plan.kind("a2")
    assert repr(run) == f"<parse on bits: 6 agents, 3 rounds, accuracy {run.accuracy:.3f}>"


def test_nodes_keep_their_names_and_their_modalities():
    named = {"oslo": ["audio"], "rome": ["motion", "audio"], "bonn": ["motion"]}
    run = parse_p2p.run(nx.path_graph(["oslo", "rome", "bonn"]), named, **SMALL | {"rounds": 1})
    assert {row["agent"]: row["type"] for row in run.table()} == {
        "oslo": "audio", "rome": "audio+motion", "bonn": "motion",
    }  # fmt: skip
    assert run.plan.topology.neighbours("rome") == ("oslo", "bonn")


def test_attributes_of_nodes_and_generators_do_as_well():
    graph = nx.complete_graph(3)
    nx.set_node_attributes(graph, "audio+motion", "modalities")
    run = parse_p2p.run(graph, **SMALL | {"rounds": 1})
    assert {row["type"] for row in run.table()} == {"audio+motion"}
    assert parse_p2p.run("star:5", **SMALL | {"rounds": 1}).graph_metrics.degree[2] == 4


@pytest.mark.parametrize("agents", [{"audio": 2, "motion": 1}, {0: ["audio"], 1: ["motion"], 2: ["audio"]}])
def test_a_coordinator_is_in_the_table_and_not_in_the_mean(agents):
    run = parse_p2p.run(nx.path_graph(3), agents, method="fedavg", coordinator="hub", **SMALL)
    last = {row["agent"]: row["accuracy"] for row in run.table() if row["round"] == 2}
    assert len(last) == 4 and run.accuracy == pytest.approx((sum(last.values()) - last["hub"]) / 3)
    assert "coordinator" not in run.by_type()
    with pytest.raises(parse_p2p.P2PError, match="coordinator"):
        run.gap  # noqa: B018


def test_a_folder_holds_the_run(tmp_path):
    run = parse_p2p.run("ring:3", {"audio": 3}, folder=tmp_path / "mine", **SMALL)
    events = Tail(tmp_path / "mine" / "agents" / "a1" / "events.jsonl").read()
    assert [e.accuracy for e in events if isinstance(e, Round)] == [
        row["accuracy"] for row in run.table() if row["agent"] == "a1"
    ]


def test_pictures_are_written_the_same_every_time(run, tmp_path):
    for draw, name in ((run.plot, "plot.svg"), (run.draw, "graph.svg")):
        drawn = draw(tmp_path / name)
        once = (tmp_path / name).read_bytes()
        draw(tmp_path / name)
        assert once == (tmp_path / name).read_bytes() and b"audio+motion" in once
        assert drawn._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("graph", "agents", "keys", "says"),
    [
        (nx.DiGraph([(0, 1), (1, 0), (1, 2)]), None, {}, "graph.directed: an edge goes one way, and options.exchange"),
        (nx.MultiGraph([(0, 1), (0, 1)]), None, {}, "parallel edges"),
        (nx.Graph([(0, 0), (0, 1)]), None, {}, "joins '0' to itself"),
        (nx.Graph(), None, {}, "without nodes"),
        (nx.Graph([(0, 1), (2, 3)]), {"audio": 4}, {}, "connected components"),
        (nx.grid_2d_graph(2, 2), None, {}, "no plain name"),
        (nx.Graph([(0, "0")]), None, {}, "the same name"),
        ("not a graph:3", None, {}, "no graph family"),
        (7, None, {}, "does not give one graph"),
        (nx.path_graph(3), {"audio": 2}, {}, "3 nodes for 2 agents"),
        (nx.path_graph(2), {0: ["audio"]}, {}, "the node '1' has no modalities"),
        (nx.path_graph(2), {0: ["audio"], 1: ["audio"], 2: ["audio"]}, {}, "'2' is no node"),
        (nx.path_graph(2), {0: ["audio"], 1: 3.5}, {}, "are no names"),
        (nx.path_graph(2), {0: [], 1: []}, {}, "the node '0' has no modalities"),
        ("ring:2", {0: ["audio"], 1: ["audio"]}, {}, "have no names"),
        (nx.path_graph(2), {"audio": 2}, {"method": "prse"}, "did you mean 'parse'"),
        (nx.path_graph(2), {"audio": 2}, {"rouns": 2}, "did you mean 'rounds'"),
        (nx.path_graph(2), {"audio": 2}, {"rounds": 0}, "rounds"),
        (nx.path_graph(2), {"audio": 2}, {"faults": [{"kind": "drop", "probability": 0.2}]}, "simulator"),
    ],
)
def test_what_cannot_be_run_is_one_sentence(graph, agents, keys, says):
    with pytest.raises(parse_p2p.P2PError, match=says) as caught:
        parse_p2p.run(graph, agents, **SMALL | keys)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'rnu'"):
        parse_p2p.rnu  # type: ignore[attr-defined]  # noqa: B018
    assert {"run", "Run", "P2PError", "__version__"} <= set(dir(parse_p2p))


def test_weights_of_edges_are_mixed_by_when_asked_and_mentioned_when_not():
    graph = nx.Graph()
    graph.add_weighted_edges_from([(0, 1, 0.4), (1, 2, 0.1), (2, 3, 0.4), (3, 0, 0.1)])
    with pytest.warns(UserWarning, match="the weights of the graph's edges are not used: weights: given mixes by them"):
        plain = parse_p2p.run(graph, {"audio": 4}, **SMALL | {"rounds": 1})
    mixed = parse_p2p.run(graph, {"audio": 4}, weights="given", **SMALL | {"rounds": 1})
    assert plain.gap == pytest.approx(2 / 3) and mixed.gap == pytest.approx(0.2)


def made(rows, classes=("cat", "dog", "fox"), seed=0):
    """Arrays in which every class lies elsewhere."""
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % len(classes)
    inputs = {"audio": rng.normal(size=(rows, 6)), "motion": rng.normal(size=(rows, 2, 8))}
    return {m: x + y.reshape(-1, *[1] * (x.ndim - 1)) for m, x in inputs.items()} | {"y": np.array(classes)[y]}


TINY = {"model": SMALL["model"], "rounds": 1, "device": "cpu"}
RING = nx.cycle_graph(["oslo", "rome", "bonn"])


def test_arrays_in_memory_are_dealt_as_those_of_a_file_are(tmp_path, monkeypatch):
    arrays = made(90)
    np.savez(tmp_path / "same.npz", **arrays)
    agents = {"audio": 1, "audio+motion": 2}
    given = parse_p2p.run(RING, agents, data=arrays, **TINY)
    public = {"dataset": "npz", "data": {"path": "other.npz"}}
    monkeypatch.chdir(tmp_path)
    np.savez("other.npz", **made(30))
    of_file = parse_p2p.run(RING, agents, dataset="npz", data={"path": "same.npz"}, **TINY)
    parse_p2p.run(RING, agents, dataset="npz", data={"path": "same.npz"}, public=public, **TINY)
    assert public["data"]["path"] == "other.npz", "what is given stays as it is"
    assert given.plan.run.fingerprint == of_file.plan.run.fingerprint
    assert [row["loss"] for row in given.rows] == [row["loss"] for row in of_file.rows]
    assert given.plan.schema.classes == ("cat", "dog", "fox") and "on given" in repr(given)


def test_all_have_all_modalities_of_what_is_given_unless_nodes_say_otherwise():
    plan = parse_p2p.run("ring:3", data=made(60), **TINY).plan
    assert [plan.kind(me) for me in plan.peers] == ["audio+motion"] * 3
    some = nx.cycle_graph(3)
    nx.set_node_attributes(some, {0: "audio", 1: "motion", 2: "audio+motion"}, "modalities")
    given = parse_p2p.run(some, data=parse_p2p.data.samples(made(60)), **TINY)
    assert [given.plan.kind(me) for me in given.plan.peers] == ["audio", "motion", "audio+motion"]


def test_each_node_may_have_samples_of_its_own():
    own = {"oslo": made(40), "rome": made(60, ["fox", "cat"], 1), "bonn": made(50, seed=2)}
    del own["bonn"]["audio"]
    run = parse_p2p.run(RING, data=own, **TINY)
    plan = run.plan
    assert plan.run.dataset == "own" and plan.peers == ["oslo", "rome", "bonn"]
    assert [plan.kind(me) for me in plan.peers] == ["audio+motion", "audio+motion", "motion"]
    assert plan.schema.classes == ("cat", "dog", "fox")
    for me, rows, found in (("oslo", 40, {0, 1, 2}), ("rome", 60, {0, 2}), ("bonn", 50, {0, 1, 2})):
        train, test = plan.share(me)
        assert len(train) + len(test) == rows and {*train.targets.tolist()} == found
    counted = parse_p2p.run(nx.cycle_graph(2), {"audio": 2}, data={0: made(40), 1: made(60)}, **TINY)
    assert [len(counted.plan.share(me)[0]) for me in counted.plan.peers] == [30, 45]


def test_a_coordinator_may_have_samples_too():
    own = {"oslo": made(40), "rome": made(60), "bonn": made(50), "hub": made(80)}
    plan = parse_p2p.run(RING, data=own, method="fedavg", coordinator="hub", **TINY).plan
    assert plan.coordinator == "hub" and sum(map(len, plan.share("hub"))) == 80
    assert [sum(map(len, plan.share(me))) for me in plan.peers] == [40, 60, 50]


class Items(torch.utils.data.Dataset):
    """As people have them."""

    def __len__(self):
        return 40

    def __getitem__(self, i):
        return {"left": torch.full((3,), i % 2 + 0.1 * i), "right": torch.zeros(2, 4)}, i % 2


def test_a_torch_data_set_is_given_as_it_is():
    run = parse_p2p.run("ring:3", data=Items(), **TINY)
    assert run.plan.schema.shapes(["left", "right"]) == {"left": (3,), "right": (2, 4)}
    assert run.plan.kind("a0") == "left+right"


def test_a_hugging_face_set_keeps_the_names_of_its_classes_as_its_folder_does(tmp_path):
    datasets = pytest.importorskip("datasets")
    columns = {"label": [k % 2 for k in range(40)], "v": [[k % 2, 1.0 * k] for k in range(40)], "who": ["a", "b"] * 20}
    features = {"label": datasets.ClassLabel(names=["walk", "rest", "fall"]), "who": datasets.Value("string"),
                "v": datasets.Sequence(datasets.Value("float32"))}  # fmt: skip
    saved = datasets.Dataset.from_dict(columns, datasets.Features(features))
    run = parse_p2p.run("ring:2", data=saved, **TINY)
    assert run.plan.schema.classes == ("walk", "rest", "fall") and run.plan.schema.shapes(["v"]) == {"v": (2,)}
    own = parse_p2p.run(nx.path_graph(2), data={0: saved, 1: saved.select(range(20))}, **TINY).plan
    assert [sum(map(len, own.share(me))) for me in own.peers] == [40, 20]
    by = {"target": "who", "columns": {"view": "v"}}
    found = parse_p2p.data.samples(saved, **by)
    saved.save_to_disk(tmp_path / "saved")
    folder = parse_p2p.run(
        "ring:2", {"view": 2}, dataset="huggingface", data={"path": str(tmp_path / "saved"), **by}, **TINY
    )
    assert found.class_names == ("a", "b") and found.modalities == ("view",)
    given = parse_p2p.run("ring:2", data=found, **TINY)
    assert given.plan.run.fingerprint == folder.plan.run.fingerprint
    with pytest.raises(parse_p2p.ConfigError, match=r"there is no column 'y' in data"):
        parse_p2p.data.samples(saved, target="y")
    with pytest.raises(parse_p2p.ConfigError, match="'train' is no node of the graph"):
        parse_p2p.run(nx.path_graph(2), data=datasets.DatasetDict(train=saved), **TINY)


@pytest.mark.parametrize(
    ("graph", "data", "said"),
    [
        (RING, {"oslo": made(30)}, "data: the node 'rome' has none: give it some"),
        (RING, dict.fromkeys([*RING, "romee"], made(30)), "data: 'romee' is no node of the graph: did you mean 'rome'"),
        ("ring:3", {"a0": made(30)}, "data: the nodes of ring:3 have no names: give a graph of networkx"),
        (RING, {"audio": np.zeros((3, 2))}, "array 'y' of data is missing"),
        (RING, [1, 2], "data gave an object of type int as item 0; give (inputs, label)"),
        (RING, {"oslo": made(30), "rome": made(30), "bonn": {"audio": np.zeros((9, 5)), "y": [0, 1, 2] * 3}},
         "'audio' is a vector of 6 features in oslo and a vector of 5 features in bonn: "),
        (RING, dict.fromkeys(["oslo", "rome"], made(30)) | {"bonn": {"audio": np.zeros((9, 6))}},
         "data of the node 'bonn': array 'y' of data is missing"),
        (RING, {"samples": 300}, "data.samples: there is no such key here"),
    ],
)  # fmt: skip
def test_samples_that_cannot_be_are_refused_in_a_sentence(graph, data, said):
    with pytest.raises(parse_p2p.ConfigError) as caught:
        parse_p2p.run(graph, data=data, **TINY)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("data", "task", "said"),
    [
        (made(30), "regresion", "task: there is no task 'regresion': did you mean 'regression'?"),
        (made(30), None, "task: there is no task None"),
        (made(30), "os.path", "task: there is no task 'os.path'"),
        (parse_p2p.data.samples(made(30)), "regression", "task: regression is asked for, and the data are of classif"),
        ({"task": "multi-label", "path": "x"}, "regression", "task: regression is asked for, and the data are of mult"),
    ],
)
def test_a_task_that_is_none_or_not_that_of_the_data_is_refused_in_a_sentence(data, task, said):
    with pytest.raises(parse_p2p.ConfigError) as caught:
        parse_p2p.run("ring:2", data=data, task=task, **TINY)
    assert str(caught.value).startswith(said)
