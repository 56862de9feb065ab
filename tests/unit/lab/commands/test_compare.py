"""``parse-lab compare`` in processes of its own: interrupted and resumed, and against real agents."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import loaded
import pytest
import running
import yaml
from at_once import Here
from tiny import TINY

from parse_p2p.config import run_file
from parse_p2p.core.errors import ConfigError
from parse_p2p.lab.commands.compare import written
from parse_p2p.lab.experiments.engines import ENGINES, one
from parse_p2p.lab.experiments.experiment import Job, load
from parse_p2p.lab.experiments.experiment_tables import Study
from parse_p2p.lab.experiments.result_store import Outcome, ResultStore
from parse_p2p.lab.experiments.sweep import Sweep, key_of

PROGRAM = [sys.executable, "-c", "from parse_p2p.lab.cli import main; main()", "compare"]
GRID = {
    "base": "base.yaml",
    "axes": {"method": ["parse", "dsgd-task", "local"]},
    "tune": {"values": [0.05, 0.1], "seeds": [100]},
    "seeds": [0, 1],
    "baseline": "parse",
    "equal_bytes": True,
    "target": 0.2,
}


def experiment(folder, base=TINY, **changes):
    (folder / "base.yaml").write_text(yaml.safe_dump(base))
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({**GRID, **changes}))
    return path


@contextmanager
def started(path, out, *arguments):
    """``parse-lab compare`` in a process group of its own, of which nothing is left in the end."""
    words = ["compare", str(path), "--out", str(out), *arguments]
    process = loaded.Command(words, dict(os.environ), loaded.LAB)
    try:
        yield process
    finally:
        running.end(process)


def compared(path, out, *arguments):
    with started(path, out, "--workers", "1", *arguments) as process:
        said, complaint = process.communicate(timeout=150)
        assert process.returncode == 0, complaint
    return said


@pytest.mark.timeout(400)
def test_interrupted_twice_and_resumed_it_ends_with_the_same_tables_as_uninterrupted(tmp_path):
    path = experiment(
        tmp_path, axes={"method": ["parse", "local"]}, seeds=[0, 1, 2, 3]
    )  # enough are left when it is interrupted
    out = tmp_path / "cut"
    for more in (1, 2):
        enough = len(list((out / "outcomes").glob("*.json"))) + more  # a run that was under way has ended too
        with started(path, out, "--workers", "1") as running:
            late = time.monotonic() + 120
            while len(list((out / "outcomes").glob("*.json"))) < enough:
                assert running.returncode is None and time.monotonic() < late, running.communicate(timeout=0)
                time.sleep(0.02)
            os.killpg(running.pid, signal.SIGINT)
            said, complaint = running.communicate(timeout=60)
            assert running.returncode == 130 and "The same command goes on" in said, complaint
    kept = {file.name: file.stat().st_mtime_ns for file in (out / "outcomes").glob("*.json")}
    compared(path, out)
    compared(path, tmp_path / "whole", "--picture")
    assert kept.items() <= {f.name: f.stat().st_mtime_ns for f in (out / "outcomes").glob("*.json")}.items()
    one, other = (without_seconds(folder) for folder in (out, tmp_path / "whole"))
    assert one == other
    assert (tmp_path / "whole" / "curves.svg").read_text().count("<path") > 10
    [page] = (tmp_path / "whole").glob("*.md")
    assert [line.rpartition("]")[2] for line in page.read_text().splitlines() if line.startswith("![")] == [
        "(curves.svg)",
        "(differences.svg)",
    ]


def test_killed_it_leaves_no_process_behind(tmp_path):
    path, out = experiment(tmp_path, base={**TINY, "rounds": 2000}, tune=None), tmp_path / "o"
    running = subprocess.Popen([*PROGRAM, str(path), "--out", str(out), "--workers", "2", "--quiet"],
                               start_new_session=True)  # fmt: skip
    until(lambda: len(children(running.pid)) >= 4)  # a fork server, a tracker of resources and two workers
    started = children(running.pid)
    running.kill()
    running.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started))


def children(pid):
    """All processes below one, by Linux's /proc."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *children(child)]
    return found


def until(condition):
    late = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < late, "it never came"
        time.sleep(0.05)


def without_seconds(folder):
    """All that must not depend on the machine: every outcome, and the tables' cells but for the last column."""
    outcomes = [json.loads(file.read_text()) for file in sorted((folder / "outcomes").glob("*.json"))]
    rows = [line.split(" | ")[:-1] for line in (folder / "tables.md").read_text().splitlines() if line.startswith("|")]
    return [{k: v for k, v in each.items() if k != "seconds"} for each in outcomes], rows


def test_real_processes_give_what_the_simulator_gives(tmp_path):
    path = experiment(tmp_path, axes={"method": ["parse"]}, seeds=[0], tune=None)
    real = load(path).model_copy(update={"engine": "processes"})
    found = []
    for chosen in (load(path), real):
        with Sweep(ResultStore(tmp_path / chosen.engine), 1) as sweep:
            study = Study(chosen, sweep)
            study.run()
        found.append(study.outcomes(chosen.combinations()[0])[0])
    simulated, processes = found
    assert simulated.accuracy == processes.accuracy
    assert simulated.bytes == pytest.approx(processes.bytes)
    assert (simulated.kinds, simulated.parameters) == (processes.kinds, processes.parameters)
    assert len(processes.seconds) == 3 and min(processes.seconds) > 0


def test_training_that_fails_is_an_outcome_and_never_chosen(tmp_path):
    path = experiment(tmp_path, axes={"method": ["local"]}, baseline="local", seeds=[0],
                      tune={"values": [0.1, 1e30], "seeds": [100]})  # fmt: skip
    chosen = load(path)
    with Sweep(ResultStore(tmp_path / "o"), 1) as sweep:
        study = Study(chosen, sweep)
        study.run()
    assert study.tuning.best(chosen.combinations()[0]) == 0.1
    assert sum("loss of agent" in json.loads(f.read_text())["failed"] for f in (tmp_path / "o").glob("*.json")) == 1


def test_a_combination_that_cannot_run_is_one_sentence(tmp_path):
    path = experiment(tmp_path, axes={"method": ["fedavg"]}, baseline="fedavg", tune=None)
    code, said = failed(path, tmp_path / "o")
    assert code == 2
    assert "mine.yaml: fedavg, seed " in said and "coordinator" in said


def test_csv_has_a_line_for_each_agent_and_round_and_a_broken_outcome_names_its_file(tmp_path):
    path = experiment(tmp_path, axes={"method": ["local"]}, baseline="local", tune=None)
    compared(path, tmp_path / "o")
    with (tmp_path / "o" / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 4 * 3
    assert {row["type"] for row in rows} == {"audio", "motion", "audio+motion"}
    assert all(0 <= float(row["accuracy"]) <= 1 for row in rows)
    file = next((tmp_path / "o" / "outcomes").glob("*.json"))
    file.write_text("{")
    code, said = failed(path, tmp_path / "o")
    assert code == 2 and file.name in said.replace("\n", "")


def failed(path, out):
    with started(path, out) as process:
        _, complaint = process.communicate(timeout=150)
        code = process.returncode
    assert "Traceback" not in complaint
    return code, complaint


def test_the_key_of_a_run_knows_what_decides_its_numbers(tmp_path):
    chosen = load(experiment(tmp_path, axes={"method": ["parse"]}, tune=None))
    run = Job(chosen, chosen.combinations()[0], 0).run()
    same = run.model_copy(update={"options": {"branch": 1.0}})
    keys = {
        key_of(run, "simulator", []),
        key_of(run, "processes", []),
        key_of(run, "simulator", ["branches"]),
        key_of(run.model_copy(update={"seed": 1}), "simulator", []),
        key_of(run.model_copy(update={"options": {"branch": 0.3}}), "simulator", []),
    }
    assert len(keys) == 5
    assert same.options and set(ENGINES) == {"simulator", "processes", "traffic"}
    file = tmp_path / "mine.npz"
    named = run.model_copy(update={"dataset": "npz", "data": {"path": str(file)}})
    file.write_bytes(b"one")
    before = key_of(named, "simulator", [])
    run_file.content.cache_clear()
    file.write_bytes(b"two")
    assert key_of(named, "simulator", []) != before
    assert key_of(run.model_copy(update={"name": "other"}), "simulator", []) in keys


def test_results_of_agents_with_own_data_are_kept_by_what_is_in_their_sources(tmp_path):
    schema = {"modalities": {"audio": {"kind": "vector", "shape": [3]}}, "classes": ["a", "b"]}
    raw = {"graph": {"generator": "ring"}, "agents": {"mix": {"audio": 2}}, "dataset": "own", "data_schema": schema}
    data = {"kind": "npz", "path": str(tmp_path / "{id}.npz")}

    def key(text="one", **changes):
        (tmp_path / "a1.npz").write_text(text)
        run_file.content.cache_clear()
        return key_of(run_file.RunFile.model_validate(raw | {"data": data | changes}), "simulator", [])

    assert key() == key() != key("two")
    assert key(target="label") != key()


@pytest.mark.parametrize("part", ["data", "test_data", "common_test", "text", "encoder", "of the agent", "keep"])
def test_what_only_one_agent_says_is_in_the_key(tmp_path, part):
    """The digest that agents compare leaves out an agent's own business, of which its numbers come all the same."""
    schema = {"modalities": {"audio": {"kind": "vector", "shape": [3]}}, "classes": ["a", "b"]}
    (tmp_path / "in").mkdir()

    def key(name, text="one"):
        file = tmp_path / name
        file.write_text(text)
        run_file.content.cache_clear()
        path, more = {"path": str(file)}, dict[str, Any]()
        agent: dict[str, Any] = {"id": "a0", "modalities": ["audio"], "data": {"path": "/a"}}
        arriving = {"path": "/a", "watch": str(tmp_path / "in"), "keep": {"kind": "last", "samples": len(text)}}
        changes: dict[str, dict[str, Any]] = {
            "data": {"data": path},
            "test_data": {"test_data": path},
            "text": {"data": {"path": "/a", "text": {"audio": {"tokenizer": str(file)}}}},
            "encoder": {"encoders": {"audio": {"weights": str(file)}}},
            "of the agent": {"model": {"encoder": {"weights": str(file)}}},
            "keep": {"data": arriving},
        }
        if part == "common_test":
            more = {"common_test": path}
        agents = [agent | changes.get(part, {}), {"id": "a1", "modalities": ["audio"], "data": {"path": "/b"}}]
        raw = {"graph": {"generator": "ring"}, "agents": agents, "dataset": "own", "data_schema": schema} | more
        return key_of(run_file.RunFile.model_validate(raw), "simulator", [])

    before = key("one.npz")
    assert key("one.npz") == before != key("one.npz", "three")
    if part != "keep":
        assert key("copy.npz") == before, "where it lies has no part in it"


def test_a_target_costs_what_it_took_until_it_was_reached():
    outcome = Outcome("k", kinds={"a": "x"}, accuracy={"a": [0.2, 0.4, 0.8]}, bytes=[10, 10, 10], seconds=[1, 1, 1])
    assert outcome.cost_of(0.4) == (2, 20, 2)
    assert outcome.cost_of(0.9) is None


def test_ceilings_are_those_of_an_agents_own_task(tmp_path):
    """Accuracy on a task of its own is no share of the best on all classes."""
    base = {**TINY, "tasks": {"half": {"classes": [list(range(8)), list(range(8, 16))]}},
            "agents": {"mix": {"audio": 2}, "tasks": ["half"]}}  # fmt: skip
    chosen = load(experiment(tmp_path, base, tune=None))
    outcome = one(Job(chosen, chosen.combinations()[0], 0).run(), "k", "simulator", [], Path())
    assert outcome.ceilings == {} and outcome.scores()["all"] <= 1


def test_measures_are_asked_of_the_agents(tmp_path):
    chosen = load(experiment(tmp_path, measures=["branches", "agents"], tune=None))
    outcome = one(Job(chosen, chosen.combinations()[0], 0).run(), "k", "simulator", chosen.measures, Path())
    assert outcome.measures["a0"] == outcome.accuracy["a0"][-1]
    assert 0 <= outcome.measures["audio+motion without synergistic"] <= 1


def test_a_page_names_its_file_as_one_would_type_it(tmp_path, monkeypatch):
    inside = tmp_path / "questions" / "mine"
    inside.mkdir(parents=True)
    chosen = load(experiment(inside, axes={"method": ["local"]}, baseline="local", tune=None, seeds=[0]))
    with Sweep(ResultStore(tmp_path / "o"), 1, pool=Here) as sweep:
        study = Study(chosen, sweep)
        study.run()
    for folder, name in (
        (tmp_path, "questions/mine/mine.yaml"),
        (inside, "mine.yaml"),
        (tmp_path / "o", "mine/mine.yaml"),
    ):
        monkeypatch.chdir(folder)
        assert f"`parse-lab compare {name}`" in "\n".join(written(study, []))


def test_a_column_that_no_row_has_is_refused_and_one_that_some_have_stands_where_they_are(tmp_path):
    axes = {"data": {"whole": {}, "shifting": {"stream": {"tasks": 2, "groups": 1, "rounds": 1}}}, "method": ["local"]}
    path = experiment(tmp_path, {**TINY, "rounds": 2}, axes=axes, baseline="local", tune=None, columns=["others"])
    chosen = load(path)
    with Sweep(ResultStore(tmp_path / "o"), 1) as sweep:
        study = Study(chosen, sweep)
        study.run()
    assert {table.common["data"] for table in study.tables() if "others" in table.head} == {"shifting"}
    wrong = Study(chosen.model_copy(update={"columns": ["other"]}), sweep)
    with pytest.raises(ConfigError, match=r"no row has 'other'.*others"):
        list(wrong.tables())
