"""Rows on equal bytes have the rounds that their bytes pay for, counted once for each combination."""

import math
from pathlib import Path

import pytest
import yaml
from at_once import Here
from paths import ROOT
from tiny import TINY

from parse_p2p.core.errors import ConfigError, P2PError
from parse_p2p.lab.experiments.engines import one
from parse_p2p.lab.experiments.equal_bytes import MOST, EqualBytes, fitting, total
from parse_p2p.lab.experiments.experiment import Job, load, traffic_job
from parse_p2p.lab.experiments.experiment_tables import Study
from parse_p2p.lab.experiments.result_store import Outcome, ResultStore
from parse_p2p.lab.experiments.sweep import Sweep
from parse_p2p.learning.learner import Learner

COSTS = {"parse": 100.0, "dsgd-task": 50.0, "harmony": 75.0, "local": 0.0}


ROUNDS = {"parse": 6, "dsgd-task": 12, "harmony": 8, "local": 6}
"""Where the baseline has six."""


def staged(n):
    """Like Harmony: a dear first half of the rounds, and a cheap second."""
    return [100.0 if i < 0.5 * n else 50.0 for i in range(n)]


def found(sent, budget=3000.0, full=30):
    """What the search ends with, and the runs that it made."""
    tried = {full: sent(full)}
    while (n := fitting(tried, budget, MOST * full)) not in tried:
        tried[n] = sent(n)
    return n, list(tried)


@pytest.mark.parametrize(
    ("sent", "rounds", "runs"),
    [
        (lambda n: [100.0] * n, 30, 2),  # 30 x 100 are the budget
        (lambda n: [83.0] * n, 36, 3),  # 36 x 83 = 2988, 37 x 83 = 3071
        (lambda n: [107.0] * n, 28, 3),  # 28 x 107 = 2996
        (lambda n: [1500.0] * n, 2, 3),
        (lambda n: [2999.0] * n, 1, 3),
        (lambda n: [3001.0] * n, 1, 2),  # there is no run without rounds
        (lambda n: [1010.0, *[10.0] * (n - 1)], 200, 3),  # 1000 once, 10 each
        (lambda n: [2900.0, *[90.0] * (n - 1)], 2, 3),
        (staged, 40, 5),  # 20 x 100 + 20 x 50 = 3000
        (lambda n: staged(n)[::-1], 40, 5),
        (lambda n: [2 * cost for cost in staged(n)], 20, 5),
        (lambda n: [0.0 if i % 4 else 400.0 for i in range(n)], 28, 3),  # the eighth message would be in round 28
        (lambda n: [0.0] * n, 30, 1),
        (lambda n: [500.0, *[0.0] * (n - 1)], 30, 1),
        (lambda n: [10.01] * n, 299, 3),  # 299 x 10.01 = 2993
        (lambda n: [9.99] * n, 300, 2),  # which is ten times the baseline's
        (lambda n: [0.01] * n, 300, 2),  # of 300 000 that would be paid
    ],
)
def test_rounds_are_the_most_whose_bytes_do_not_exceed(sent, rounds, runs):
    n, made = found(sent)
    assert (n, len(made)) == (rounds, runs)


@pytest.mark.parametrize(
    ("sent", "budget", "rounds"),
    [
        (lambda n: [float(i**2) for i in range(n)], 1e6, 144),  # 143 x 144 x 287 / 6 = 984 984
        (lambda n: [float(i**4) for i in range(n)], 1e10, 138),
        (lambda n: [1e6 if i == 200 else 1.0 for i in range(n)], 250.0, 200),  # the next is the dear one
        (lambda n: [100 * 0.98**i for i in range(n)], 4980.0, 273),  # 5000 x (1 - 0.98^273) = 4979.9
    ],
)
def test_where_costs_change_a_lot_few_runs_find_the_same(sent, budget, rounds):
    n, made = found(sent, budget)
    assert n == rounds and total(sent(n)) <= budget < total(sent(n + 1))
    assert len(made) <= 6 + math.log2(10 * 30)


def test_what_comes_late_in_a_run_is_counted_where_it_comes():
    n, _ = found(lambda n: [10.0 if i < 25 else 200.0 for i in range(n)])
    assert n == 38  # 25 x 10 + 13 x 200 = 2850


def test_a_run_of_one_round_says_what_the_next_ones_cost():
    assert found(lambda n: [5.0] * n, budget=17.0, full=1)[0] == 3


def test_bytes_that_differ_in_their_last_digits_are_equal():
    few, many = [1e5 / 7] * 30, [1e5 / 21] * 90
    assert math.fsum(few) != math.fsum(many) and total(few) == total(many)
    assert total([0.5, 0.5]) < total([0.5, 0.51])


# runs


def experiment(folder, **changes):
    (folder / "base.yaml").write_text(yaml.safe_dump(TINY))
    said = {"base": "base.yaml", "axes": {"method": [*COSTS]}, "baseline": "parse", "seeds": [0, 1]}
    (folder / "mine.yaml").write_text(yaml.safe_dump({**said, "equal_bytes": True, **changes}, sort_keys=False))
    return load(folder / "mine.yaml")


def studied(chosen, folder):
    with Sweep(ResultStore(folder), 1, pool=Here) as sweep:
        study = Study(chosen, sweep)
        study.run()
    return study


def test_whole_runs_of_every_row_send_what_the_baseline_sends_to_within_a_round(tmp_path):
    chosen = experiment(tmp_path, settings={"rounds": 4}, seeds=[0])
    study = studied(chosen, tmp_path / "o")
    rows = {dict(labels)["method"]: labels for labels in chosen.combinations()}
    budget = sum(study.outcomes(rows["parse"])[0].bytes)
    for method, labels in rows.items():
        for outcome in study.outcomes(labels):
            sent = sum(outcome.bytes)
            assert outcome.rounds == study.equal_bytes.rounds(labels) == len(outcome.accuracy["a0"])
            assert sent == 0 if method == "local" else budget - max(outcome.bytes) < sent <= budget
    assert [study.equal_bytes.rounds(rows[m]) for m in ("parse", "local")] == [4, 4]
    assert study.equal_bytes.rounds(rows["dsgd-task"]) > 4 < study.equal_bytes.rounds(rows["harmony"])
    again = studied(chosen, tmp_path / "o")
    made = len(study.sweep.made)
    assert again.sweep.said == f"{made} outcomes kept, 0 made"
    assert [table.body for table in again.tables()] == [table.body for table in study.tables()]


def test_runs_that_tune_have_the_rounds_of_their_row(tmp_path):
    tune = {"values": [0.05, 0.1], "seeds": [9], "widen": 1}
    chosen = experiment(tmp_path, settings={"rounds": 6}, tune=tune)
    sweep = Counting()
    study = Study(chosen, sweep)
    study.run()
    rounds = {labels: study.equal_bytes.rounds(labels) for labels in chosen.combinations()}
    assert {dict(labels)["method"]: n for labels, n in rounds.items()} == ROUNDS
    assert {(job.labels, job.rounds) for job in sweep.jobs if not job.traffic} == set(rounds.items())
    assert {job.share for job in sweep.jobs if not job.traffic} == {None, 0.2}
    assert all(job.run().rounds == rounds[job.labels] for job in sweep.jobs if not job.traffic)


class Counting:
    """In place of a sweep: bytes by method, and the jobs that were asked for."""

    def __init__(self, failed=""):
        self.jobs, self.failed = [], failed

    def complete(self, jobs):
        self.jobs += jobs

    def outcome(self, job):
        n = job.run().rounds
        cost = COSTS[dict(job.labels)["method"]]
        value = 0.5 + (job.tuned or 0)
        return Outcome("k", kinds={"a0": "x"}, accuracy={"a0": [value] * n}, bytes=[cost] * n, failed=self.failed)


def test_bytes_are_counted_once_for_a_combination_with_the_first_seed(tmp_path):
    sweep = Counting()
    chosen = experiment(tmp_path, settings={"rounds": 6}, seeds=[3, 4], tune={"values": [0.1, 0.2], "seeds": [9]})
    EqualBytes(chosen, sweep).run()
    assert all(job.traffic and job.engine == "traffic" and job.seed == 3 and job.tuned is None for job in sweep.jobs)
    asked = [(dict(job.labels)["method"], job.run().rounds) for job in sweep.jobs]
    assert sorted(asked) == sorted(
        [("parse", 6), ("local", 6), *(("dsgd-task", n) for n in (6, 12, 13)), *(("harmony", n) for n in (6, 8, 9))]
    )


def test_each_table_has_the_budget_of_its_own_baseline(tmp_path):
    axes = {"length": {"short": {"rounds": 3}, "long": {"rounds": 10}}, "method": ["parse", "dsgd-task"]}
    equal = EqualBytes(chosen := experiment(tmp_path, axes=axes), Counting())
    equal.run()
    assert [equal.rounds(labels) for labels in chosen.combinations()] == [3, 6, 10, 20]


def test_a_row_that_sends_little_has_ten_times_the_rounds_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setitem(COSTS, "harmony", 1e-3)
    sweep = Counting()
    equal = EqualBytes(chosen := experiment(tmp_path, settings={"rounds": 6}), sweep)
    rounds = {dict(labels)["method"]: equal.rounds(labels) for labels in chosen.combinations()}
    assert rounds == ROUNDS | {"harmony": 60} and max(job.run().rounds for job in sweep.jobs) == 60
    assert [dict(each)["method"] for each in chosen.combinations() if equal.capped(each)] == ["harmony"]


def test_a_row_with_a_run_file_of_its_own_has_not_its_rounds(tmp_path):
    (tmp_path / "other.yaml").write_text(yaml.safe_dump({**TINY, "rounds": 9}))
    axes = {
        "method": {
            "parse": None,
            "dsgd-task": {"base": "other.yaml", "method": "dsgd-task"},
            "local": {"base": "other.yaml"},
        }
    }
    equal = EqualBytes(chosen := experiment(tmp_path, axes=axes), Counting())
    assert [equal.rounds(labels) for labels in chosen.combinations()] == [3, 6, 3]


def test_without_it_rows_have_the_rounds_of_the_file_and_nothing_is_counted(tmp_path):
    sweep = Counting()
    equal = EqualBytes(chosen := experiment(tmp_path, equal_bytes=False), sweep)
    equal.run()
    assert [equal.rounds(labels) for labels in chosen.combinations()] == [None] * 4 and not sweep.jobs


def test_a_baseline_that_sends_nothing_and_rows_that_fail_are_one_sentence(tmp_path):
    silent = experiment(tmp_path, baseline="local")
    with pytest.raises(
        ConfigError, match=r"mine\.yaml: equal_bytes: the baseline local sends nothing, which .* of parse;"
    ):
        EqualBytes(silent, Counting()).run()
    alone = EqualBytes(experiment(tmp_path, axes={"method": ["local"]}, baseline="local"), Counting())
    alone.run()
    assert alone.rounds((("method", "local"),)) == 3
    with pytest.raises(P2PError, match=r"mine\.yaml: equal_bytes: parse, seed 0 failed \(no number\)"):
        EqualBytes(experiment(tmp_path), Counting(failed="no number")).run()


def test_faults_are_refused_before_anything_is_run(tmp_path):
    faults = {"faults": [{"kind": "drop", "probability": 0.5}]}
    sweep = Counting()
    axes = {"method": {"parse": None, "local": {"method": "local", **faults}}}
    chosen = experiment(tmp_path, axes=axes, engine="processes")
    with pytest.raises(
        ConfigError, match=r"mine\.yaml: local, seed 0: faults: equal_bytes counts .* leave out faults or equal_bytes$"
    ):
        Study(chosen, sweep).run()
    assert not sweep.jobs
    Study(chosen.model_copy(update={"equal_bytes": False}), sweep).run()
    assert sweep.jobs


GAIN = {"events": [{"round": 2, "agent": "a0", "gain": ["motion"]}]}


def test_what_is_wrong_with_a_row_tells_the_rounds_that_stand_in_no_file(tmp_path):
    chosen = experiment(tmp_path, settings=GAIN)
    parse = chosen.combinations()[0]
    for rounds, said in ((2, "; with equal_bytes this row has rounds: 2"), (None, "")):
        settings = GAIN if rounds else GAIN | {"rounds": 2}
        job = Job(chosen.model_copy(update={"settings": settings}), parse, 0, rounds=rounds)
        with Sweep(ResultStore(tmp_path), 1, pool=Here) as sweep, pytest.raises(P2PError) as raised:
            sweep.complete([job])
        never = "events: round 2 of a0 never comes: rounds is 2"
        assert str(raised.value) == f"{tmp_path / 'mine.yaml'}: parse, seed 0: {never}{said}"


def test_so_does_what_is_wrong_with_its_run_file(tmp_path):
    chosen = experiment(tmp_path)
    with pytest.raises(ConfigError, match=r"mine\.yaml: parse, seed 0: .*rounds.*; with equal_bytes .* rounds: 0$"):
        Job(chosen, chosen.combinations()[0], 0, rounds=0).run()


SHIPPED = load(ROOT / "experiments" / "baselines" / "equal-bytes.yaml")
RIVALS = load(ROOT / "experiments" / "rivals" / "rivals.yaml")
ROWS = {dict(row)["method"]: (chosen, row) for chosen in (RIVALS, SHIPPED) for row in reversed(chosen.combinations())}


@pytest.mark.parametrize("method", ["parse", "harmony", "fedavg", "creamfl", "fedafd", "fedcmi", "fedmosaic"])
def test_runs_that_count_bytes_send_what_runs_that_train_send(method):
    chosen, row = ROWS[method]
    whole = Job(chosen, row, 0, rounds=3)
    quick = traffic_job(chosen, row, 3)
    expected = one(whole.run(), "k", "simulator", [], Path()).bytes
    assert one(quick.run(), "k", quick.engine, quick.measures, Path()).bytes == expected and max(expected) > 0


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("parse", {"exchange": "gradient-tracking"}),
        ("parse", {"exchange": "push-sum"}),
        ("scaffold", {}),
    ],
)
def test_so_do_those_that_send_what_their_gradients_were(method, options):
    axes = {"method": {"parse": {"method": method, "options": options}}}
    chosen = SHIPPED.model_copy(update={"axes": axes, "settings": {**SHIPPED.settings, "dataset": "htad"}})
    [labels] = chosen.combinations()
    quick, whole = traffic_job(chosen, labels, 2), Job(chosen, labels, 0, rounds=2)
    assert quick.run().train.epochs == 1 and quick.run().train.lr < whole.run().train.lr
    assert one(quick.run(), "k", "traffic", [], Path()).bytes == one(whole.run(), "k", "simulator", [], Path()).bytes


def test_so_do_those_with_a_codec_that_halves_what_is_sent(tmp_path):
    sent = {}
    for codec in ("raw", "bf16"):
        chosen = experiment(tmp_path, settings={"codec": codec, "rounds": 2})
        parse = chosen.combinations()[0]
        sent[codec] = one(traffic_job(chosen, parse).run(), "k", "traffic", [], Path()).bytes
        assert sent[codec] == one(Job(chosen, parse, 0).run(), "k", "simulator", [], Path()).bytes
    assert sent["bf16"] == [n / 2 for n in sent["raw"]] and min(sent["bf16"]) > 0


def test_where_only_bytes_are_asked_an_agent_takes_one_step_a_round(monkeypatch):
    steps, step = list[str](), Learner.step

    def counted(self, *given):
        steps.append(self.me)
        return step(self, *given)

    monkeypatch.setattr(Learner, "step", counted)
    long = SHIPPED.model_copy(update={"settings": {**SHIPPED.settings, "train.epochs": 3}})
    _, row = ROWS["parse"]
    job = traffic_job(long, row, 2)
    one(job.run(), "k", job.engine, [], Path())
    assert len(steps) == 2 * 8
    one(Job(SHIPPED, row, 0, rounds=2).run(), "k", "simulator", [], Path())
    assert len(steps) > 2 * 16 * 2


def test_so_does_one_that_gains_a_modality(tmp_path, monkeypatch):
    steps, step = dict[str, list[int]](), Learner.step

    def counted(self, *given):
        steps.setdefault(self.me, []).append(len(self.holder.modalities))
        return step(self, *given)

    monkeypatch.setattr(Learner, "step", counted)
    chosen = experiment(tmp_path, settings=GAIN | {"rounds": 4})
    one(traffic_job(chosen, chosen.combinations()[0]).run(), "k", "traffic", [], Path())
    assert steps["a0"] == [1, 1, 2, 2] and {len(each) for each in steps.values()} == {4}


def test_no_measures_are_asked_of_runs_that_count_bytes(tmp_path):
    chosen = experiment(tmp_path, measures=["agents"])
    labels = chosen.combinations()[0]
    assert (traffic_job(chosen, labels).measures, Job(chosen, labels, 0).measures) == ([], ["agents"])
