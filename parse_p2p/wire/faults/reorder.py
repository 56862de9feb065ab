"""The message comes after the next one."""

from dataclasses import replace

import torch
from pydantic import Field

from parse_p2p.wire.faults.base import ChanceFault, Delivery


class Reorder(ChanceFault):
    """The message comes after the next one to that peer on that plane, if there is one soon."""

    seconds: float = Field(0.2, gt=0, description="it waits at most so long for the next one")

    def apply(self, delivery: Delivery, rng: torch.Generator) -> Delivery | None:
        # if one waits already, this is the next one
        return None if delivery.overtakes else replace(delivery, behind=self.seconds)


FAULT = Reorder
