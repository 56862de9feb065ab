"""The same world ends with the same state, bit for bit, however it is run."""

import pytest
import runs


@pytest.mark.parametrize("method", ["parse", "harmony"])
@pytest.mark.parametrize("backend", [runs.over_memory, runs.over_ipc, runs.over_processes])
def test_every_backend_ends_as_the_simulator_does(method, backend, tmp_path):
    world = runs.world(method=method)
    expected = runs.simulated(world)
    assert all("parameters" in state for state in expected.values())
    assert runs.differing(backend(world, tmp_path), expected) == []


def test_tcp_changes_nothing(tmp_path):
    world = runs.world(base_port=runs.free_ports(10))
    assert runs.differing(runs.over_tcp(world, tmp_path), runs.simulated(runs.world())) == []


def test_a_lossy_codec_loses_the_same_everywhere(tmp_path):
    world = runs.world(codec="bf16")
    expected = runs.simulated(world)
    assert runs.differing(expected, runs.simulated(runs.world())) != []
    assert runs.differing(runs.over_memory(world, tmp_path), expected) == []


def test_the_seed_decides(tmp_path):
    assert runs.differing(runs.simulated(runs.world(seed=1)), runs.simulated(runs.world())) != []
    assert runs.differing(runs.over_memory(runs.world(seed=1), tmp_path), runs.simulated(runs.world(seed=1))) == []
