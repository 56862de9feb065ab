"""Agents with two label spaces end as the simulator does, each with heads of its own size."""

import running

TASKS = {"coarse": {"classes": [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]}, "fine": {"classes": [[k] for k in range(6)]}}


def plan(**changes):
    return running.plan(agents={"mix": running.TYPES, "tasks": list(TASKS)}, tasks=TASKS, **changes)


def test_agents_in_one_process_end_as_the_simulator_does(tmp_path):
    for method in ("parse", "harmony"):
        w = plan(method=method)
        found = running.over_memory(w, tmp_path / method)
        assert running.differing(found, running.simulated(w)) == []


def test_processes_of_their_own_end_as_the_simulator_does(tmp_path):
    w = plan(rounds=2)
    assert running.differing(running.over_processes(w, tmp_path), running.simulated(w)) == []
