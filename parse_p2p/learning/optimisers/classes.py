"""Any class of optimisers as a plug-in, by its dotted name: ``torch.optim.RMSprop``, or one of one's own.

The arguments of its constructor are its options. Whether it can be used is tried: it is given one vector to step on.
"""

import inspect
from functools import cache
from typing import Any, ClassVar, Self

import torch
from pydantic import BaseModel, ConfigDict, create_model, model_validator
from torch import nn

from parse_p2p.core.errors import ConfigError, cause
from parse_p2p.core.optimisers import without_compiler
from parse_p2p.core.plugin_options import refused
from parse_p2p.learning.optimisers import memory
from parse_p2p.learning.optimisers.base import Groups, Optimiser

PLAIN = (bool, int, float, str, tuple, list, type(None))
"""Types of defaults that a file can say; an argument with another keeps its default."""


class ByClass(Optimiser):
    """The arguments of an optimiser's constructor, but for ``params`` and ``lr``."""

    model_config = ConfigDict(protected_namespaces=())

    made_by: ClassVar[type[torch.optim.Optimizer]]

    def make(self, groups: Groups, lr: float) -> torch.optim.Optimizer:
        return self.made_by(groups, lr=lr, **arguments(self))  # type: ignore[call-arg]

    @model_validator(mode="after")
    def _can_be_used(self) -> Self:
        if needs_closure(self.made_by):
            raise refused("optimiser", f"{self.made_by.__name__} computes the loss several times a step; take another")
        try:
            same = goes_on_as_before(self)
        except Exception as error:
            said = f"{self.made_by.__name__} with these arguments cannot step on flat vectors: {cause(error)}"
            raise refused("optimiser", said) from None
        if not same:
            said = (
                "draws at random, or keeps something elsewhere than in its state: no run could be resumed; take another"
            )
            raise refused("optimiser", f"{self.made_by.__name__} {said}")
        return self


@cache
def adapted(found: Any) -> type[ByClass]:
    """The plug-in that makes optimisers of this class. Raises ConfigError for what is no such class."""
    if not isinstance(found, type) or not issubclass(found, torch.optim.Optimizer):
        raise ConfigError(f"{getattr(found, '__name__', found)!r} is no class derived from torch.optim.Optimizer")
    if "lr" not in inspect.signature(found).parameters:
        raise ConfigError(f"{found.__name__} takes no lr, which train.lr is for")
    made: type[ByClass] = create_model(found.__name__, __base__=ByClass, **options(found, "params", "lr"))
    made.made_by = without_compiler(found)
    return made


def options(kind: type, *ours: str) -> dict[str, Any]:
    """The arguments of a constructor as fields of a model, but for those that are ours to give."""
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(kind).parameters.items():
        named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if not named or name in ours or name.startswith("_"):
            continue
        if parameter.default is parameter.empty:
            fields[name] = (Any, ...)
        elif isinstance(parameter.default, PLAIN):
            fields[name] = (Any, parameter.default)
    return fields


def arguments(given: BaseModel) -> dict[str, Any]:
    """Those fields as a constructor wants them: what a file writes as a list is a tuple in Python."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given}


def needs_closure(kind: type[torch.optim.Optimizer]) -> bool:
    """Whether a step is given the loss as a function."""
    closure = inspect.signature(kind.step).parameters.get("closure")
    return closure is not None and closure.default is closure.empty


def goes_on_as_before(options: Optimiser) -> bool:
    """Whether one that takes over what another remembers steps as that one does, to the last bit."""
    one, other = nn.Parameter(torch.linspace(-1, 1, 4)), nn.Parameter(torch.zeros(4))
    first, second = (options.make([{"params": [p], "component": ""}], 0.01) for p in (one, other))
    _step(first, one)
    other.data.copy_(one.data)
    memory.write(second, memory.read(first))
    for optimiser, parameter in ((first, one), (second, other)):
        _step(optimiser, parameter)
        _step(optimiser, parameter)
    return torch.equal(one, other)


def _step(optimiser: torch.optim.Optimizer, parameter: nn.Parameter) -> None:
    parameter.grad = parameter.detach() ** 2 + 0.1
    optimiser.step()
