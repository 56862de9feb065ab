"""Optimisers of torch's that do not bring its compiler.

Making an optimiser of torch's, or stepping with one, imports torch's compiler for code that is to be compiled: two
seconds and 80 MB in every process. The functions behind those decorators are the same, and do not.
"""

import inspect
from typing import TypeVar, cast

import torch

Kind = TypeVar("Kind", bound=torch.optim.Optimizer)


def without_compiler(kind: type[Kind]) -> type[Kind]:
    """The same optimiser, step for step, that does not import the compiler."""
    methods = {name: getattr(kind, name) for name in ("add_param_group", "zero_grad", "step")}
    plain = {name: inspect.unwrap(each) for name, each in methods.items() if each.__module__.startswith("torch.")}
    if "step" in plain:
        plain["step"] = torch.no_grad()(plain["step"])
    return cast(type[Kind], type(kind.__name__, (kind,), plain))
