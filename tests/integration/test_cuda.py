"""On a GPU the same run ends where the CPU's does, within rounding; skipped where there is none."""

import subprocess
import sys

import pytest
import running
import torch
from plans import learner, plan

from parse_p2p.core.errors import ConfigError
from parse_p2p.learning import devices, losses
from parse_p2p.learning.transfer import to_device, to_host
from parse_p2p.runtime.simulator import simulate
from parse_p2p.wire.codecs import raw

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

GPU = "cuda:0"

FORKED = """
import os, sys
import parse_p2p.launch.preload
import torch

assert not torch.cuda.is_initialized()
child = os.fork()
if child == 0:
    os._exit(int(torch.ones(3, device="cuda:0").sum().item() != 3))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def trained(device, method, **changes):
    built = plan(method=method, device=device, **changes)
    agent_states = built.agent_states()
    simulate(agent_states, 2)
    return agent_states


def after_a_while():
    """A number between 0 and 1 that the GPU knows much later than it is asked for."""
    factor = torch.rand(4096, 4096, device=GPU)
    for _ in range(20):
        factor = factor @ factor
        factor /= factor.amax()
    return factor.mean()


def close(there, here):
    torch.testing.assert_close(there.cpu(), here, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", ["parse", "harmony", "fedprox", "creamfl", "fedafd", "fedcmi", "fedmosaic"])
def test_cuda_and_cpu_agree(method):
    for there, here in zip(trained(GPU, method), trained("cpu", method), strict=True):
        assert there.learner.buffer.values.is_cuda
        close(there.learner.buffer.values, here.learner.buffer.values)


@pytest.mark.parametrize("options", [
    {"mixer": "clipped"}, {"mixer": "trimmed-mean"}, {"mixer": "median"}, {"mixer": "krum"},
    {"exchange": "asynchronous"}, {"exchange": "push-sum"}, {"exchange": "acknowledged"},
])  # fmt: skip
def test_every_way_to_exchange_and_mix_works_there(options):
    for there, here in zip(*(trained(device, "parse", options=options) for device in (GPU, "cpu")), strict=True):
        close(there.learner.buffer.values, here.learner.buffer.values)


def test_agents_that_share_a_gpu_and_talk_over_zeromq_end_where_the_simulator_does(tmp_path):
    found = running.over_ipc(running.plan(device=GPU), tmp_path)
    expected = running.simulated(running.plan())
    for me, state in found.items():
        close(state["parameters"], expected[me]["parameters"])
        for event in running.events(tmp_path, me, "round"):
            assert 0 < event["memory"]["allocated"] <= event["memory"]["reserved"]
        [start] = running.events(tmp_path, me, "start")
        assert start["device"] == GPU


@pytest.mark.parametrize("method", ["parse", "fedmosaic"])
def test_autocast_works_there(method):
    lossy, exact = (trained(GPU, method, train=train) for train in ({"autocast": "bf16"}, {}))
    for one, other in zip(lossy, exact, strict=True):
        assert one.learner.buffer.values.dtype == torch.float32
        assert not torch.equal(one.learner.buffer.values, other.learner.buffer.values)
        torch.testing.assert_close(one.learner.buffer.values, other.learner.buffer.values, rtol=0, atol=0.2)


def test_auto_deals_the_gpus_round():
    built = plan(device="auto")
    count = torch.cuda.device_count()
    assert [built.device(me).index for me in built.specs] == [i % count for i in range(len(built.specs))]


def test_a_gpu_that_is_not_there_is_refused_with_how_many_are():
    count = torch.cuda.device_count()
    with pytest.raises(ConfigError, match=f"'cuda:{count}' of agent a0 .*this machine has {count} GPUs"):
        plan(device=f"cuda:{count}").device("a0")


def test_what_the_fork_server_loads_leaves_the_gpu_to_those_it_forks():
    subprocess.run([sys.executable, "-c", FORKED], check=True)


def test_a_state_goes_from_one_device_to_the_other():
    there, here = trained(GPU, "parse")[0], trained("cpu", "parse")[0]
    here.restore(there.state())
    assert torch.equal(here.learner.buffer.values, there.learner.buffer.values.cpu())
    there.learner.buffer.values.zero_()
    there.restore(here.state())
    assert torch.equal(here.learner.buffer.values, there.learner.buffer.values.cpu())


def test_a_snapshot_is_pinned_and_whole_when_it_is_there():
    agent = learner(device=GPU)
    for _ in range(10):  # the copy is asked for while the GPU still has much to do
        agent.buffer.values.add_(after_a_while())
        snapshot = to_host({"": agent.buffer.values})[""]
        kept = snapshot.clone()
        torch.cuda.synchronize()
        assert snapshot.is_pinned() and torch.equal(snapshot, kept)
        assert torch.equal(snapshot, agent.buffer.values.cpu())


def test_pinned_memory_is_used_again_once_the_wire_has_let_it_go_and_not_before():
    agent = learner(device=GPU)

    def snapshot():
        return to_host({"": agent.buffer.values})[""]

    first = snapshot()
    place, sent, before = first.data_ptr(), raw.CODEC.encode(first), first.numpy().tobytes()
    del first  # the wire alone holds it now
    agent.buffer.values.add_(1.0)
    second = snapshot()
    assert second.data_ptr() != place and bytes(sent) == before
    del sent
    assert place in {snapshot().data_ptr() for _ in range(200)}


def test_what_goes_to_the_gpu_is_what_it_was_when_it_was_sent():
    source = torch.arange(2.0**20)
    expected = source.clone()
    after_a_while()
    there = to_device({"": source}, torch.device(GPU))[""]
    source.zero_()  # as ZeroMQ may, once nobody holds the frame
    assert there.is_cuda and torch.equal(there.cpu(), expected)
    assert to_device({"": there}, there.device)[""] is there


def test_the_memory_of_an_agent_holds_its_model_and_gradients():
    device = torch.device(GPU)
    agent = learner(device=GPU)
    agent.train(losses.task)
    found = devices.memory(device)
    assert found["allocated"] >= 2 * agent.buffer.values.nbytes and found["host"] > 0
    assert found["allocated"] <= found["reserved"]
