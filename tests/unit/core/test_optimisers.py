"""The optimisers are torch's, and no process of ours loads torch's compiler."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from parse_p2p.core import optimisers, plugins

OURS = [
    (optimisers.SGD, torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.01}),
    (optimisers.SGD, torch.optim.SGD, {}),
    (optimisers.Adam, torch.optim.Adam, {"betas": (0.8, 0.9)}),
]


@pytest.mark.parametrize(("ours", "theirs", "options"), OURS)
def test_every_step_is_torchs_to_the_last_bit(ours, theirs, options):
    start = torch.linspace(-1, 1, 12).reshape(3, 4)
    ends = []
    for kind in (ours, theirs):
        weight, other = nn.Parameter(start.clone()), nn.Parameter(start[0].clone())
        optimiser = kind([{"params": [weight], "lr": 0.1}], lr=0.2, **options)
        optimiser.add_param_group({"params": [other]})
        for step in range(4):
            optimiser.zero_grad()
            ((weight @ other) ** 2).sum().mul(step + 1).backward()
            optimiser.step()
        assert weight.requires_grad and weight.grad is not None
        ends.append((weight.detach(), other.detach()))
    for mine, wanted in zip(*ends, strict=True):
        assert torch.equal(mine, wanted) and not torch.equal(mine, start)


EVERY_METHOD = """
import sys
sys.path.insert(0, sys.argv[1])
import plans
import parse_p2p.launch.preload
import parse_p2p.launch.process
for method in sys.argv[2:]:
    plans.finished(plans.plan(method=method, rounds=1))
    assert "torch._dynamo" not in sys.modules, method
"""


def test_no_method_loads_the_compiler():
    methods = plugins.names(plugins.METHODS)
    assert len(methods) > 10
    folder = next(path for path in sys.path if path.endswith("support"))
    subprocess.run([sys.executable, "-c", EVERY_METHOD, folder, *methods], check=True)
