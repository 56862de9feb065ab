"""Samples that arrive while processes run: as in the simulator, through kills, and for everybody to see."""

import json
import os
import signal

import arriving
import pytest
import running

from parse_p2p.config import run_file
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.lab.experiments.recorded_simulation import record
from parse_p2p.lab.report.run_data import RunData
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.transports.memory import MemoryNetwork, MemoryTransport

SLOW = {"kind": "delay", "seconds": 0.15}


def refused(out, me):
    return [(event["file"], event["why"]) for event in running.events(out, me, "arrival-refused")]


def test_a_file_dropped_while_agents_run_is_taken_in_and_a_broken_one_refused(tmp_path):
    file, out = arriving.study(tmp_path, {"drift": "shift"}, rounds=12, faults=[SLOW]), tmp_path / "run"
    with running.started(file, out, "--no-alone") as process:
        running.until_round(out, "a0", 0)
        arriving.drop_text(tmp_path / "in/a0/bad.csv", arriving.HEAD + "1,2,yes\n3,four,no\n")
        arriving.drop(tmp_path / "in/a0/good.csv", 60, offset=6)
        code, printed = running.ended(process)
    assert code == 0, printed
    [(name, why)] = refused(out, "a0")
    assert name == "bad.csv" and "has the text 'four' in line 3" in why and why in printed
    [arrived] = running.events(out, "a0", "arrived")
    [row] = [row for row in running.events(out, "a0", "round") if "arriving" in row]
    assert (arrived["file"], arrived["samples"], row["arriving"], row["round"]) == (
        "good.csv",
        60,
        60,
        arrived["round"],
    )
    assert row["arrived"]["accuracy"] == arrived["score"] and row["arrived"]["shift/x"] > 2
    assert "a0 sees a drift of its inputs of x" in printed
    assert running.events(out, "a1", "arrived") == []
    summary = json.loads(RunFolder(out).summary.read_text())
    assert summary["arrived"] == {"a0": {"samples": 60, "score": arrived["score"], "drifts": 1}}
    assert "samples that arrived" in printed
    data = RunData(out)
    data.read()
    page = data.plain()
    assert {"arrived", "arrival-refused", "drift-detected"} <= {event["event"] for event in page["events"]}
    assert page["agents"][0]["scores"]["arrived/accuracy"] == pytest.approx(arrived["score"], abs=1e-4)


def test_over_a_transport_and_as_recorded_agents_learn_what_they_do_in_the_simulator(tmp_path):
    def made(name):
        return arriving.plan(tmp_path / name, {"keep": {"kind": "reservoir", "samples": 25}}, rounds=6)

    def dropping(name, agents=arriving.TWO):
        """What happens before the agents look into their folders in a round."""
        return lambda round: [arriving.drop(tmp_path / name / f"in/{me}/{round}.csv", 20, round)
                              for me in agents if round in (1, 3)]  # fmt: skip

    plan, post, out = made("one"), MemoryNetwork(), RunFolder(tmp_path / "run")
    agents = {me: running.agent(plan, me, MemoryTransport(me, post), out) for me in plan.specs}
    for me, agent in agents.items():
        agent.on_round = dropping("one", [me])
    assert running.together(agents.values()) == [6, 6]
    states = running.states(agent.agent_state for agent in agents.values())
    drop = dropping("two")
    simulated, _, _ = arriving.simulated(made("two"), lambda round: drop(round + 1))
    assert running.differing(running.states(simulated.values()), states) == []
    drop = dropping("three")
    recorded = record(made("three"), RunFolder(tmp_path / "recorded"), lambda round, *rest: drop(round + 1))
    assert running.differing(running.states(recorded), states) == []
    for name in ("run", "recorded"):
        assert [event["round"] for event in running.events(tmp_path / name, "a0", "arrived")] == [2, 4]
    assert json.loads((tmp_path / "recorded/summary.json").read_text())["arrived"]["a0"]["samples"] == 40


def test_after_a_kill_all_go_on_with_the_samples_they_had(tmp_path):
    changes = {"rounds": 8, "faults": [SLOW], "checkpoint": {"every": 2}}
    kept = {"keep": {"kind": "window", "samples": 35}}
    file, out = arriving.study(tmp_path / "one", kept, **changes), tmp_path / "run"
    for me in arriving.TWO:
        arriving.drop(tmp_path / f"one/in/{me}/first.csv", 20, 1)
    with running.started(file, out, "--no-alone") as process:
        running.until_round(out, "a0", 0)
        for me in arriving.TWO:
            arriving.drop(tmp_path / f"one/in/{me}/second.csv", 20, 2)
        for me in arriving.TWO:
            running.until(lambda me=me: len(running.events(out, me, "arrived")) > 1)
        os.killpg(process.pid, signal.SIGKILL)
    code, printed = running.everything(file, out, "--resume")
    assert code == 0, printed
    rounds = {
        me: {event["file"]: event["round"] for event in running.events(out, me, "arrived")} for me in arriving.TWO
    }
    other = arriving.study(tmp_path / "two", kept, rounds=8)
    for me in arriving.TWO:
        arriving.drop(tmp_path / f"two/in/{me}/first.csv", 20, 1)

    def dropped(round):
        for me in arriving.TWO:
            if round == rounds[me]["second.csv"] - 2:  # it is seen in the next round, and taken in in that after it
                arriving.drop(tmp_path / f"two/in/{me}/second.csv", 20, 2)

    plan = RunPlan(run_file.load(other))
    states = running.states(arriving.simulated(plan, dropped)[0].values())
    assert running.differing(running.saved(plan, out), states) == []
