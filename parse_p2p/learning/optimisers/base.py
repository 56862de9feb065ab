"""What an optimiser is here: options that make one of torch's kind, for the components of a model as flat vectors.

Making an optimiser of torch's, or stepping with one, imports torch's compiler for code that is to be compiled: two
seconds and 80 MB in every process. The functions behind those decorators are the same, and do not.
"""

import inspect
from collections.abc import Mapping
from typing import Any, TypeVar, cast

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

Kind = TypeVar("Kind", bound=torch.optim.Optimizer)

Groups = list[dict[str, Any]]
"""Parameter groups of torch, one a component: ``params`` is its one flat parameter, ``component`` its name."""


class Optimiser(BaseModel):
    """An optimiser's options: a plug-in is a file in this folder whose ``OPTIMISER`` is a class derived from this one.

    What it makes keeps all that it remembers in torch's way: tensors and numbers in ``state``, by parameter, and
    numbers in its groups, so that checkpoints have it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    def make(self, groups: Groups, lr: float) -> torch.optim.Optimizer:
        """An optimiser over these groups; ``lr`` is the learning rate, which is set anew every round."""
        raise NotImplementedError

    @property
    def looks_back(self) -> bool:
        """Whether ``after_round`` does anything."""
        return False

    def after_round(
        self, optimiser: torch.optim.Optimizer, moved: Mapping[str, Tensor], rates: Mapping[str, float]
    ) -> None:
        """Take into account how a round as a whole moved the components, local steps, exchange and mixing together.

        ``moved`` (size,) has for each component that was stepped, by its name, its parameters before the round less
        those after it; ``rates`` the sum of the learning rates of its steps.
        """


def without_compiler(kind: type[Kind]) -> type[Kind]:
    """The same optimiser, step for step, that does not import the compiler."""
    methods = {name: getattr(kind, name) for name in ("add_param_group", "zero_grad", "step")}
    plain = {name: inspect.unwrap(each) for name, each in methods.items() if each.__module__.startswith("torch.")}
    if "step" in plain:
        plain["step"] = torch.no_grad()(plain["step"])
    return cast(type[Kind], type(kind.__name__, (kind,), plain))
