"""What is measured of a model: by hand, and the figures that the agent logged of itself."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from trained import measured, recorded

import parse_p2p
from parse_p2p.core.errors import ConfigError
from parse_p2p.data.base import Dataset
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.runtime import checkpoint
from parse_p2p.serving.evaluation import evaluate

CLASSES = 16


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, *recorded(folder)


def logged(folder, me):
    rounds = [json.loads(line) for line in (folder / f"agents/{me}/events.jsonl").read_text().splitlines()]
    return next(event for event in reversed(rounds) if event["event"] == "round")


def test_the_figures_on_an_agents_own_samples_are_those_that_it_logged(run):
    folder, plan, agents = run
    for me in agents:
        scores = evaluate(parse_p2p.load(folder, me), measured(plan), "mine")
        wanted = logged(folder, me)
        assert scores.score == pytest.approx(wanted["accuracy"], abs=1e-12)
        assert scores.loss == pytest.approx(wanted["test_loss"], rel=1e-6)
        assert scores.rows == len(measured(plan)) == sum(each["rows"] for each in scores.outputs.values())


@pytest.fixture
def constant(run, tmp_path):
    """A model that says the third class of everything, with probability e^2 / (e^2 + 15)."""
    folder, _, agents = run
    state = agents["a1"].state()
    model = parse_p2p.load(folder, "a1")
    checkpoint.save(tmp_path, 1, state, 1)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.zero_()
        model.network.heads["m·redundant"].bias[2] = 2.0
    return model


def labelled(*classes, names=None):
    names = names or tuple(map(str, range(CLASSES)))
    targets = torch.tensor([names.index(each) for each in classes])
    return Dataset("set", {"audio": torch.randn(len(classes), 16)}, targets, len(names), labels=names)


def test_accuracy_cross_entropy_and_classes_by_hand(constant):
    scores = evaluate(constant, labelled("2", "2", "5", "2"), "set")
    wrong = math.log(math.e**2 + 15)
    assert scores.score == 0.75 and scores.loss == pytest.approx((4 * wrong - 3 * 2) / 4, rel=1e-6)
    assert scores.outputs["2"] == {"rows": 3, "accuracy": 1.0} and scores.modalities == ("audio",)
    assert scores.plain()["classes"]["5"] == {"rows": 1, "accuracy": 0.0}


def test_samples_may_lack_a_modality_of_the_agents(run):
    folder, plan, _ = run
    model, whole = parse_p2p.load(folder, "a2"), measured(plan)
    alone = evaluate(model, whole.select(range(len(whole)), ["audio"]), "mine")
    gone = torch.zeros(len(whole), dtype=torch.bool)
    gaps = evaluate(model, replace(whole, present={"motion": gone}), "mine")
    assert alone.modalities == ("audio",) and alone.loss == pytest.approx(gaps.loss, rel=1e-6)
    assert abs(alone.loss - evaluate(model, whole, "mine").loss) > 1e-6
    with pytest.raises(ConfigError, match=r"^mine: there are no samples of the classes of a2"):
        evaluate(model, replace(whole, present={"audio": gone, "motion": gone}), "mine")


def test_classes_are_matched_by_name(constant):
    assert evaluate(constant, labelled("2", "9", names=("9", "2")), "set").outputs == {
        "2": {"rows": 1, "accuracy": 1.0}, "9": {"rows": 1, "accuracy": 0.0},
    }  # fmt: skip


def test_what_is_not_what_the_model_learnt_is_refused(constant):
    with pytest.raises(ConfigError, match=r"^mine: the class 'cat' is not in data_schema\.classes"):
        evaluate(constant, labelled("cat", "2", names=("cat", "2")), "mine")
    narrow = Dataset("set", {"audio": torch.zeros(1, 3)}, torch.tensor([0]), CLASSES)
    with pytest.raises(ConfigError, match=r"^mine: 'audio' is a vector of 3 features here, and a vector of 16"):
        evaluate(constant, narrow, "mine")
    other = Dataset("set", {"smell": torch.zeros(1, 3)}, torch.tensor([0]), CLASSES)
    with pytest.raises(ConfigError, match=r"^mine: there is no modality 'audio' in it: .*Known: smell"):
        evaluate(constant, other, "mine")


def test_an_agent_is_measured_on_the_classes_of_its_task(tmp_path):
    entries = [{"id": me, "modalities": ["audio"], "task": "few"} for me in ("a0", "a1")]
    plan, _ = recorded(tmp_path, tasks={"few": {"classes": [[0, 1], [2]]}}, agents=entries)
    model = parse_p2p.load(tmp_path, "a0")
    scores = evaluate(model, measured(plan), "mine")
    assert set(scores.outputs) == {"0+1", "2"} and scores.score == logged(tmp_path, "a0")["accuracy"]
    with pytest.raises(ConfigError, match=r"^mine: there are no samples of the classes of a0: 0\+1, 2"):
        evaluate(model, labelled("7"), "mine")


# the command


@pytest.fixture
def file(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "other.npz", y=np.arange(40) % 3, audio=rng.normal(size=(40, 16)), motion=np.ones((40, 16)))
    return tmp_path / "other.npz"


def test_the_command_measures_all_agents_or_some(agent, run, file):
    folder = run[0]
    code, out, err = agent("evaluate", folder, "--data", file, "--json")
    assert code == 0, err
    found = json.loads(out)["agents"]
    assert [each["agent"] for each in found] == ["a0", "a1", "a2"] and {each["rows"] for each in found} == {40}
    code, out, _ = agent("evaluate", folder, "--data", f"{{kind: npz, path: {file}}}", "--id", "a2", "--id", "a0")
    lines = [line.split() for line in out.splitlines()]
    a2 = next(each for each in found if each["agent"] == "a2")
    figures = ["2", "40", f"{a2['accuracy']:.3f}", f"{a2['cross_entropy']:.3f}"]
    assert code == 0 and lines[1] == ["a2", "audio+motion", *figures] and lines[2][0] == "a0"
    assert ["class", "rows", "a2", "a0"] in lines
    assert ["0", "14", f"{a2['classes']['0']['accuracy']:.3f}"] == next(x for x in lines if x[:1] == ["0"])[:3]


def test_the_command_refuses_in_one_sentence(agent, run, file, tmp_path):
    RunFolder(tmp_path / "begun").write(run[1].run)
    for arguments, said in (
        ([run[0], "--data", "no.npz"], "no.npz does not exist on this host"),
        ([run[0], "--data", file, "--id", "a9"], "has no agent 'a9'"),
        ([run[0], "--data", file, "--round", "1"], "has no checkpoint of a0 after round 1"),
        ([tmp_path, "--data", file], "there is no run in"),
        ([tmp_path / "begun", "--data", file], "has no checkpoint of a0: wait"),
        ([run[0], "--data", "{path: [}"], "is no value"),
    ):
        code, out, err = agent("evaluate", *arguments)
        assert (code, out) == (2, "") and said in err and err.count("\n") == 1, err
