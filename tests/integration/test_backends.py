"""The same world ends with the same state, bit for bit, however it is run."""

import ports
import pytest
import running

from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.transports import curve


@pytest.mark.parametrize("method", ["parse", "harmony", "fedavg", "creamfl", "fedafd", "fedcmi", "fedmosaic"])
@pytest.mark.parametrize("backend", [running.over_memory, running.over_ipc, running.over_processes])
def test_every_backend_ends_as_the_simulator_does(method, backend, tmp_path):
    plan = running.plan(method=method)
    expected = running.simulated(plan)
    assert all("parameters" in state for state in expected.values())
    assert running.differing(backend(plan, tmp_path), expected) == []


def test_tcp_changes_nothing(tmp_path):
    plan = running.plan(base_port=ports.free(10))
    assert running.differing(running.over_tcp(plan, tmp_path), running.simulated(running.plan())) == []


def test_encryption_changes_nothing(tmp_path):
    plan = running.plan(security="curve", keyring=str(tmp_path / "keys"))
    curve.make(tmp_path / "keys", plan.specs)
    assert running.differing(running.over_processes(plan, tmp_path), running.simulated(running.plan())) == []


def test_a_lossy_codec_loses_the_same_everywhere(tmp_path):
    plan = running.plan(codec="bf16")
    expected = running.simulated(plan)
    assert running.differing(expected, running.simulated(running.plan())) != []
    assert running.differing(running.over_memory(plan, tmp_path), expected) == []


def test_the_seed_decides(tmp_path):
    assert running.differing(running.simulated(running.plan(seed=1)), running.simulated(running.plan())) != []
    assert (
        running.differing(running.over_memory(running.plan(seed=1), tmp_path), running.simulated(running.plan(seed=1)))
        == []
    )


def test_agents_that_all_come_back_at_once_lose_no_round(tmp_path):
    """As in a job that is started again: each asks where to join, and nobody is there who could say."""
    train = {"schedule": "constant"}  # as it is in the longer run
    short, whole = (running.plan(rounds=rounds, train=train) for rounds in (2, 5))
    folder = RunFolder(tmp_path)
    running.over_memory(short, tmp_path)
    agents = [running.agent(whole, me, transport, folder, newest=2) for me, transport in running.memory(whole)]
    assert running.together(agents) == [5] * len(agents)
    assert running.differing(running.states(a.agent_state for a in agents), running.simulated(whole)) == []
