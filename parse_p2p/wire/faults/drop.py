"""The message is lost."""

import torch

from parse_p2p.wire.faults.base import ChanceFault, Delivery


class Drop(ChanceFault):
    """The message is lost."""

    def apply(self, delivery: Delivery, rng: torch.Generator) -> Delivery:
        return Delivery(delivery.frames, copies=0)


FAULT = Drop
