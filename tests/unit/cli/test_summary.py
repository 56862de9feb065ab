"""``parse-agent summary``: as a table that fits, and as JSON with nothing beside it."""

import json

import numpy as np
import plans
import pytest
from rich.console import Console

import parse_p2p
from parse_p2p.cli import run_summary
from parse_p2p.cli.progress import RunView
from parse_p2p.core.event_log import EventLog
from parse_p2p.core.events import Round
from parse_p2p.lab.experiments.recorded_simulation import record
from parse_p2p.launch.results import Summary, TypeSummary
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.launch.run_history import ArrivalSummary, RunHistory


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run of two rounds."""
    path = tmp_path_factory.mktemp("finished") / "run"
    record(plans.plan({"audio": 1, "motion": 1}, rounds=2), RunFolder(path), lambda *arguments: None)
    return path


@pytest.fixture
def half(folder, tmp_path):
    """The same run, of which one agent's log is elsewhere."""
    for file in folder.rglob("*"):
        if file.is_file() and file.suffix in (".yaml", ".jsonl") and "a1" not in file.parts:
            target = tmp_path / "half" / file.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    return tmp_path / "half"


def test_json_is_all_there_is_and_its_keys_are_stable(folder, agent):
    code, out, err = agent("summary", folder, "--json")
    said = json.loads(out)
    assert (code, err) == (0, "")
    numbers = ["types", "bytes_per_round", "bytes_total", "seconds"]
    assert list(said) == ["run", "method", "rounds", *numbers, "by_agent", "missing"]
    assert (said["run"], said["method"], said["rounds"], said["missing"]) == (str(folder), "parse", 2, {})
    assert list(said["types"][0]) == [
        "type",
        "agents",
        "mean",
        "std",
        "worst",
        "worst_agent",
        "alone",
        "alone_std",
        "ceiling",
    ]
    assert [row["type"] for row in said["types"]] == ["audio", "motion"] and said["types"][0]["alone"] is not None


def test_json_after_waiting_is_no_less_alone(folder, agent):
    code, out, err = agent("summary", folder, "--json", "--wait", "--no-alone")
    assert (code, err) == (0, "") and json.loads(out)["types"][0]["alone"] is None


def test_who_has_not_come_to_an_end_is_missing_by_name(half, agent):
    code, out, err = agent("summary", half, "--json", "--no-alone")
    assert (code, err) == (1, "") and json.loads(out)["missing"] == {"a1": "has logged nothing here"}
    code, out, err = agent("summary", half, "--no-alone")
    assert code == 1 and out.endswith("a1 has logged nothing here\n")


def test_a_run_of_samples_that_were_in_memory_is_not_trained_again(agent, tmp_path):
    arrays = {"x": np.zeros((40, 3), np.float32), "y": np.arange(40) % 2}
    parse_p2p.run("ring:3", data=arrays, rounds=1, folder=tmp_path / "run")
    code, out, err = agent("summary", tmp_path / "run", "--json")
    assert (code, err) == (0, "") and json.loads(out)["types"][0]["alone"] is None
    kept = (tmp_path / "run" / "run.yaml").read_text()
    for more in ((), ("--resume", "--out", tmp_path / "run", "--rounds", 3)):
        code, out, err = agent("--topology", tmp_path / "run" / "run.yaml", *more)
        assert code == 2 and err == "error: dataset: its samples were in the memory of a notebook: run it there again\n"
    assert (tmp_path / "run" / "run.yaml").read_text() == kept, "and what was run is still known"
    code, out, err = agent("check", tmp_path / "run" / "run.yaml")
    assert code == 2 and "dataset: its samples were in the memory of a notebook: run it there again" in err


def test_a_folder_without_a_run_is_refused_without_json(agent, tmp_path):
    code, out, err = agent("summary", tmp_path, "--json")
    assert (code, out) == (2, "") and err.startswith(f"error: there is no run in {tmp_path}")


@pytest.mark.parametrize("first", [0, 1])
def test_bytes_are_of_the_rounds_that_were_run(folder, tmp_path, first):
    plan = RunFolder(folder).open()
    history = RunHistory.of(plan, RunFolder(folder))
    list(history.read())
    view = RunView(history, plan.run.rounds, first)
    found = run_summary.conclude(plan, RunFolder(tmp_path), view, 1.0, alone=False, quiet=True, keep=False)
    assert found.rounds == 2 - first and found.bytes_per_round == found.bytes_total / 2 / found.rounds
    assert not RunFolder(tmp_path).summary.exists()


def test_what_was_before_a_stop_is_in_the_summary_too(tmp_path):
    plan, folder = plans.plan({"audio": 2}, rounds=2, early_stopping={}), RunFolder(tmp_path)
    log = EventLog("a0", folder.events("a0"))
    log.write(Round(round=0, accuracy=0.5, validation=0.8, validation_loss=1, arriving=10, arrived={"accuracy": 0.2}))
    history = RunHistory.of(plan, folder)
    history.skip()
    log.write(Round(round=1, accuracy=0.6, validation=0.7, validation_loss=2, arriving=30, arrived={"accuracy": 0.6}))
    log.close()
    list(history.read())
    view = RunView(history, 2, 1)
    found = run_summary.conclude(plan, folder, view, 1.0, alone=False, quiet=True, keep=False)
    assert found.arrived == {"a0": ArrivalSummary(40, pytest.approx(0.5), 0)}
    assert found.chosen["a0"]["round"] == 0 and found.chosen["a0"]["accuracy"] == 0.5


def test_the_summary_is_kept_where_all_are_at_their_end(agent, folder, half):
    for run in (folder, half):
        RunFolder(run).summary.unlink(missing_ok=True)
        agent("summary", run, "--no-alone")
    assert json.loads(RunFolder(folder).summary.read_text())["method"] == "parse"
    assert not RunFolder(half).summary.exists()


def test_agents_that_train_alone_anyway_are_not_trained_again(agent, tmp_path):
    run = RunFolder(tmp_path / "run")
    record(plans.plan({"audio": 1, "motion": 1}, rounds=2, method="local"), run, lambda *arguments: None)
    assert [row["alone"] for row in json.loads(agent("summary", run.path, "--json")[1])["types"]] == [None, None]


ROWS = [TypeSummary("audio", 3, 0.75, 0.01, 0.7, "a0", 0.5, 0.02, None),
        TypeSummary("audio+motion", 2, 0.85, 0.01, 0.8, "a12", 0.5, 0.02, 0.9)]  # fmt: skip


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100])
def test_the_table_keeps_its_lines_in_a_narrow_terminal(width, capsys):
    Console(width=width).print(run_summary.table(Summary("parse", 20, ROWS, 1.0, 20, 3.0)))
    head, first, second = capsys.readouterr().out.splitlines()
    assert (
        "parse" in head and "0.750 ± 0.010" in first and "0.850 ± 0.010" in second and "…" not in head + first + second
    )
    assert ("gain" in head) == ("+0.250" in first) == (width >= 40)
    assert ("ceiling" in head) == ("0.900" in second) == (width >= 80)
