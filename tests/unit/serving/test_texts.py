"""A model of texts is asked about texts: of a run, exported, as a graph and over HTTP."""

import json

import numpy as np
import pytest
import torch
from texts import LENGTH, byte_pairs, read_as, reviews

import parse_p2p
from parse_p2p.core.errors import ConfigError
from parse_p2p.data import samples
from parse_p2p.data.tokenizer import Tokenizer
from parse_p2p.serving import exported
from parse_p2p.serving.evaluation import evaluate

ASKED = ["a good lovely film", "the plot was awful and weak"]
SMALL = {"encoder": {"width": 16, "depth": 1}, "latent": 12, "hidden": 8}


def with_numbers(words, rows=None):
    """Reviews beside a vector that tells a little."""
    texts, labels = zip(*(rows or reviews()), strict=True)
    x = np.random.default_rng(0).normal(size=(len(texts), 4)) + np.array([label == "good" for label in labels])[:, None]
    return samples({"body": np.array(texts), "x": x, "y": np.array(labels)}, text=read_as(words))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two agents that learnt what texts are about, one with a vector beside: the folder, and what the run says."""
    pytest.importorskip("pyarrow")
    folder = tmp_path_factory.mktemp("texts")
    words = byte_pairs(folder / "tokenizer.json")
    run = parse_p2p.run(
        "ring:2", {"review": 1, "review+x": 1}, data=with_numbers(words), rounds=6, model=SMALL, folder=folder / "run"
    )
    return folder, run


@pytest.fixture(scope="module")
def model(run):
    return parse_p2p.load(run[0] / "run", "a0")


@pytest.fixture(scope="module")
def copied(run, model):
    pytest.importorskip("safetensors")
    folder = exported.fresh(run[0] / "exported")
    exported.write(model, folder)
    return folder


def test_agents_with_texts_learn_what_they_are_about(run):
    assert run[1].by_type()["review"][0] < run[1].by_type()["review"][-1]
    assert run[1].by_type()["review"][-1] > 0.9  # of two classes alike
    assert run[1].by_type()["review+x"][-1] > 0.9


def test_a_run_has_its_tokenizer_once_beside_each_agent(run):
    digest = Tokenizer.read(run[0] / "tokenizer.json").digest
    for me in ("a0", "a1"):
        assert [p.name for p in (run[0] / "run" / "agents" / me).glob("tokenizer*")] == [f"tokenizer-{digest}.json"]


def test_texts_and_their_ids_say_the_same(run, model):
    assert model.labels({"review": ASKED}) == ["good", "bad"]
    tokenizer = Tokenizer.read(run[0] / "tokenizer.json")
    ids = tokenizer.encoded(ASKED, LENGTH, 0, None)[0]
    for given in (ids, ids.astype(np.uint8), torch.from_numpy(ids), np.array(ASKED)):
        assert np.array_equal(model.predict({"review": given}), model.predict({"review": ASKED}))


def test_rows_that_lack_a_text_are_not_read(run):
    model = parse_p2p.load(run[0] / "run", "a1")
    x, there = np.ones((2, 4)), np.array([True, False])
    found = model.predict({"review": [ASKED[0], ""], "x": x}, {"review": there})
    ids = np.full((2, LENGTH), 999)
    ids[0] = model.tokenizers["review"].encoded(ASKED[:1], LENGTH, 0, None)[0]
    assert np.array_equal(found, model.predict({"review": ids, "x": x}, {"review": there}))
    np.testing.assert_allclose(found[1:], model.predict({"x": x[1:]}), rtol=1e-6)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["good", 1], "'review' holds texts and something else; give one text for each row"),
        (("good", 1), "'review' holds texts and something else"),
        (["good", [1] * LENGTH], "'review' holds texts and something else"),
        (["good", " "], "'review' has an empty text in row 1, from 0"),
        ("good", "'review' is str; give a list of texts"),
        (3, "'review' is int; give a list of texts"),
        (np.array("good"), "'review' is ndarray; give a list of texts"),
        ([[1, 2], [3]], "rows of 'review' have different lengths"),
        ([[1.5] * LENGTH], "is float64 of shape"),
        (np.ones((1, 3), int), r"is int64 of shape \[1, 3\]; give ids as whole numbers \[rows, 16\], or texts"),
        ([[1] * 15 + [90]], "has the id 90 in row 0, from 0; give ids from 0 to 89"),
        ([[1] * 15 + [-1]], "has the id -1 in row 0"),
        ([[1] * 16, [0] * 16], "has nothing but padding in row 1"),
    ],
)
def test_what_is_neither_texts_nor_ids_is_refused(model, given, said):
    with pytest.raises(ConfigError, match=said):
        model.predict({"review": given})


def test_an_exported_one_is_the_same_and_brings_its_tokenizer(model, copied):
    again = parse_p2p.load(copied)
    assert np.array_equal(again.predict({"review": ASKED}), model.predict({"review": ASKED}))
    [file] = copied.glob("tokenizer-*.json")
    card = (copied / "README.md").read_text()
    assert file.name in card and "['a text'] * 8" in card


def test_one_without_its_tokenizer_takes_ids_alone(model, copied, tmp_path):
    for file in copied.iterdir():
        if not file.name.startswith("tokenizer"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    alone = parse_p2p.load(tmp_path)
    ids = np.ones((1, LENGTH), int)
    assert np.array_equal(alone.predict({"review": ids}), model.predict({"review": ids}))
    with pytest.raises(ConfigError, match=r"holds texts, and the tokenizer \w{16} is not kept beside the model"):
        alone.predict({"review": ASKED})


def test_a_vocabulary_larger_than_the_tensors_is_not_even_built(copied, tmp_path):
    for file in copied.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["data_schema"]["modalities"]["review"]["vocabulary"] = 2**24
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="vocabulary is 16777216, and there are"):
        parse_p2p.load(tmp_path)


def test_evaluation_reads_texts_by_the_same_tokenizer_alone(run, model, tmp_path):
    others = reviews(60, seed=9)
    found = evaluate(model, with_numbers(run[0] / "tokenizer.json", others), "it")
    right = [
        said == label for said, (_, label) in zip(model.labels({"review": [t for t, _ in others]}), others, strict=True)
    ]
    assert found.score == pytest.approx(np.mean(right)) and found.score > 0.8
    with pytest.raises(ConfigError, match="ids of another tokenizer mean other things"):
        evaluate(model, with_numbers(byte_pairs(tmp_path / "other.json", size=60), others), "it")


def test_a_graph_takes_ids_as_int64(model, tmp_path):
    onnx = pytest.importorskip("parse_p2p.serving.onnx")
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    onnx.write(model, tmp_path)
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    assert [each.type for each in session.get_inputs()] == ["tensor(int64)"]
    ids = model.tokenizers["review"].encoded(ASKED, LENGTH, 0, None)[0]
    (said,) = session.run(None, {"review": ids})
    np.testing.assert_allclose(said, model.predict({"review": ASKED}), atol=1e-5)


def test_a_server_takes_texts_and_ids(run):
    testing = pytest.importorskip("fastapi.testclient")
    from parse_p2p.serving import server

    client = testing.TestClient(server.app(server.Newest(run[0] / "run", "a1"), server.Limits()))
    model = parse_p2p.load(run[0] / "run", "a1")

    def ask(**question):
        return client.post("/predict", json=question)

    of_texts = ask(inputs={"review": ASKED}).json()
    ids = model.tokenizers["review"].encoded(ASKED, LENGTH, 0, None)[0]
    assert of_texts == ask(inputs={"review": ids.tolist()}).json()
    x = [[1.0] * 4] * 2
    lacking = ask(inputs={"review": [ASKED[0], None], "x": x}, present={"review": [True, False]})
    assert lacking.status_code == 200
    assert (
        lacking.json()
        == ask(inputs={"review": [*ids[:1].tolist(), []], "x": x}, present={"review": [True, False]}).json()
    )
    for given, said in (
        (["", "good"], "has an empty text in row 0"),
        (["good", 1], "holds texts and something else"),
        ([["good"]], "give ids as whole numbers [rows, 16], or texts"),
    ):
        refused = ask(inputs={"review": given})
        assert refused.status_code == 422 and said in refused.json()["detail"]


def test_a_long_text_among_short_ones_has_its_own_room_alone():
    pytest.importorskip("fastapi")
    from parse_p2p.serving import inputs, server

    for texts in (["good " * 1000, "bad"], [["good " * 1000], ["bad"]], [[["good"]], [["bad"]]]):
        assert server._array("review", texts).dtype == object
    assert inputs._array(["good " * 1000, "bad"]).dtype == object
    assert server._array("x", [[1, 2], [3, 4]]).dtype == int
