"""Which device an agent gets, and what is said of one that is not there; the rest is in test_cuda."""

import subprocess
import sys

import plans
import pytest
import running
import torch

from parse_p2p.core.errors import ConfigError, TrainingError
from parse_p2p.launch.results import train_alone
from parse_p2p.learning import devices
from parse_p2p.runtime import checkpoint

COUNT = torch.cuda.device_count()

TRIPWIRE = """
import torch

def touched(*args, **kwargs):
    raise AssertionError("the fork server touches CUDA")

for name in ("init", "is_available", "current_device", "_lazy_init"):
    setattr(torch.cuda, name, touched)
import parse_p2p.launch.preload
"""


def test_auto_is_the_cpu_where_there_is_no_gpu():
    dealt = [str(devices.choose("auto", "a0", turn)) for turn in range(5)]
    assert dealt == [f"cuda:{turn % COUNT}" if COUNT else "cpu" for turn in range(5)]


@pytest.mark.parametrize("name", ["cuda:99", "abacus", "cpu:x"])
def test_a_device_that_is_not_there_is_refused_in_a_sentence(name):
    with pytest.raises(ConfigError, match=rf"device: '{name}' of agent a3 cannot be used \(.+\): try cpu or auto"):
        devices.choose(name, "a3", 0)


@pytest.mark.skipif(torch.backends.cuda.is_built(), reason="this torch has CUDA")
def test_a_torch_without_cuda_says_so():
    with pytest.raises(ConfigError, match="this torch is built without CUDA"):
        devices.choose("cuda:0", "a3", 0)


def test_what_the_fork_server_loads_does_not_touch_cuda():
    subprocess.run([sys.executable, "-c", TRIPWIRE], check=True)


def test_the_host_memory_of_a_process_is_its_peak_in_bytes():
    before = devices.memory(torch.device("cpu"))
    block = torch.ones(10 * 2**20)  # 40 MiB
    after = devices.memory(torch.device("cpu"))
    del block
    assert after.keys() == {"host"}
    assert 20 * 2**20 < before["host"] <= after["host"] <= devices.memory(torch.device("cpu"))["host"]
    assert after["host"] >= 60 * 2**20


def test_rounds_in_the_log_say_what_memory_was_taken_and_how_long_the_exchange_took(tmp_path):
    plan = running.plan()
    running.over_memory(plan, tmp_path)
    for me in plan.specs:
        rounds = running.events(tmp_path, me, "round")
        assert len(rounds) == plan.run.rounds
        assert all(0 < event["exchange"] < event["seconds"] for event in rounds)
        assert [event["memory"]["host"] for event in rounds] == sorted(event["memory"]["host"] for event in rounds)


def test_methods_that_exchange_nothing_wait_for_nothing(tmp_path):
    plan = running.plan(method="local")
    running.over_memory(plan, tmp_path)
    assert [event["exchange"] for event in running.events(tmp_path, "a0", "round")] == [0.0] * plan.run.rounds


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
            "cpu has no memory left for agent {me}: put fewer agents on it",
        ),
        (
            RuntimeError("CUDA error: unspecified launch failure\nCompile with"),
            "cpu failed under agent {me} (CUDA error: unspecified launch failure): go on with --resume",
        ),
        (SystemExit(0), "code that agent {me} trains with wanted to end the program (SystemExit: 0): correct it"),
    ],
)
def test_an_agent_whose_device_fails_it_says_so_in_a_sentence_and_leaves_a_checkpoint(error, said, tmp_path):
    def unlucky(local, options):
        raise error
        yield

    plan = running.plans.under(running.plan(), script=unlucky)
    agents = [running.agent(plan, me, transport, running.RunFolder(tmp_path)) for me, transport in running.memory(plan)]
    for me, found in zip(plan.specs, running.together(agents), strict=True):
        assert isinstance(found, TrainingError)
        assert str(found).startswith(said.format(me=me))
        assert checkpoint.rounds(running.RunFolder(tmp_path).checkpoints(me)) == [0]


@pytest.mark.parametrize(
    "said", ["CUDA error: device-side assert triggered", "mat1 and mat2 shapes cannot be multiplied"]
)
def test_a_fault_of_the_program_is_not_laid_upon_the_device(said):
    assert devices.failed(RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"))
    assert not devices.failed(RuntimeError(said))


def test_agents_are_trained_alone_for_a_summary_where_their_device_is_not():
    built = plans.plan({"audio": 1, "motion": 1}, rounds=1, device="cuda:77")
    assert train_alone(built, lambda done: None).keys() == set(built.specs)


def test_what_watches_an_agent_on_a_cluster_loads_no_torch():
    script = "import sys, parse_p2p.launch.ray_actor; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
