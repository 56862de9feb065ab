"""Labels and numbers are learnt as classes are: a round by hand, missing modalities, and what is refused of them."""

import copy

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

import parse_p2p
from parse_p2p.config.run_file import RunFile
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.errors import ConfigError
from parse_p2p.data.sources.python import samples
from parse_p2p.learning import objective
from parse_p2p.learning.objective import LossOptions

rng = np.random.default_rng(3)
AUDIO, MOTION = (rng.normal(size=(120, 4)).astype("float32") for _ in range(2))
NUMBERS = np.stack([AUDIO[:, 0] + MOTION[:, 1], 2 * MOTION[:, 0]], 1)
LABELS = (np.stack([AUDIO[:, 0] > 0, MOTION[:, 1] > 0.5, AUDIO[:, 1] > -1], 1)).astype("int64")
TASKS = {"regression": NUMBERS, "multi-label": LABELS}


def run_file(**changes):
    keys = {"dataset": "given", "method": "local", "rounds": 1, "agents": {"mix": {"audio+motion": 2}},
            "graph": {"generator": "complete_graph"}}  # fmt: skip
    return RunFile.model_validate(keys | changes)


def planned(task, data=None, **changes):
    given = data or samples({"audio": AUDIO, "motion": MOTION, "y": TASKS[task]}, task=task)
    return RunPlan(run_file(**changes), samples=given)


@pytest.mark.parametrize(
    ("task", "plain"), [("regression", mse_loss), ("multi-label", binary_cross_entropy_with_logits)]
)
def test_a_round_is_that_of_plain_torch(task, plain):
    plan = planned(task, model={"network": "monolithic"}, train={"clip": 1e9})
    learner = plan.learner("a0", ("audio", "motion"))
    twin, data = copy.deepcopy(learner.model), learner.data
    twin.train()
    steps = torch.optim.SGD(twin.parameters(), lr=learner.options.lr, **{
        key: learner.optimiser.param_groups[0][key] for key in ("momentum", "weight_decay", "nesterov")})  # fmt: skip
    learner.begin(0, 1)
    batches = [batch for batch in copy.deepcopy(learner).batches()]
    for batch in batches:
        loss = plain(twin(batch.inputs).branches["joint"], batch.targets)
        steps.zero_grad()
        loss.backward()
        steps.step()
    learner.begin(0, 1)
    learner.train(*objective.terms(LossOptions(branch=0.0)))
    for name, mine in learner.model.named_parameters():
        assert torch.allclose(mine, dict(twin.named_parameters())[name], atol=1e-6), name
    twin.eval()
    said = twin(learner.test.inputs).branches["joint"]
    found = learner.evaluate()
    assert found["test_loss"] == pytest.approx(plain(said, learner.test.targets).item(), rel=1e-4)
    assert len(data) > 32 and len(batches) > 1


@pytest.mark.parametrize(("task", "key"), [("regression", "r2"), ("multi-label", "macro-f1")])
def test_a_network_learns_it_and_says_what_its_score_is_called(task, key, tmp_path):
    run = parse_p2p.run("complete_graph:2", {"audio+motion": 2}, method="fedavg", coordinator="hub", rounds=3,
                        data={"audio": AUDIO, "motion": MOTION, "y": TASKS[task]}, task=task,
                        options={"branch": 0.0}, train={"epochs": 4, "batch": 8},
                        early_stopping={"validation": 0.2})  # fmt: skip
    assert run.score > 0.6 and run.task.key == key
    assert run.table()[0].keys() > {key, "validation"} and "accuracy" not in run.table()[0]
    assert run.by_type()["audio+motion"][-1] == pytest.approx(run.score)
    assert repr(run).endswith(f", {run.task.score} {run.score:.3f}>")
    run.plot(tmp_path / "plot.svg")
    assert "on the test set" in run.plot().axes[0].get_ylabel() and "accuracy" not in run.plot().axes[0].get_ylabel()
    with pytest.raises(ConfigError, match=r"has no accuracy: its score is .*, run\.score"):
        _ = run.accuracy


def test_numbers_far_from_0_are_learnt_as_the_schema_scales_them():
    far = {"audio": AUDIO, "motion": MOTION, "y": 1000 + 50 * NUMBERS}
    given = samples(far, task="regression", outputs=["x", "y"])
    scale = {"x": {"mean": 1000, "deviation": 70}, "y": {"mean": 1000, "deviation": 100}}
    modalities = {m: {"kind": "vector", "shape": [4], "scale": "all"} for m in ("audio", "motion")}
    schema = {"task": "regression", "modalities": modalities, "outputs": ["x", "y"], "targets": scale}
    plan = planned("regression", given, data_schema=schema, rounds=8, train={"epochs": 6, "batch": 8})
    learner = plan.learner("a0", ("audio", "motion"))
    for round in range(8):
        learner.begin(round, 8)
        learner.train(*objective.terms(LossOptions(branch=0.0)))
    found = learner.evaluate()
    assert found["accuracy"] > 0.8 and found["test_loss"] < 0.3
    assert float(learner.test.targets.mean()) > 900  # in their own units


@pytest.mark.parametrize("task", TASKS)
def test_samples_may_lack_a_modality(task):
    gappy = MOTION.copy()
    gappy[::3] = np.nan
    with pytest.warns(parse_p2p.DataWarning, match="lack 'motion'"):
        given = samples({"audio": AUDIO, "motion": gappy, "y": TASKS[task]}, task=task)
    learner = planned(task, given, method="parse").learner("a0", ("audio", "motion"))
    learner.begin(0, 1)
    learner.train(*objective.terms(LossOptions()))
    found = learner.evaluate()
    key = learner.test.task.key
    assert {f"test/{key}-without-motion", f"test/{key}-whole"} <= found.keys()


REFUSED = {
    "method": ({"method": "fedcmi", "agents": {"mix": {"audio+motion": 2}, "coordinator": "hub"}},
               "'fedcmi' learns from the class of each sample, and the task of the data is regression: take "),
    "supervised": ({"method": "parse", "options": {"contrast": 1.0, "supervised": True}},
                   r"options\.supervised: it looks"),
    "factor": ({"method": "parse", "options": {"factor": 0.1}}, r"options\.factor: it looks"),
    "class weights": ({"train": {"class_weights": "balanced"}}, r"train\.class_weights: balanced weighs classes"),
    "label spaces": ({"tasks": {"few": {"classes": [[0], [1]]}}}, "tasks: they are made of classes"),
    "streams": ({"stream": {}}, "stream: its tasks are made of classes"),
    "partition": ({"partition": {"kind": "dirichlet"}}, "dirichlet partition deals samples by their class"),
    "metric": ({"metrics": ["per-class"]},
               r"metrics: 'per-class' is for classification, and the task .* take mae, rmse,"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "said"), REFUSED.values(), ids=REFUSED)
def test_what_needs_classes_is_refused_in_a_sentence(changes, said):
    with pytest.raises(ConfigError, match=said):
        planned("regression", **changes)


def test_metrics_of_another_task_are_refused_for_classes_too():
    with pytest.raises(
        ConfigError, match=r"metrics: 'rmse' is for regression, and the task of the data is classification"
    ):
        planned("classification", samples({"audio": AUDIO, "motion": MOTION, "y": LABELS[:, 0]}), metrics=["rmse"])


def test_the_supervised_contrast_that_weighs_nothing_is_nobodys_business():
    planned("regression", method="parse", options={"contrast": 0.0, "supervised": True})


def test_public_numbers_of_a_named_set_are_learnt_as_the_agents_learn_theirs(tmp_path):
    """In the order of their outputs, and scaled as theirs are."""
    np.savez(tmp_path / "all.npz", audio=AUDIO, y=100 + NUMBERS)
    np.savez(tmp_path / "public.npz", audio=AUDIO + 1, y=100 + NUMBERS[:, ::-1])
    source, keys = {"task": "regression", "outputs": ["x", "y"]}, ("x", "y")
    schema = {"task": "regression", "modalities": {"audio": {"kind": "vector", "shape": [4]}}, "outputs": keys,
              "targets": {"x": {"mean": 100}, "y": {"mean": 100, "deviation": 2}}}  # fmt: skip

    def public_of(outputs):
        public = {"dataset": "npz", "data": source | {"path": str(tmp_path / "public.npz"), "outputs": outputs}}
        agents, data = {"mix": {"audio": 2}, "coordinator": "hub"}, source | {"path": str(tmp_path / "all.npz")}
        run = run_file(method="fedafd", dataset="npz", data=data, agents=agents, public=public, data_schema=schema)
        return RunPlan(run).learner("hub", ("audio",)).data

    public = public_of(["y", "x"])
    assert public.class_names == keys and np.allclose(public.targets, 100 + NUMBERS)
    assert public.task.mean == (100.0, 100.0) and public.task.deviation == (1.0, 2.0)
    with pytest.raises(ConfigError, match=r"public.dataset: .* has the outputs 'a', 'b' and not 'x', 'y'"):
        public_of(["a", "b"])
