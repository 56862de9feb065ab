"""A learning rate that falls by the same factor in every round."""

from pydantic import Field

from parse_p2p.learning.schedules.base import Schedule


class Exponential(Schedule):
    """``lr · gamma^round``."""

    gamma: float = Field(0.95, gt=0, le=1, description="exponential: factor from one round to the next")

    def rate(self, lr: float, round: int, rounds: int) -> float:
        return lr * self.gamma**round


SCHEDULE = Exponential
