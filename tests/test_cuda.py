"""On a GPU the same run ends where the CPU's does, within rounding; skipped where there is none."""

import pytest
import torch
from worlds import world

from parse_p2p.simulate import simulate

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def trained(device, method):
    built = world(method=method, device=device)
    participants = built.participants()
    simulate(participants, 2)
    return participants


@pytest.mark.parametrize("method", ["parse", "harmony", "fedprox", "creamfl", "fedafd", "fedcmi", "fedmosaic"])
def test_cuda_and_cpu_agree(method):
    for there, here in zip(trained("cuda:0", method), trained("cpu", method), strict=True):
        assert there.learner.arena.values.is_cuda
        torch.testing.assert_close(there.learner.arena.values.cpu(), here.learner.arena.values, rtol=1e-3, atol=1e-4)


def test_auto_deals_the_gpus_round():
    built = world(device="auto")
    count = torch.cuda.device_count()
    assert [built.device(me).index for me in built.seats] == [i % count for i in range(len(built.seats))]


def test_a_state_goes_from_one_device_to_the_other():
    there, here = trained("cuda:0", "parse")[0], trained("cpu", "parse")[0]
    here.restore(there.state())
    assert torch.equal(here.learner.arena.values, there.learner.arena.values.cpu())
