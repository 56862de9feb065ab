"""Values are chosen by training samples that are kept for it, and grids that are too narrow go on."""

from importlib.util import find_spec

import numpy as np
import plans
import pytest
import torch
import yaml
from paths import ROOT

from parse_p2p.config.run_file import RunFile
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.errors import ConfigError
from parse_p2p.data.base import Dataset, fingerprint
from parse_p2p.lab.experiments.experiment import load, tuning_jobs
from parse_p2p.lab.experiments.result_store import Outcome
from parse_p2p.lab.experiments.tuning import Tuning, beyond, numbers
from parse_p2p.lab.experiments.tuning_plan import TuningPlan, cut

BASE = {"graph": {"generator": "ring"}, "agents": {"mix": {"audio": 2, "motion": 2}}, "rounds": 2}


class Scored:
    """In place of a sweep: what a run comes to is a function of its labels and value."""

    def __init__(self, score):
        self.score, self.run = score, []

    def complete(self, jobs):
        self.run += [(dict(job.labels)["method"], job.tuned, job.seed, job.share) for job in jobs]

    def outcome(self, job):
        value = self.score(dict(job.labels)["method"], job.tuned)
        if value is None:
            return Outcome("k", failed="the loss is no number")
        return Outcome("k", kinds={"a0": "audio"}, accuracy={"a0": [value]}, bytes=[0.0])


def tuned(tmp_path, score, values=(0.1, 0.2), **changes):
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(BASE))
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({
        "base": "base.yaml", "axes": {"method": ["parse", "local"]}, "baseline": "parse",
        "tune": {"values": list(values), "seeds": [9]} | changes,
    }))  # fmt: skip
    experiment = load(tmp_path / "mine.yaml")
    sweep = Scored(score)
    tuning = Tuning(experiment, sweep)
    tuning.run()
    found = {dict(labels)["method"]: labels for labels in experiment.combinations()}
    return tuning, found, sweep


def peak(at):
    """A score that is highest at a value."""
    return lambda method, value: 1 / (1 + abs(value - at))


def test_a_best_value_on_the_edge_widens_the_grid_of_its_row_alone(tmp_path):
    tuning, rows, sweep = tuned(tmp_path, lambda m, v: peak(0.4 if m == "parse" else 0.2)(m, v), (0.05, 0.1, 0.2))
    assert {m: (tuning.best(labels), tuning.edge(labels)) for m, labels in rows.items()} == {
        "parse": (0.4, ""),
        "local": (0.2, ""),
    }
    tried = {m: sorted({v for name, v, _, _ in sweep.run if name == m}) for m in rows}
    assert tried == {"parse": [0.05, 0.1, 0.2, 0.4, 0.8], "local": [0.05, 0.1, 0.2, 0.4]}
    assert {(seed, share) for _, _, seed, share in sweep.run} == {(9, 0.2)}
    assert tuning.added() == [0.4, 0.8]


@pytest.mark.parametrize(
    ("at", "widen", "best", "edge", "added"),
    [
        (100, 2, 0.8, "highest", [0.4, 0.8]),
        (0, 2, 0.025, "lowest", [0.025, 0.05]),
        (100, 0, 0.2, "highest", []),
        (0.15, 2, 0.1, "", [0.05]),
    ],
)
def test_it_goes_on_so_often_on_a_side_and_then_says_that_it_is_the_edge(tmp_path, at, widen, best, edge, added):
    tuning, rows, _ = tuned(tmp_path, peak(at), widen=widen)
    assert (tuning.best(rows["parse"]), tuning.edge(rows["parse"]), tuning.added()) == (best, edge, added)


def test_values_that_no_run_can_have_are_not_tried_and_the_edge_is_said(tmp_path):
    tuning, rows, _ = tuned(tmp_path, peak(0.9), key="early_stopping.validation", values=(0.5, 0.9))
    assert (tuning.best(rows["local"]), tuning.edge(rows["local"]), tuning.added()) == (0.9, "highest", [])


def test_training_that_fails_is_never_the_best_and_so_the_last_before_it_is_no_edge(tmp_path):
    tuning, rows, _ = tuned(tmp_path, lambda m, v: v if v < 0.3 else None)
    assert (tuning.best(rows["parse"]), tuning.edge(rows["parse"])) == (0.2, "")


def test_training_that_fails_is_behind_any_score_there_is(tmp_path):
    tuning, rows, _ = tuned(tmp_path, lambda m, v: -2.0 if v < 0.15 else None, (0.2, 0.1), widen=0)
    assert tuning.best(rows["parse"]) == 0.1


def test_words_have_no_edge_and_of_equals_the_first_is_taken(tmp_path):
    tuning, rows, sweep = tuned(tmp_path, lambda m, v: 0.5, ("cosine", "constant"), key="train.schedule")
    assert (tuning.best(rows["parse"]), tuning.edge(rows["parse"])) == ("cosine", "") and len(sweep.run) == 4


def test_a_single_value_is_given_and_not_tuned(tmp_path):
    tuning, rows, sweep = tuned(tmp_path, peak(1), (0.3,))
    assert (tuning.best(rows["parse"]), tuning.edge(rows["parse"]), sweep.run) == (0.3, "", [])


@pytest.mark.parametrize(
    ("ordered", "low", "high"),
    [
        ([0.02, 0.05, 0.1, 0.2], 0.008, 0.4),
        ([1, 2, 4], None, 8),
        ([3, 9], 1, 27),
        ([2.0, 3.0], 1.33333, 4.5),
        ([0.0, 1.0, 3.0], None, 9.0),
        ([0.0, 1.0], None, None),
        ([-1.0, 1.0], None, None),
        ([-4.0, -2.0], -8.0, -1.0),
    ],
)
def test_the_next_value_is_by_the_ratio_of_the_two_outermost(ordered, low, high):
    assert (beyond(ordered, False), beyond(ordered, True)) == (low, high)
    assert all(type(x) is type(ordered[0]) for x in (low, high) if x is not None)


def test_only_numbers_are_in_an_order():
    assert (numbers([0.2, 0.1]), numbers([1, 0, -1])) == ([0.1, 0.2], [-1, 0, 1])
    assert [numbers(v) for v in ([True, False], ["a", "b"], [1], [1, None])] == [[]] * 4


@pytest.mark.parametrize(
    ("at", "best", "edge", "added"), [(0, 0, "", []), (100, 8.0, "highest", [4.0, 8.0]), (1, 1.0, "", [])]
)
def test_a_grid_with_nothing_in_it_has_an_edge_at_its_other_end_alone(tmp_path, at, best, edge, added):
    tuning, rows, _ = tuned(tmp_path, peak(at), (0.0, 1.0, 2.0), key="options.orthogonal")
    assert (tuning.best(rows["parse"]), tuning.edge(rows["parse"]), tuning.added()) == (best, edge, added)


# what a run that tunes sees


def rows(data):
    """Each sample as text, whatever its scale."""
    order = data.inputs["audio"]
    return {(tuple(row.tolist()), int(y)) for row, y in zip(order, data.targets, strict=True)}


@pytest.mark.parametrize("changes", [{}, {"partition": {"kind": "dirichlet", "alpha": 0.1}}])
def test_the_test_set_is_not_there_and_what_is_kept_is_not_trained_on(changes):
    whole = plans.plan({"audio": 3}, **changes)
    plan = TuningPlan(whole.run, 0.25)
    everything = {me: whole.share(me) for me in whole.peers}
    held, shares = plan.share(whole.peers[0])[1], [plan.share(me)[0] for me in whole.peers]
    assert all(fingerprint([plan.share(me)[1]]) == fingerprint([held]) for me in plan.peers), "a set for all"
    before = set.union(*(rows(train) for train, _ in everything.values()))
    now = set.union(*map(rows, shares))
    assert now | rows(held) == before and not now & rows(held)
    assert not rows(everything[whole.peers[0]][1]) & (now | rows(held))
    total = sum(len(train) for train, _ in everything.values())
    assert sum(map(len, shares)) + len(held) == total and len(held) == pytest.approx(total / 4, abs=8)


def test_of_a_stream_and_of_tasks_too_nothing_of_the_test_set_is_there():
    stream = {"tasks": 2, "groups": 1, "rounds": 2, "shift": 0.0, "relabel": False}
    whole = plans.plan({"audio": 2}, stream=stream)
    found = TuningPlan(whole.run, 0.25).tasks(whole.peers[0])
    tested = {row for row, _ in rows(whole.share(whole.peers[0])[1])}
    assert not tested & {row for row, _ in rows(found.own)}
    assert not tested & {row for part in found.tasks for row, _ in rows(part)}


def test_it_is_drawn_by_the_seed_and_the_same_for_every_method():
    run = plans.plan({"audio": 2}).run.model_copy(update={"fingerprint": None, "data_schema": None})

    def kept(**changes):
        plan = TuningPlan(run.model_copy(update=changes), 0.25)
        return fingerprint([plan.share(plan.peers[0])[1]])

    assert kept() == kept() == kept(method="local") != kept(seed=1)


def test_of_agents_with_own_data_each_keeps_some_of_its_own(tmp_path):
    rng = np.random.default_rng(0)
    for me in ("a0", "a1"):
        np.savez(tmp_path / f"{me}.npz", audio=rng.normal(size=(60, 3)).astype("float32"), label=np.arange(60) % 2)
    schema = {"modalities": {"audio": {"kind": "vector", "shape": [3]}}, "classes": ["0", "1"]}
    run = RunFile.model_validate({
        "graph": {"generator": "ring"}, "agents": {"mix": {"audio": 2}}, "dataset": "own", "data_schema": schema,
        "data": {"kind": "npz", "path": str(tmp_path / "{id}.npz"), "target": "label"}, "rounds": 1,
    })  # fmt: skip
    whole, plan = RunPlan(run), TuningPlan(run, 0.2)
    for me in plan.peers:
        train, test = whole.share(me)
        fewer, held = plan.share(me)
        assert rows(fewer) | rows(held) == rows(train) and not rows(held) & (rows(test) | rows(fewer))
        assert len(held) == pytest.approx(len(train) / 5, abs=1)


@pytest.mark.parametrize("how", [{"test_by": "group"}, {"test_groups": ("9",)}])
def test_whole_clients_are_kept_where_whole_ones_are_tested(how):
    groups = torch.arange(80) % 8
    data = Dataset("people", {"audio": torch.randn(80, 3)}, torch.arange(80) // 8 % 2, 2, groups=groups)
    run = plans.plan({"audio": 2}).run.model_copy(update=how)
    for share, count in ((0.01, 1), (0.25, 2), (0.99, 7)):
        train, held = cut(run, data, share, "all agents")
        assert len(set(held.groups.tolist())) == count, "at least one, and never all"
        assert not set(held.groups.tolist()) & set(train.groups.tolist()) and len(train) + len(held) == 80
    one = data.select((groups == 3).nonzero()[:, 0])
    assert len(cut(run, one, 0.2, "agent a0")[1]) == 2, "of a single client samples"


def test_which_samples_are_kept_is_drawn_by_the_seed_and_by_whose_they_are():
    data = Dataset("some", {"audio": torch.randn(40, 3)}, torch.arange(40) % 2, 2)
    run = plans.plan({"audio": 2}).run

    def kept(whose="agent a0", **changes):
        return fingerprint([cut(run.model_copy(update=changes), data, 0.25, whose)[1]])

    assert kept() == kept() and len({kept(), kept("agent a1"), kept(seed=run.seed + 1)}) == 3


def test_a_coordinator_keeps_all_that_it_has(tmp_path):
    rng = np.random.default_rng(0)
    agents = [{"id": me, "modalities": ["audio"], "role": role, "data": {"path": str(tmp_path / f"{me}.npz")}}
              for me, role in (("a0", "peer"), ("a1", "peer"), ("hub", "coordinator"))]  # fmt: skip
    for each in agents:
        np.savez(each["data"]["path"], audio=rng.normal(size=(60, 3)).astype("float32"), label=np.arange(60) % 2)
    schema = {"modalities": {"audio": {"kind": "vector", "shape": [3]}}, "classes": ["0", "1"]}
    run = RunFile.model_validate({
        "agents": agents, "dataset": "own", "data_schema": schema, "method": "fedavg", "rounds": 1,
        "data": {"kind": "npz", "target": "label"}, "graph": {"generator": "star"},
    })  # fmt: skip
    whole, plan = RunPlan(run), TuningPlan(run, 0.2)
    assert list(map(len, plan.share("hub"))) == list(map(len, whole.share("hub")))
    assert len(plan.share("a0")[0]) < len(whole.share("a0")[0])


def test_of_a_common_test_set_nothing_is_seen(tmp_path):
    rng = np.random.default_rng(0)
    for me in ("a0", "a1", "all"):
        np.savez(tmp_path / f"{me}.npz", audio=rng.normal(size=(60, 3)).astype("float32"), label=np.arange(60) % 2)
    schema = {"modalities": {"audio": {"kind": "vector", "shape": [3]}}, "classes": ["0", "1"]}
    run = RunFile.model_validate({
        "graph": {"generator": "ring"}, "agents": {"mix": {"audio": 2}}, "dataset": "own", "data_schema": schema,
        "data": {"kind": "npz", "path": str(tmp_path / "{id}.npz"), "target": "label"}, "rounds": 1,
        "common_test": {"path": str(tmp_path / "all.npz")},
    })  # fmt: skip
    assert len(RunPlan(run).agent_states()[0].learner.common) == 60
    assert all(state.learner.common is None for state in TuningPlan(run, 0.2).agent_states())


@pytest.mark.skipif(find_spec("seglearn") is None, reason="its package is not installed")
def test_people_are_enough_for_the_agents_when_some_are_kept_to_tune_by():
    chosen = load(ROOT / "experiments" / "rivals" / "people.yaml")
    [job, *_] = tuning_jobs(chosen, chosen.combinations()[0], chosen.tune.values[0])
    assert len(TuningPlan(job.run(), job.share).peers) == 6


def test_too_few_samples_are_one_sentence():
    run = plans.plan({"audio": 2}).run
    with pytest.raises(ConfigError, match=r"tune\.share: 0\.001 of the \d+ training samples of all agents leaves none"):
        TuningPlan(run, 0.001)
