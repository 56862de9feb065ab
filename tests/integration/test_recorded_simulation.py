"""A simulated run in a folder is what real agents would have left there."""

import plans
import pytest
import running

from parse_p2p.core.errors import ConfigError
from parse_p2p.lab.experiments.recorded_simulation import record
from parse_p2p.launch.run_folder import RunFolder

OF_THE_CLOCK = {"time", "seconds", "wire_out", "wire_in", "alive", "late", "round_seconds", "exchange", "memory"}


def plain(event):
    return {key: value for key, value in event.items() if key not in OF_THE_CLOCK}


def test_the_rounds_of_a_recorded_run_are_those_of_real_processes(tmp_path):
    plan = plans.plan(rounds=3, codec="bf16")
    running.over_processes(plan, tmp_path)
    record(plan, RunFolder(tmp_path / "simulated"))
    for me in plan.specs:
        real, simulated = (running.events(tmp_path / out, me, "round") for out in ("run", "simulated"))
        assert list(map(plain, real)) == list(map(plain, simulated))
    assert RunFolder(tmp_path / "simulated").summary.exists()


def test_a_folder_with_a_run_is_left_alone_and_faults_are_refused(tmp_path):
    plan = plans.plan(rounds=1)
    record(plan, RunFolder(tmp_path))
    with pytest.raises(ConfigError, match="holds a run already"):
        record(plan, RunFolder(tmp_path))
    broken = plans.plan(rounds=1, faults=[{"kind": "drop", "probability": 0.1}])
    with pytest.raises(ConfigError, match="nothing can go wrong in the simulator"):
        record(broken, RunFolder(tmp_path / "other"))


def test_who_comes_and_goes_is_recorded_while_it_is_there(tmp_path):
    events = [{"round": 1, "agent": "a1", "join": True}, {"round": 2, "agent": "a2", "leave": True}]
    record(plans.plan(rounds=3, events=events), RunFolder(tmp_path))
    there = {me: [e["round"] for e in running.events(tmp_path, me, "round")] for me in ("a0", "a1", "a2")}
    assert there == {"a0": [0, 1, 2], "a1": [1, 2], "a2": [0, 1]}
    assert running.events(tmp_path, "a2")[-1]["event"] == "left"
