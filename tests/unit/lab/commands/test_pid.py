"""``parse-lab pid`` on the folders of runs."""

import json

import numpy as np
import plans
import pytest
from typer.testing import CliRunner

from parse_p2p.core.errors import ConfigError
from parse_p2p.lab.analysis import load_checkpoints
from parse_p2p.lab.cli import app
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.runtime import checkpoint
from parse_p2p.runtime.simulator import simulate


def left(plan, path, rounds=(1, 2), of=None):
    """The folder that a run leaves: checkpoints of some rounds, of all agents or some."""
    folder = RunFolder(path)
    folder.write(plan.run)
    agent_states = plan.agent_states()
    kept = {me: rounds for me in plan.peers} | (of or {})

    def watch(round, metrics, ledger):
        for p in agent_states:
            if round + 1 in kept.get(p.me, ()):
                checkpoint.save(folder.checkpoints(p.me), round + 1, p.state(), 9)

    simulate(agent_states, plan.run.rounds, watch=watch)
    return agent_states


def called(*arguments):
    return CliRunner().invoke(app, ["pid", *map(str, arguments)], catch_exceptions=True)


def refused(*arguments):
    result = called(*arguments)
    assert isinstance(result.exception, ConfigError), result.output
    return str(result.exception)


def small(**changes):
    return plans.plan({"audio": 1, "motion": 1, "audio+motion": 2}, **{"rounds": 2} | changes)


def test_tables_are_printed_and_the_records_written(tmp_path):
    left(small(), tmp_path)
    result = called(tmp_path, "--k", 4, "--every", 1)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "pid.json").read_text())
    assert found["k"] == 4 and found["rounds"] == [1, 2]
    assert {r["round"] for r in found["slice_pid"]} == {1, 2} and len(found["notes"]) == 1
    for said in ("after 2 rounds", "synergistic", "audio | motion", "trunk.audio", "test samples are few"):
        assert said in result.output
    assert "…" not in result.output  # nothing is cut off where there is no terminal


def test_brackets_in_names_are_no_markup(tmp_path):
    """Modalities and files may be called anything."""
    draw = np.random.default_rng(0)
    sources = {name: draw.normal(size=(160, 3)) for name in ("[red]x", "[b]y")}
    np.savez(tmp_path / "some.npz", y=draw.integers(0, 2, 160), **sources)
    plan = plans.plan({"[red]x+[b]y": 2}, dataset="npz", data={"path": tmp_path / "some.npz"}, rounds=1)
    left(plan, tmp_path / "[dim]run", rounds=(1,))
    result = called(tmp_path / "[dim]run", "--k", 2)
    assert result.exit_code == 0, result.output
    for said in ("[b]y | [red]x", "trunk.[red]x", "[dim]run/pid.json"):
        assert said in result.output


def test_agents_are_restored_as_they_were(tmp_path):
    agent_states = left(small(), tmp_path)
    folder = RunFolder(tmp_path)
    plan = folder.open()
    found = load_checkpoints.learners(plan, folder, 2)
    for p in agent_states:
        assert found[p.me].evaluate() == p.learner.evaluate()


def test_the_newest_round_that_all_have_is_taken(tmp_path):
    left(small(rounds=3), tmp_path, rounds=(1, 2, 3), of={"a1": (1, 2)})
    out = tmp_path / "there.json"
    assert called(tmp_path, "--k", 4, "--json", out).exit_code == 0
    assert json.loads(out.read_text())["rounds"] == [2] and not (tmp_path / "pid.json").exists()


def test_a_run_on_several_hosts_names_whose_checkpoints_are_missing(tmp_path):
    left(small(), tmp_path, of={"a1": ()})
    assert "has no checkpoints of a1: copy agents/a1 here" in refused(tmp_path)
    result = called(tmp_path, "--round", 2, "--k", 4)
    assert result.exit_code == 0 and "a1 left no checkpoint of round 2" in result.output


def test_agents_that_share_no_round_are_reported(tmp_path):
    left(small(), tmp_path, rounds=(2,), of={"a1": (1,)})
    assert "no round that every agent left a checkpoint of (a1 stopped at 1)" in refused(tmp_path)


def test_what_is_not_there_is_refused_in_a_sentence(tmp_path):
    assert "there is no run in" in refused(tmp_path)
    left(small(), tmp_path)
    assert "no checkpoint of round 7: there are 1 to 2" in refused(tmp_path, "--round", 7)
    assert "No such file" in refused(tmp_path, "--k", 4, "--json", tmp_path / "no" / "where.json")


@pytest.mark.parametrize("changes", [{"method": "fedavg"}, {"method": "local"}, {"weights": "uniform"}])
def test_other_methods_are_looked_at_likewise(tmp_path, changes):
    left(small(**changes), tmp_path)
    result = called(tmp_path, "--k", 4)
    assert result.exit_code == 0, result.exception
    assert json.loads((tmp_path / "pid.json").read_text())["dataset_pid"]


def test_who_leaves_and_who_gains_are_looked_at_as_they_were(tmp_path):
    plain = small()
    one, *_, other = sorted(plain.peers, key=plain.kind)
    assert (plain.kind(one), plain.kind(other)) == ("audio", "motion")
    events = [{"round": 1, "agent": other, "leave": True}, {"round": 2, "agent": one, "gain": ["motion"]}]
    left(small(rounds=3, events=events), tmp_path, rounds=(1, 2, 3), of={other: (1,)})
    folder = RunFolder(tmp_path)
    plan = folder.open()
    assert load_checkpoints.common_rounds(plan, folder) == [1, 2, 3]
    assert called(tmp_path, "--k", 4, "--every", 1).exit_code == 0
    records = json.loads((tmp_path / "pid.json").read_text())["slice_info"]
    assert {(r["round"], r["type"]) for r in records if r["agent"] == one} == {
        (1, "audio"), (2, "audio"), (3, "audio+motion")
    }  # fmt: skip
    assert {r["round"] for r in records if r["agent"] == other} == {1}
