"""Agents that draw their graphs each for itself end as the simulator does, which draws them once for all."""

import pytest
import running
from plans import VARYING

KINDS = VARYING | {
    "trace": {"kind": "trace", "contacts": [[0, "a0", "a1"], [1, "a0", "a2"], [1, "a1", "a4"], [3, "a4", "a3"]]},
}


@pytest.mark.parametrize("varying", KINDS.values(), ids=KINDS.keys())
def test_A10_agents_in_one_process_end_as_the_simulator_does(varying, tmp_path):
    plan = running.plan(varying=varying, rounds=6)
    assert running.differing(running.over_memory(plan, tmp_path), running.simulated(plan)) == []


@pytest.mark.parametrize("kind", ["matching", "failing", "el-local"])
def test_A10_processes_of_their_own_end_as_the_simulator_does(kind, tmp_path):
    plan = running.plan(varying=KINDS[kind], rounds=6)
    assert running.differing(running.over_processes(plan, tmp_path), running.simulated(plan)) == []
