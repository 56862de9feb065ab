"""The message comes twice."""

from dataclasses import replace

import torch

from parse_p2p.wire.faults.base import ChanceFault, Delivery


class Duplicate(ChanceFault):
    """The message comes once more."""

    def apply(self, delivery: Delivery, rng: torch.Generator) -> Delivery:
        return replace(delivery, copies=delivery.copies + 1)


FAULT = Duplicate
