"""A model of labels or numbers from its run to whoever asks it: predict, export, evaluate, serve, ONNX, summary."""

import json

import numpy as np
import pytest
import torch

import parse_p2p
from parse_p2p.cli.trained.evaluate import _agents
from parse_p2p.core.errors import ConfigError
from parse_p2p.data.sources.python import samples
from parse_p2p.data.tasks.regression import Regression
from parse_p2p.lab.report.run_data import RunData
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.serving import exported, onnx, server
from parse_p2p.serving.evaluation import evaluate

rng = np.random.default_rng(5)
X = rng.normal(size=(80, 3)).astype("float32")
GIVEN = {
    "regression": ("R²", {"outputs": ("heat", "rain")}, np.stack([300 + 5 * X[:, 0], X[:, 1]], 1).astype("float32")),
    "multi-label": ("macro-F1", {"classes": ("cat", "dog")}, (X[:, :2] > 0.2).astype("int64")),
}


@pytest.fixture(scope="module", params=GIVEN)
def run(request, tmp_path_factory):
    """The task, the folder of a run, and the samples of its agents with their names."""
    folder, (_, names, y) = tmp_path_factory.mktemp("runs") / request.param, GIVEN[request.param]
    np.savez(folder.parent / "d.npz", m=X, y=y)
    source = {"path": str(folder.parent / "d.npz"), "task": request.param, **names}
    data = samples({"m": X, "y": y}, task=request.param, **names)
    scale = {"heat": {"mean": 300, "deviation": 5}} if request.param == "regression" else None
    schema = {"task": request.param, "modalities": {"m": {"kind": "vector", "shape": [3]}}, **names}
    schema |= {"targets": scale} if scale else {}
    parse_p2p.run("complete_graph:2", {"m": 2}, method="parse", rounds=4, dataset="npz", data=source,
                  folder=folder, data_schema=schema, options={"branch": 0.0},
                  train={"epochs": 6, "batch": 4})  # fmt: skip
    return request.param, folder, data


def test_what_is_predicted_is_what_the_agent_was_scored_by(run):
    task, folder, data = run
    model = parse_p2p.load(folder, "a0")
    said = model.predict({"m": X})
    assert said.shape == (80, 2) and model.task.name == task and model.classes == data.labels
    outputs = model.network(model.scaled({"m": torch.from_numpy(X)})).logits(task=model.task)
    wanted = (
        outputs.sigmoid() if task == "multi-label" else outputs * torch.tensor([5.0, 1.0]) + torch.tensor([300.0, 0])
    )
    assert np.allclose(said, wanted.detach(), rtol=1e-6)
    found = evaluate(model, data, "mine")
    assert found.score > 0.2
    if task == "regression":
        errors = said - GIVEN[task][2]
        assert found.outputs["heat"]["rmse"] == pytest.approx(float(np.sqrt(np.square(errors[:, 0]).mean())), rel=1e-4)
        assert found.plain()["r2"] == found.score and 200 < said[:, 0].mean() < 400
        with pytest.raises(ConfigError, match="numbers and no labels"):
            model.labels({"m": X})
    else:
        assert model.labels({"m": X})[0] == [n for n, p in zip(("cat", "dog"), said[0], strict=True) if p > 0.5]
        assert found.plain()["classes"]["cat"]["rows"] == int(GIVEN[task][2][:, 0].sum())


def test_an_exported_model_says_the_same_and_what_it_is(run, tmp_path):
    pytest.importorskip("safetensors")
    task, folder, data = run
    score, _, _ = GIVEN[task]
    model = parse_p2p.load(folder, "a1")
    from parse_p2p.serving.run_models import RunModels

    figures = RunModels(folder).measured("a1", model.round)
    exported.write(exported.with_figures(model, figures), exported.fresh(tmp_path / "a1"))
    again = parse_p2p.load(tmp_path / "a1")
    assert np.array_equal(again.predict({"m": X}), model.predict({"m": X})) and again.task == model.task
    assert evaluate(again, data, "mine").score == evaluate(model, data, "mine").score
    card = (tmp_path / "a1" / "README.md").read_text()
    assert f"{score[0].upper()}{score[1:]} {figures.accuracy:.4f}" in card and "ccuracy" not in card
    assert f"type: {model.task.key}" in card and f"name: {task}" in card
    config = tmp_path / "a1" / "config.json"
    plain = json.loads(config.read_text())
    plain["data_schema"]["task"] = "antigravity:thing"
    config.write_text(json.dumps(plain))
    with pytest.raises(ConfigError, match="there is no task 'antigravity:thing'"):
        parse_p2p.load(tmp_path / "a1")


def test_its_graph_says_the_same(run, tmp_path):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    model = parse_p2p.load(run[1], "a0")
    onnx.write(model, tmp_path)
    (said,) = runtime.InferenceSession(tmp_path / onnx.FILE).run([model.task.output], {"m": X})
    assert np.allclose(said, model.predict({"m": X}), rtol=1e-5, atol=1e-5)


def test_a_server_answers_with_labels_or_values(run):
    pytest.importorskip("fastapi")
    task, folder, data = run
    model = parse_p2p.load(folder, "a0")
    said = server._answer(model, server.Question(inputs={"m": X[:2].tolist()}), server.Limits())
    assert said.keys() - {"round"} == ({"values", "outputs"} if task == "regression" else
                                       {"probabilities", "labels", "classes"})  # fmt: skip
    assert said[model.task.output] == model.predict({"m": X[:2]}).tolist() and said[model.task.names] == list(
        data.labels
    )


def test_every_place_that_people_read_calls_the_score_by_its_name(run, tmp_path, agent):
    task, folder, _ = run
    score, names, y = GIVEN[task]
    said = agent("summary", folder, "--no-alone")[1]
    assert f"{score} on the test set" in said and "accuracy" not in said
    assert json.loads((folder / "summary.json").read_text())["score"] == score
    np.savez(tmp_path / "other.npz", m=X, y=y)
    key = "outputs" if task == "regression" else "classes"
    data = json.dumps({"path": str(tmp_path / "other.npz"), "task": task, key: names[key]})
    said = agent("evaluate", folder, "--id", "a0", "--data", data)[1]
    assert score in said and "accuracy" not in said and all(name in said for name in names[key])
    options = [f"--set=task={task}", f"--set={key}={json.dumps(names[key])}"]
    said = agent("data", "check", tmp_path / "other.npz", *options)[1]
    assert ("label" if task == "multi-label" else "output") in said and names[key][0] in said
    said = agent("data", "schema", tmp_path / "other.npz", *options)[1]
    assert f"task: {task}" in said and f"{key}: [{', '.join(names[key])}]" in said
    shown = RunData(folder)
    shown.read()
    assert shown.plain()["score"] == score


def test_information_on_classes_is_not_looked_for(run):
    from parse_p2p.lab.analysis.slice_analysis import analyse

    plan = RunFolder(run[1]).open()
    with pytest.raises(ConfigError, match=f"pid estimates information on the class of a sample, and .* is {run[0]}"):
        analyse(plan, {}, 3)


def test_the_loss_of_scaled_numbers_is_called_so_beside_figures_in_their_own_units(run):
    task, folder, data = run
    model = parse_p2p.load(folder, "a0")
    wanted = "squared error, scaled" if task == "regression" else "binary cross-entropy"
    assert model.task.loss_shown == wanted and wanted in _agents([evaluate(model, data, "mine")]).names
    assert Regression().loss_shown == "squared error"


def test_numbers_that_the_schema_scales_already_are_not_advised_to_be(tmp_path, agent):
    y = np.stack([300 + 5 * X[:, 0], 90 + X[:, 1]], 1)
    np.savez(tmp_path / "d.npz", m=X, y=y)
    schema = {"task": "regression", "modalities": {"m": {"kind": "vector", "shape": [3]}}, "outputs": ["rain", "heat"],
              "targets": {"heat": {"mean": 300, "deviation": 5}}}  # fmt: skip
    agents = [{"id": "a0", "modalities": ["m"], "data": {"path": "d.npz"}}]
    run = {"graph": {"generator": "complete"}, "agents": agents, "data_schema": schema,
           "data": {"task": "regression", "outputs": ["heat", "rain"]}}  # fmt: skip
    (tmp_path / "run.yaml").write_text(json.dumps(run))
    code, said, _ = agent("data", "check", tmp_path / "run.yaml", "--id", "a0")
    assert code == 0 and "1 output is far from mean 0" in said and "targets: {rain: {mean: 89.99" in said
    del schema["targets"]
    (tmp_path / "run.yaml").write_text(json.dumps(run))
    assert "2 outputs are far from mean 0" in agent("data", "check", tmp_path / "run.yaml", "--id", "a0")[1]
