"""What the fork server loads once, so that each agent's process need not.

The first step of a torch optimiser imports a compiler (some seconds and 80 MB), so one is taken here; with one
thread only, since a process that has started threads must not be forked.
"""

import torch

import parse_p2p.launch.process  # noqa: F401

torch.set_num_threads(1)
_weight = torch.nn.Parameter(torch.zeros(1))
_weight.grad = torch.zeros(1)
torch.optim.SGD([_weight], lr=1.0, momentum=0.9).step()
