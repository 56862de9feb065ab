"""A power of the share of rounds that are left."""

import math

from pydantic import Field

from parse_p2p.learning.schedules.base import Schedule


class Polynomial(Schedule):
    """``lr · (1 − round / rounds)^power``."""

    power: float = Field(2.0, gt=0, allow_inf_nan=False, description="polynomial: 1 is a straight line")

    def rate(self, lr: float, round: int, rounds: int) -> float:
        return lr * math.pow(1 - round / rounds, self.power)


SCHEDULE = Polynomial
