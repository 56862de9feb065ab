"""The message comes later."""

from dataclasses import replace

import torch
from pydantic import Field

from parse_p2p.wire.faults.base import ChanceFault, Delivery


class Delay(ChanceFault):
    """The message comes later; those behind it are not held up."""

    seconds: float = Field(gt=0, description="by how much later")

    def apply(self, delivery: Delivery, rng: torch.Generator) -> Delivery:
        return replace(delivery, delay=delivery.delay + self.seconds)


FAULT = Delay
