"""Agents with texts of their own: from a run file, by a tokenizer beside it."""

import json

import pytest
import torch
from texts import LENGTH, reviews, table, word_level

import parse_p2p
from parse_p2p.config import run_file
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.errors import ConfigError
from parse_p2p.data.tokenizer import Tokenizer
from parse_p2p.lab.experiments.recorded_simulation import record
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.learning import losses


@pytest.fixture
def own(tmp_path):
    """A run file of two agents with a table each, and a tokenizer beside it."""
    pytest.importorskip("pyarrow")
    made_by = Tokenizer.read(word_level(tmp_path / "tokenizer.json"))
    for name, seed in (("a0", 1), ("a1", 2)):
        table(tmp_path / f"{name}.csv", reviews(80, seed))
    text = {"review": {"column": "body", "tokenizer": "tokenizer.json", "length": LENGTH}}
    tokens = {"kind": "tokens", "shape": [LENGTH], "vocabulary": made_by.vocabulary, "tokenizer": made_by.digest}
    keys = {
        "agents": [{"id": me, "modalities": ["review"]} for me in ("a0", "a1")],
        "graph": {"generator": "ring"},
        "rounds": 2,
        "dataset": "own",
        "data": {"path": "{id}.csv", "target": "label", "text": text},
        "data_schema": {"modalities": {"review": tokens}, "classes": ["bad", "good"]},
        "model": {"encoder": {"width": 16, "depth": 1}, "latent": 12, "hidden": 8},
    }
    (tmp_path / "run.yaml").write_text(json.dumps(keys))
    return tmp_path / "run.yaml"


def test_a_run_file_has_its_tokenizer_beside_it(own, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    record(RunPlan(run_file.load(own)), RunFolder(tmp_path / "run"))
    assert parse_p2p.load(tmp_path / "run", "a0").predict({"review": ["good", "bad"]}).shape == (2, 2)


def test_an_agent_with_another_tokenizer_is_refused_and_both_are_named(own):
    plan = RunPlan(run_file.load(own))
    wanted = plan.schema.modalities["review"].tokenizer
    words = [*Tokenizer.read(own.parent)._made.get_vocab()]
    other = Tokenizer.read(word_level(own.parent / "tokenizer.json", words=sorted(words[4:], reverse=True)))
    again = RunPlan(run_file.load(own))
    assert again.run.digest() == plan.run.digest()  # where a file lies tells nothing of what is in it
    with pytest.raises(ConfigError, match=f"the data of a1 .*tokenizer {other.digest}.*here.*tokenizer {wanted}"):
        again.share("a1")


def test_a_broken_sensor_of_texts_gives_padding_and_the_agent_goes_on(own):
    faults = [{"kind": "sensor", "agents": ["a1"], "modality": "review", "round": 1}]
    plan = RunPlan(run_file.load(own, [("faults", faults)]))
    state = plan.agent_state("a1")
    state.begin(0)
    assert not state.failed and len(state.learner.data.inputs["review"].unique()) > 10
    state.begin(1)
    assert state.failed == ("review",)
    for data in (state.learner.data, state.learner.test):
        assert data.inputs["review"].dtype == torch.int64 and data.inputs["review"].unique().tolist() == [0]
    assert state.learner.train(losses.task)["loss"] > 0


def test_a_stream_of_tokens_may_have_no_shift(own):
    stream = {"tasks": 2, "groups": 1}
    with pytest.raises(ConfigError, match=r"stream.shift: 'review' is tokens"):
        RunPlan(run_file.load(own, [("stream", stream)]))
    plan = RunPlan(run_file.load(own, [("stream", stream | {"shift": 0})]))
    assert plan.agent_state("a0").learner.data.inputs["review"].dtype == torch.int64
