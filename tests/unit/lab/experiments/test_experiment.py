"""Experiment files: what they expand to, and one sentence for each that cannot be."""

import pytest
import yaml
from paths import ROOT

from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.errors import ConfigError
from parse_p2p.lab.experiments.experiment import Job, load, tables

SHIPPED = sorted((ROOT / "experiments").rglob("*.yaml"))
BASE = {"graph": {"generator": "ring"}, "agents": {"mix": {"audio": 2, "motion": 2}}, "rounds": 2}
GOOD = {
    "base": "base.yaml",
    "axes": {"data": {"even": {}, "skewed": {"partition.kind": "dirichlet"}}, "method": ["parse", "local"]},
    "baseline": "parse",
}


def written(tmp_path, **changes):
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(BASE))
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **changes}))
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_every_shipped_experiment_can_be_run(path):
    """But for data that are not installed here."""
    experiment = load(path)
    for labels in experiment.combinations():
        run = Job(experiment, labels, 0).run()
    if run.dataset not in ("brca", "mfeat", "watch"):
        RunPlan(run)


def test_every_combination_is_run_with_every_seed(tmp_path):
    experiment = load(written(tmp_path, settings={"train.lr": 0.3}, seeds=[4, 5]))
    assert experiment.rows == "method"
    labels = [tuple(dict(each).values()) for each in experiment.combinations()]
    assert labels == [("even", "parse"), ("even", "local"), ("skewed", "parse"), ("skewed", "local")]
    run = Job(experiment, experiment.combinations()[3], 5).run()
    assert (run.method, run.partition.kind, run.train.lr, run.seed) == ("local", "dirichlet", 0.3, 5)
    assert [common for common, _ in tables(experiment)] == [{"data": "even"}, {"data": "skewed"}]


def test_what_is_not_tuned_over_keeps_the_rate_of_the_first_label(tmp_path):
    tune = {"values": [0.1, 0.2], "seeds": [9], "over": ["data"]}
    experiment = load(written(tmp_path, tune=tune))
    last = experiment.combinations()[-1]
    assert experiment.tuned_as(last) == (("data", "skewed"), ("method", "parse"))
    assert Job(experiment, last, 9, 0.2).run().train.lr == 0.2


def test_a_label_may_name_another_run_file(tmp_path):
    (tmp_path / "line.yaml").write_text(yaml.safe_dump({**BASE, "graph": {"generator": "line"}}))
    path = written(tmp_path, axes={"graph": {"ring": {}, "line": {"base": "line.yaml"}}}, baseline="ring")
    assert Job(load(path), (("graph", "line"),), 0).run().graph.generator == "line"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"baseline": "pares"}, "baseline: no axis has the label 'pares'.*parse"),
        ({"axis": {}}, "mine.yaml: axis: there is no such key here.*axes"),
        ({"axes": {"method": []}}, "axes.method has no labels"),
        ({"tune": {"values": [0.1], "seeds": [0]}}, "tune.seeds: 0 is one of the seeds that are reported"),
        ({"tune": {"values": [0.1], "over": ["dta"]}}, "tune.over: there is no axis 'dta'.*data"),
        ({"axes": {"method": {"parse": {"seed": 1}}}}, "seeds are no setting here"),
        ({"axes": {"a": ["parse"], "b": ["parse"]}}, "several axes have the label"),
        ({"claims": [{"says": "x", "of": "all", "first": "parse", "second": "lokal"}]}, "no row 'lokal'.*local"),
        ({"engine": "magic"}, "engine"),
        ({"sets": "dta"}, "sets: there is no axis 'dta'.*data"),
        ({"sets": "method"}, "sets: the baseline 'parse' is of the axis 'method'"),
        (
            {"sets": "data", "axes": {"data": {"one": {}}, "method": ["parse"]}},
            "sets: the axis 'data' has a single label",
        ),
        ({"tune": {"values": [0.1], "share": 1.0}}, "tune.share"),
        (
            {"equal_bytes": True, "axes": {"method": {"parse": None, "local": {"method": "local", "rounds": 3}}}},
            "axes.method.local: with equal_bytes rows have the rounds that their bytes pay for; take rounds out",
        ),
        ({"equal_bytes": True, "axes": {"rounds": [2, 3]}, "baseline": 2}, "axes.rounds.2: with equal_bytes rows have"),
        (
            {"equal_bytes": True, "tune": {"key": "codec", "values": ["raw"], "seeds": [9]}},
            "tune.key: codec may change",
        ),
        (
            {"equal_bytes": True, "tune": {"key": "training.lr", "values": [0.1], "seeds": [9]}},
            "tune.key: training.lr may change",
        ),
        ({"tune": {"values": [0.1], "widen": -1}}, "tune.widen"),
    ],
)
def test_what_cannot_be_is_one_sentence(changes, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        load(written(tmp_path, **changes))


def test_without_equal_bytes_rows_may_have_rounds_and_any_key_is_tuned(tmp_path):
    axes = {"method": {"parse": None, "local": {"method": "local", "rounds": 3}}}
    experiment = load(written(tmp_path, axes=axes, tune={"key": "codec", "values": ["raw"], "seeds": [9]}))
    assert [Job(experiment, labels, 0).run().rounds for labels in experiment.combinations()] in ([2, 3], [3, 2])


@pytest.mark.parametrize(("key", "value"), [("train", {"lr": 0.3}), ("train.lr", 0.3)])
def test_with_equal_bytes_all_of_train_may_be_tuned(tmp_path, key, value):
    experiment = load(written(tmp_path, equal_bytes=True, tune={"key": key, "values": [value], "seeds": [9]}))
    assert Job(experiment, experiment.combinations()[0], 9, value).run().train.lr == 0.3


def test_a_wrong_setting_names_the_experiment_and_the_combination(tmp_path):
    experiment = load(written(tmp_path, settings={"train.learning": 1}))
    with pytest.raises(
        ConfigError, match=r"mine.yaml: even, parse, seed 0: --set train.learning: there is no such key"
    ):
        Job(experiment, experiment.combinations()[0], 0).run()


@pytest.mark.parametrize("text", ["", "[1, 2]", "a: [", "\x00", "- &a [*a]"])
def test_files_that_are_no_experiment_are_refused(text, tmp_path):
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"odd\.yaml"):
        load(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.yaml")


def test_what_comes_later_holds_and_a_tuned_value_always_does(tmp_path):
    """Also where a label gives a whole section that an earlier key is part of."""
    axes = {"schedule": {"falling": {"train": {"schedule": "cosine"}}, "as it is": None}}
    tune = {"values": [0.2, 0.3], "seeds": [9]}
    path = written(tmp_path, settings={"train.lr": 0.05}, axes=axes, baseline="falling", tune=tune)
    experiment = load(path)
    plain, falling = experiment.combinations()  # YAML was written in the order of the alphabet
    run = Job(experiment, falling, 0, 0.2).run()
    assert (run.train.lr, run.train.schedule) == (0.2, "cosine")
    assert Job(experiment, plain, 0).run().train.lr == 0.05


def test_labels_that_are_numbers_may_be_the_baseline(tmp_path):
    experiment = load(written(tmp_path, axes={"train.lr": [0.1, 0.2]}, baseline=0.1))
    assert experiment.rows == "train.lr" and Job(experiment, experiment.combinations()[1], 0).run().train.lr == 0.2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seeds": [0, 0]}, "seeds: 0 stands there twice"),
        ({"tune": {"values": [0.1, 0.1]}}, "tune.values: 0.1 stands there twice"),
        ({"axes": {"method": ["parse", "parse"]}}, "axes.method: a value stands there twice"),
    ],
)
def test_what_stands_twice_is_refused(changes, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        load(written(tmp_path, **changes))
