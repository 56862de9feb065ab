"""Any class of torch's schedulers as a plug-in, by its dotted name: ``torch.optim.lr_scheduler.StepLR``.

The arguments of its constructor are its options. It is made anew for every round and taken there step by step, so that
there is nothing to keep of it. Only the learning rate is taken of it, and not momentum, which some change too.
"""

from functools import cache
from typing import Any, ClassVar, Self

import torch
from pydantic import ConfigDict, create_model, model_validator
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from parse_p2p.core.errors import ConfigError, cause
from parse_p2p.core.plugin_options import refused
from parse_p2p.learning.optimisers.classes import arguments, options
from parse_p2p.learning.optimisers.sgd import SGD
from parse_p2p.learning.schedules.base import Schedule


class ByClass(Schedule):
    """The arguments of a scheduler's constructor, but for ``optimizer``. It counts rounds, as others count epochs."""

    model_config = ConfigDict(protected_namespaces=())

    made_by: ClassVar[type[LRScheduler]]

    def rate(self, lr: float, round: int, rounds: int) -> float:
        """Raises ConfigError where the scheduler knows of no such round."""
        optimiser = SGD([nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9)
        try:
            scheduler = self.made_by(optimiser, **arguments(self))
            for _ in range(round):
                optimiser.step()
                scheduler.step()
            return float(optimiser.param_groups[0]["lr"])
        except Exception as error:
            name = self.made_by.__name__
            raise ConfigError(f"{name} gives no learning rate for round {round} of {rounds}: {cause(error)}") from None

    @model_validator(mode="after")
    def _can_be_used(self) -> Self:
        try:
            self.rate(0.1, 0, 1)
        except ConfigError as error:
            raise refused("schedule", str(error)) from None
        return self


@cache
def adapted(found: Any) -> type[ByClass]:
    """The plug-in of this class of schedulers. Raises ConfigError for what is no such class."""
    if not isinstance(found, type) or not issubclass(found, LRScheduler):
        raise ConfigError(f"{getattr(found, '__name__', found)!r} is no class derived from LRScheduler of torch")
    if issubclass(found, ReduceLROnPlateau):
        raise ConfigError(f"{found.__name__} needs to see how well the agent does, which no schedule here can")
    made: type[ByClass] = create_model(found.__name__, __base__=ByClass, **options(found, "optimizer", "last_epoch"))
    made.made_by = found
    return made
