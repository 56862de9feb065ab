"""The round that an agent reports: the best on samples that it neither trains on nor is tested with."""

import json
import math

import plans
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from parse_p2p.config.run_file import KeyLocations, validated
from parse_p2p.core.errors import ConfigError
from parse_p2p.data.base import Dataset
from parse_p2p.lab.experiments.recorded_simulation import record
from parse_p2p.launch.results import summarise, train_alone
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.learning.early_stopping import EarlyStopping


def judged(*accuracies):
    return {round: {"validation": accuracy} for round, accuracy in enumerate(accuracies)}


@pytest.mark.parametrize(
    ("accuracies", "patience", "wanted"),
    [
        ([0.1, 0.3, 0.2, 0.4], 5, 3),
        ([0.1, 0.3, 0.2, 0.2, 0.4], 2, 1),
        ([0.1, 0.3, 0.2, 0.4, 0.2], 2, 3),
        ([0.3, 0.3, 0.3], 1, 0),
        ([None, math.nan, 0.2, 0.1], 3, 2),
        ([0.0, 0.0], 1, 0),
        ([None, None], 3, None),
        ([], 3, None),
    ],
)
def test_the_round_is_the_first_best_before_patience_ends(accuracies, patience, wanted):
    assert EarlyStopping(patience=patience).chosen(judged(*accuracies)) == wanted


def test_of_losses_the_lowest_is_the_best():
    rows = {round: {"validation": 1.0, "validation_loss": loss} for round, loss in enumerate([0.9, 0.4, 0.6])}
    assert EarlyStopping(metric="loss").chosen(rows) == 1


@given(st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4]), min_size=1, max_size=12), st.integers(1, 12))
def test_nothing_within_patience_is_better_and_nothing_before_as_good(accuracies, patience):
    at = EarlyStopping(patience=patience).chosen(judged(*accuracies))
    assert all(accuracies[round] < accuracies[at] for round in range(at))
    assert all(value <= accuracies[at] for value in accuracies[at : at + patience + 1])


def of(targets, classes=2):
    return Dataset("some", {"x": torch.arange(len(targets)).float()[:, None]}, torch.tensor(targets), classes)


def test_a_share_of_every_class_is_held_out_by_the_seed():
    data = of([0] * 20 + [1] * 40)
    train, held = EarlyStopping(validation=0.25).held_out(data, "a0", 1)
    assert held.targets.bincount().tolist() == [5, 10] and len(train) == 45
    assert sorted(torch.cat([train.inputs["x"], held.inputs["x"]])[:, 0].tolist()) == list(range(60))

    def drawn(me, seed):
        return EarlyStopping(validation=0.25).held_out(data, me, seed)[1].inputs["x"]

    assert torch.equal(drawn("a0", 1), held.inputs["x"])
    assert not torch.equal(drawn("a1", 1), held.inputs["x"]) and not torch.equal(drawn("a0", 2), held.inputs["x"])


def test_too_few_samples_are_one_sentence():
    with pytest.raises(ConfigError, match=r"early_stopping\.validation: 0\.1 leaves agent a0, which has 2 training"):
        EarlyStopping().held_out(of([0, 1]), "a0", 0)


SETTINGS = {"mix": {"audio": 1, "motion": 1}, "rounds": 4, "data": {"samples": 480}, "train": {"lr": 0.3}}
STOPPING = {"early_stopping": {"validation": 0.3, "patience": 2}}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    path = tmp_path_factory.mktemp("stopped") / "run"
    made = plans.plan(**SETTINGS, **STOPPING)
    record(made, RunFolder(path))
    logs = {me: [json.loads(line) for line in RunFolder(path).events(me).read_text().splitlines()] for me in made.specs}
    return made, path, {me: [row for row in log if row["event"] == "round"] for me, log in logs.items()}


def test_those_samples_are_neither_trained_on_nor_tested_with():
    agent, whole = (plans.plan(**SETTINGS, **more).agent_states()[0].learner for more in (STOPPING, {}))
    seen = []

    def spy(network, batch, outputs):
        seen.append(batch.inputs["audio"])
        return outputs.logits().sum() * 0

    agent.train(spy)
    rows = {tuple(row) for row in torch.cat(seen).tolist()}
    held = {tuple(row) for row in agent.validation.inputs["audio"].tolist()}
    assert rows.isdisjoint(held) and rows | held == {tuple(row) for row in whole.data.inputs["audio"].tolist()}
    assert torch.equal(agent.test.inputs["audio"], whole.test.inputs["audio"])


def test_accuracy_is_that_of_the_chosen_round_and_the_last_is_there_too(ran, agent):
    _, path, logs = ran
    kept = json.loads(RunFolder(path).summary.read_text())
    for row, (me, log) in zip(kept["types"], logs.items(), strict=True):
        at = EarlyStopping(patience=2).chosen(judged(*(line["validation"] for line in log)))
        wanted = {"round": at, "accuracy": log[at]["accuracy"], "last": log[-1]["accuracy"]}
        assert kept["chosen"][me] == wanted and row["mean"] == wanted["accuracy"]
    assert any(each["accuracy"] != each["last"] for each in kept["chosen"].values())
    _, out, _ = agent("summary", path, "--json", "--no-alone")
    assert json.loads(out)["chosen"] == kept["chosen"]
    _, out, _ = agent("summary", path, "--no-alone")
    last = sum(log[-1]["accuracy"] for log in logs.values()) / 2
    assert f"after the last {last:.3f} in the mean" in out


def test_agents_go_on_to_the_last_round_and_the_test_set_chooses_nothing(ran):
    made, _, logs = ran
    assert all(len(log) == 4 for log in logs.values())
    rows = {me: {line["round"]: line | {"accuracy": -line["validation"]} for line in log} for me, log in logs.items()}
    found = summarise(made, {me: 0.0 for me in logs}, None, 0, 4, 1.0, rows=rows).chosen
    for me, log in logs.items():
        assert found[me]["round"] == EarlyStopping(patience=2).chosen(judged(*(line["validation"] for line in log)))


def test_the_same_agents_alone_report_alike():
    made = plans.plan(**SETTINGS | {"rounds": 3}, **STOPPING, method="local")
    found, rows = train_alone(made, lambda done: None), {}
    twice = plans.plan(**SETTINGS | {"rounds": 3}, **STOPPING, method="local").agent_states()

    def watch(round, metrics, ledger):
        for p in twice:
            rows.setdefault(p.me, {})[round] = p.learner.evaluate()

    plans.simulate(twice, 3, watch=watch)
    stopping = made.run.early_stopping
    assert found == {me: each[stopping.chosen(each)]["accuracy"] for me, each in rows.items()}


def test_it_does_not_go_with_a_stream(tmp_path):
    raw = plans.plan({"audio": 2}).run.model_dump(mode="json", exclude_none=True)
    _, wrong = validated(raw | STOPPING | {"stream": {}}, KeyLocations(tmp_path / "a.yaml", {}))
    assert [sentence for sentence in wrong if "early_stopping: with stream every round has data of its own" in sentence]
