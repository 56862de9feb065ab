"""torch's optimisers, step for step, without torch's compiler.

Making an optimiser, or stepping with one, imports the compiler for code that is to be compiled: two seconds and 80 MB
in every process. The functions behind those decorators are the same, and do not.
"""

import inspect

import torch


class SGD(torch.optim.SGD):
    """Stochastic gradient descent with momentum."""

    add_param_group = inspect.unwrap(torch.optim.SGD.add_param_group)
    step = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))


class Adam(torch.optim.Adam):
    """Adam (arXiv 1412.6980)."""

    add_param_group = inspect.unwrap(torch.optim.Adam.add_param_group)
    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))
    zero_grad = inspect.unwrap(torch.optim.Adam.zero_grad)
