"""What the fork server loads once, so that each agent's process need not.

With one thread only, since a process that has started threads must not be forked.
"""

import torch

import parse_p2p.launch.process  # noqa: F401

torch.set_num_threads(1)
