"""Metrics: by hand, against scikit-learn, of classes that are not there, and wherever a run tells of them."""

import json
import sys
from types import ModuleType

import plans
import pytest
import torch
from pydantic import ValidationError
from sklearn.metrics import f1_score, recall_score, roc_auc_score

import parse_p2p
from parse_p2p.config.run_file import RunFile
from parse_p2p.core import events, plugins
from parse_p2p.core.errors import ConfigError
from parse_p2p.lab.experiments.engines import ENGINES, _read
from parse_p2p.lab.experiments.recorded_simulation import record
from parse_p2p.lab.report.run_data import RunData
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.learning.metrics import base
from parse_p2p.learning.metrics.base import Predictions

NAMES = ("ant", "bee", "cat", "dog")


def measured(name, predictions):
    return plugins.load(plugins.METRICS, name)(predictions)


def said(classes, targets, sure=0.7):
    """Predictions that take each sample for one of four classes, all as surely."""
    rest = (1 - sure) / 3
    return Predictions(torch.full((len(classes), 4), rest).scatter(1, torch.tensor([classes]).T, sure),
                       torch.tensor(targets), NAMES)  # fmt: skip


# two of three ants, one of two bees, no cat and no dog; one ant is taken for a dog, one bee for an ant
SOME = said([0, 0, 3, 1, 0], [0, 0, 0, 1, 1])

# labels: all right of ant but one that is said wrongly, and one bee of two is missed
LABELS = Predictions(torch.tensor([[0.9, 0.2], [0.8, 0.9], [0.1, 0.4]]),
                     torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), ("ant", "bee"))  # fmt: skip
NUMBERS = Predictions(torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([[1.0, 5.0], [2.0, 0.0]]), ("x", "y"))

OTHER_TASKS = {
    "label-accuracy": (LABELS, 4 / 6),
    "rmse": (NUMBERS, (10 / 4) ** 0.5),
    "mae": (NUMBERS, 4 / 4),
}
DOTTED = {
    "torchmetrics.functional.mean_absolute_error": (NUMBERS, "regression", 1.0),
    "torchmetrics.functional.classification.multilabel_f1_score": (LABELS, "multi-label", 2 / 3),
}
BY_HAND = {
    "balanced-accuracy": {"balanced-accuracy": (2 / 3 + 1 / 2) / 2},
    "macro-f1": {"macro-f1": (2 / 3 + 2 / 3) / 2},  # ants: 2/3 and 2/3; bees: precision 1, recall 1/2
    "per-class": {"accuracy/ant": 2 / 3, "accuracy/bee": 1 / 2},
    "calibration-error": {"calibration-error": 0.7 - 3 / 5},
    "auroc": {"auroc": 0.5833333 / 2 + 0.75 / 2},  # ants 3.5 of 6 pairs in order, bees 4.5 of 6
}


def test_every_metric_has_a_value_by_hand():
    assert sorted(BY_HAND | OTHER_TASKS) == plugins.known(plugins.METRICS)


@pytest.mark.parametrize(("name", "case"), OTHER_TASKS.items())
def test_values_of_labels_and_numbers_are_those_by_hand(name, case):
    assert measured(name, case[0]) == pytest.approx({name: case[1]}, rel=1e-6)
    assert measured("auroc", LABELS) == {"auroc": 1.0}  # both are in order


@pytest.mark.parametrize(("function", "case"), DOTTED.items())
def test_a_function_of_torchmetrics_is_for_the_task_that_its_arguments_say(function, case):
    metric = plugins.load(plugins.METRICS, function)
    assert base.tasks_of(metric) == (case[1],)
    assert list(metric(case[0]).values()) == pytest.approx([case[2]])


def test_a_function_that_refuses_the_samples_has_no_number_for_them():
    """As R² does of one sample, in the middle of a run."""
    metric = plugins.load(plugins.METRICS, "torchmetrics.functional.r2_score")
    one = Predictions(NUMBERS.probabilities[:1], NUMBERS.targets[:1], NUMBERS.names)
    assert metric(one) == {} and metric(NUMBERS).keys() == {"r2_score"}
    assert base.tasks_of(metric) == ("regression",)


@pytest.mark.parametrize(("name", "wanted"), BY_HAND.items())
def test_values_are_those_by_hand_and_absent_classes_are_left_out(name, wanted):
    assert measured(name, SOME) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_values_are_those_of_scikit_learn(seed):
    rng = torch.Generator().manual_seed(seed)
    probabilities = torch.randn(40, 4, generator=rng).mul(2).softmax(1)
    targets = torch.randint(0, 2 + seed % 3, (40,), generator=rng)  # with two, three and four classes
    predictions, taken = Predictions(probabilities, targets, NAMES), probabilities.argmax(1)
    labels = sorted(set(targets.tolist()))
    every = {"labels": labels, "zero_division": 0.0}
    areas = [roc_auc_score(targets == each, probabilities[:, each]) for each in labels]
    recalls = recall_score(targets, taken, average=None, **every)
    wanted = {
        "balanced-accuracy": recalls.mean(), "macro-f1": f1_score(targets, taken, average="macro", **every),
        "auroc": sum(areas) / len(areas),
    }  # fmt: skip
    for name, value in wanted.items():
        assert measured(name, predictions) == pytest.approx({name: value}, rel=1e-5)
    assert list(measured("per-class", predictions).values()) == pytest.approx(recalls.tolist(), rel=1e-5)


def test_calibration_is_by_bins():
    """Half of the samples are 0.9 sure and all right, half 0.6 sure and none right."""
    sure = torch.tensor([[0.9, 0.1, 0, 0]] * 3 + [[0.6, 0.4, 0, 0]] * 3)
    found = measured("calibration-error", Predictions(sure, torch.tensor([0] * 3 + [1] * 3), NAMES))
    assert found["calibration-error"] == pytest.approx((0.1 + 0.6) / 2, rel=1e-5)


@pytest.mark.parametrize("name", BY_HAND)
def test_one_class_and_one_sample_are_enough_and_give_no_warning(name):
    alone = Predictions(torch.ones(1, 1), torch.zeros(1).long(), ("all",))
    for predictions in (alone, said([1, 2], [1, 1])):
        found = measured(name, predictions)
        assert (not found) == (name == "auroc") and all(0 <= value <= 1 for value in found.values())


def test_a_function_of_torchmetrics_is_a_metric_by_its_dotted_name():
    found = measured("torchmetrics.functional.classification.multiclass_exact_match", SOME)
    assert found == {"multiclass_exact_match": pytest.approx(0.6)}


WRONG = {
    "macro-f2": "there is no metric 'macro-f2': did you mean 'macro-f1'?",
    "os.getcwd": "'getcwd' is no metric: it has to be a function",
    "torchmetrics.functional.classification.multiclass_roc": "'multiclass_roc' gives no number",
    "torchmetrics.Accuracy": "'Accuracy' is no metric",
}


@pytest.mark.parametrize(("name", "sentence"), WRONG.items())
def test_what_is_no_metric_is_refused_in_one_sentence(name, sentence):
    raw = plans.plan({"audio": 2}).run.model_dump() | {"metrics": ["auroc", name]}
    with pytest.raises(ValidationError) as caught:
        RunFile.model_validate(raw)
    [error] = caught.value.errors()
    assert error["loc"] == ("metrics", 1) and sentence in error["msg"] and "\n" not in error["msg"]


def test_without_torchmetrics_a_run_says_what_to_install_before_it_begins(monkeypatch):
    monkeypatch.setattr(base, "find_spec", lambda name: None)
    made = plans.plan({"audio": 2}, metrics=["auroc"])
    with pytest.raises(ConfigError, match=r"pip install 'parse-p2p\[metrics\]'"):
        made.agent_states()


def test_torchmetrics_is_not_imported_where_nobody_asks(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.classification", None)
    plans.finished(plans.plan({"audio": 2}, rounds=1))


# in a run


ASKED = ["balanced-accuracy", "per-class"]
SETTINGS = {"mix": {"audio": 1, "motion": 1}, "rounds": 2}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    path = tmp_path_factory.mktemp("asked") / "run"
    made = plans.plan(**SETTINGS, metrics=ASKED)
    return made, path, {p.me: p.learner for p in record(made, RunFolder(path))}


def scores(path, me):
    rows = map(json.loads, RunFolder(path).events(me).read_text().splitlines())
    return [row["scores"] for row in rows if row["event"] == "round"]


def test_they_change_nothing_else(ran, tmp_path):
    made, path, _ = ran
    record(plans.plan(**SETTINGS), RunFolder(tmp_path))
    for me in made.specs:
        with_them, without = ([json.loads(line) for line in RunFolder(folder).events(me).read_text().splitlines()]
                              for folder in (path, tmp_path))  # fmt: skip
        for one, other in zip(with_them, without, strict=True):
            one.pop("scores", None)
            for key in ("time", "seconds"):
                one.pop(key, None), other.pop(key, None)
            assert one == other
    assert "metrics" not in json.loads(RunFolder(tmp_path).summary.read_text())


def test_the_log_has_those_of_every_round_on_the_agents_own_test_set(ran):
    _, path, learners = ran
    for me, agent in learners.items():
        found = scores(path, me)
        assert len(found) == 2 and found[-1] == {
            name.removeprefix(events.SCORE): value for name, value in agent.evaluate().items() if "/" in name
        }
        targets = agent.test.targets
        right = agent.outputs(agent.test).logits().argmax(1) == targets
        for each, name in enumerate(agent.test.class_names):
            assert found[-1][f"accuracy/{name}"] == pytest.approx(right[targets == each].float().mean().item())
        assert agent.evaluate(["redundant"]).keys() == {"accuracy", "test_loss"}


def test_summary_report_and_comparison_have_them(ran, agent, tmp_path):
    made, path, _ = ran
    last = {me: scores(path, me)[-1] for me in made.specs}
    kept = json.loads(RunFolder(path).summary.read_text())["metrics"]
    assert kept == {name: {me: last[me][name] for me in last} for name in last["a0"]}
    _, out, _ = agent("summary", path, "--json", "--no-alone")
    assert json.loads(out)["metrics"] == kept
    data = RunData(path)
    data.read()
    for row in data.plain()["agents"]:
        assert row["scores"] == pytest.approx(last[row["id"]], rel=1e-4)
    mean = sum(kept["balanced-accuracy"].values()) / 2
    assert ENGINES["simulator"](made, "k", [], tmp_path).measures["balanced-accuracy"] == pytest.approx(mean)
    assert _read(made, "k", RunFolder(path)).measures["balanced-accuracy"] == pytest.approx(mean)


def test_the_summary_shows_mean_lowest_and_highest(ran, agent):
    made, path, _ = ran
    values = {me: scores(path, me)[-1]["balanced-accuracy"] for me in made.specs}
    low, high = sorted(values, key=values.__getitem__)
    _, out, _ = agent("summary", path, "--no-alone")
    [row] = [line.split() for line in out.splitlines() if line.startswith("balanced-accuracy")]
    mean = f"{sum(values.values()) / 2:.3f}"
    assert row[1:] == [mean, f"{values[low]:.3f}", f"({low})", f"{values[high]:.3f}", f"({high})", "2"]


def test_a_table_has_a_column_for_each():
    rows = parse_p2p.run("ring:3", {"audio": 3}, dataset="bits", data={"samples": 200}, rounds=1, metrics=ASKED).table()
    assert {"balanced-accuracy", "accuracy/0", "accuracy", "loss"} <= rows[0].keys()


def test_a_class_without_test_samples_is_in_no_mean():
    given = parse_p2p.run("ring:2", {"audio": 2}, dataset="bits", data={"samples": 200}, rounds=1)
    made = RunFile.model_validate(given.plan.run.model_dump() | {"metrics": ASKED})
    [one, _] = type(given.plan)(made).agent_states()
    one.learner.test = one.learner.test.select(torch.nonzero(one.learner.test.targets != 1)[:, 0])
    found = one.learner.evaluate()
    classes = [found[f"test/accuracy/{name}"] for name in one.learner.test.class_names if name != "1"]
    assert "test/accuracy/1" not in found
    assert found["test/balanced-accuracy"] == pytest.approx(sum(classes) / len(classes))


def test_one_of_ones_own_is_found_by_its_module(monkeypatch):
    for name in ("own", "own.metric"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(
        sys.modules["own.metric"], "METRIC", lambda p: {"n": len(p.targets), "no": torch.nan}, raising=False
    )
    found = plans.learner("audio", metrics=["own.metric"])
    assert found.evaluate()["test/n"] == len(found.test) and "test/no" not in found.evaluate()
