"""Outcomes are kept under the run and the code that made them; other code makes them anew and leaves them there."""

import sys
from functools import cache

import pytest
import yaml
from at_once import Here

from parse_p2p.core.errors import ConfigError
from parse_p2p.lab.experiments import code_digest
from parse_p2p.lab.experiments.experiment import jobs, load, tuning_jobs
from parse_p2p.lab.experiments.result_store import Outcome, ResultStore
from parse_p2p.lab.experiments.sweep import Sweep, _by_this_code

TRAIN = {"batch": 16, "lr": 0.3}
BASE = {
    "graph": {"generator": "ring"},
    "agents": {"mix": {"audio": 2}},
    "dataset": "bits",
    "data": {"samples": 320},
    "model": {"latent": 8, "hidden": 8, "encoder": {"width": 8, "depth": 1}},
    "rounds": 3,
}
SCHEDULE = """
from parse_p2p.learning.schedules.base import Schedule

class Mine(Schedule):
    def rate(self, full, round, rounds):
        '''Words.'''
        return full * 1.0

SCHEDULE = Mine
"""


def experiment(folder, **train):
    (folder / "base.yaml").write_text(yaml.safe_dump(BASE | {"train": TRAIN | train}))
    (folder / "mine.yaml").write_text(yaml.safe_dump({
        "base": "base.yaml", "axes": {"method": ["local"]}, "baseline": "local", "seeds": [0],
        "tune": {"values": [0.1, 0.3], "seeds": [9], "share": 0.4},
    }))  # fmt: skip
    return load(folder / "mine.yaml")


def swept(chosen, folder):
    with Sweep(ResultStore(folder), 1, pool=Here) as sweep:
        [job] = jobs(chosen, chosen.combinations(), [0])
        sweep.complete([job])
        return sweep, sweep.outcome(job)


@pytest.fixture
def schedule(tmp_path, monkeypatch):
    """Write a schedule of one's own, as another process would find it."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(text):
        (tmp_path / "ownschedule").mkdir(exist_ok=True)
        (tmp_path / "ownschedule" / "falling.py").write_text(text)
        for name in [name for name in sys.modules if name.startswith("ownschedule")]:
            del sys.modules[name]
        code_digest.look_again()
        sys.path_importer_cache.clear()

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield write
    write("")


def test_a_changed_plug_in_is_run_anew_and_what_it_was_is_left(tmp_path, schedule):
    schedule(SCHEDULE)
    chosen, out = experiment(tmp_path, schedule="ownschedule.falling"), tmp_path / "o"
    first, before = swept(chosen, out)
    assert first.said == "0 outcomes kept, 1 made"
    assert swept(chosen, out)[0].said == "1 outcomes kept, 0 made"
    schedule(SCHEDULE.replace("Words", "Other words"))
    assert swept(chosen, out)[0].said == "1 outcomes kept, 0 made"
    schedule(SCHEDULE.replace("1.0", "0.1"))
    changed, after = swept(chosen, out)
    assert changed.said == "0 outcomes kept, 1 made, 1 of these anew because the code has changed"
    assert after.accuracy != before.accuracy and len(list(out.glob("*.json"))) == 2
    schedule(SCHEDULE)
    again, back = swept(chosen, out)
    assert again.said == "1 outcomes kept, 0 made" and back == before


def test_the_packages_own_code_counts_too(tmp_path, monkeypatch):
    chosen, out = experiment(tmp_path), tmp_path / "o"
    swept(chosen, out)
    monkeypatch.setattr(code_digest, "package", cache(lambda: "another method"))
    assert "1 of these anew" in swept(chosen, out)[0].said


def test_an_outcome_of_a_version_that_knew_no_code_is_not_read(tmp_path):
    chosen, out = experiment(tmp_path), tmp_path / "o"
    _, outcome = swept(chosen, out)
    run = outcome.key.partition("-")[0]
    (out / f"{outcome.key}.json").rename(out / f"{run}.json")
    assert swept(chosen, out)[0].said == "0 outcomes kept, 1 made" and (out / f"{run}.json").exists()


def test_a_worker_with_other_code_runs_nothing(tmp_path, monkeypatch):
    chosen = experiment(tmp_path)
    [job] = jobs(chosen, chosen.combinations(), [0])
    key = Sweep(ResultStore(tmp_path), 1).key(job)
    monkeypatch.setattr(code_digest, "package", cache(lambda: "what the node has"))
    with pytest.raises(ConfigError, match="the code here is not that of the command that began"):
        _by_this_code(key, job.run(), "simulator", [], tmp_path, None)


def test_code_that_changes_while_it_runs_makes_no_outcome(tmp_path, schedule, monkeypatch):
    schedule(SCHEDULE)
    chosen = experiment(tmp_path, schedule="ownschedule.falling")
    [job] = jobs(chosen, chosen.combinations(), [0])
    key = Sweep(ResultStore(tmp_path), 1).key(job)

    def edited(*_):
        (tmp_path / "ownschedule" / "falling.py").write_text(SCHEDULE.replace("1.0", "0.25"))

    monkeypatch.setattr("parse_p2p.lab.experiments.sweep.one", edited)
    with pytest.raises(ConfigError, match="it changed meanwhile"):
        _by_this_code(key, job.run(), "simulator", [], tmp_path, None)


def test_runs_that_tune_are_others_and_see_other_samples(tmp_path):
    chosen = experiment(tmp_path)
    [labels] = chosen.combinations()
    [reported] = jobs(chosen, [labels], [9], 0.3)
    [tuning] = tuning_jobs(chosen, labels, 0.3)
    assert tuning.run() == reported.run()
    with Sweep(ResultStore(tmp_path / "o"), 1, pool=Here) as sweep:
        sweep.complete([reported, tuning])
        assert len(sweep.made) == 2
        assert sweep.outcome(reported).accuracy != sweep.outcome(tuning).accuracy


def test_what_is_made_in_one_batch_is_no_kept_one_in_the_next(tmp_path):
    chosen = experiment(tmp_path)
    wanted = jobs(chosen, chosen.combinations(), [0])
    ResultStore(tmp_path / "o").put(Outcome(Sweep(ResultStore(tmp_path), 1).key(wanted[0])))
    seen = []
    with Sweep(ResultStore(tmp_path / "o"), 1, lambda done, of: seen.append((done, of)), Here) as sweep:
        sweep.complete(wanted)
        assert seen == []
        sweep.complete([*wanted, *jobs(chosen, chosen.combinations(), [1])])
        sweep.complete([*wanted, *jobs(chosen, chosen.combinations(), [1])])
    assert sweep.said == "1 outcomes kept, 1 made" and seen == [(0, 1), (1, 1)]
