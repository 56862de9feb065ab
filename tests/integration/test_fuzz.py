"""Agents under mutated messages, a little of what scripts/fuzz does at length."""

import importlib.util

import pytest
from paths import ROOT

SCRIPT = ROOT / "scripts" / "fuzz.py"
MESSAGES = 4000
BOUND = 64  # MB


@pytest.fixture(scope="module")
def fuzzing():
    spec = importlib.util.spec_from_file_location("fuzz", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("method", "victim"), [("parse", "a0"), ("fedafd", "a0"), ("fedavg", "hub"), ("fedmosaic", "hub")]
)
@pytest.mark.parametrize("seed", [1, 2])
def test_mutated_messages_neither_crash_nor_hang_nor_fill_the_memory(fuzzing, method, victim, seed):
    found = fuzzing.fuzz(method, MESSAGES, seed, victim)
    assert found["finite"]
    assert found["grown_MB"] < BOUND
    assert MESSAGES // 4 < found["refused"] < MESSAGES, "nothing was refused, or nothing was let through"
    assert found["events"]["joined"] == 1 and "failed" not in found["events"]
