"""A learning rate that falls to a part of itself every so many rounds."""

from pydantic import Field

from parse_p2p.learning.schedules.base import Schedule


class Step(Schedule):
    """``lr · drop^⌊round / every⌋``."""

    every: int = Field(10, ge=1, description="step: rounds between two falls")
    drop: float = Field(0.1, gt=0, le=1, description="step: factor of each fall")

    def rate(self, lr: float, round: int, rounds: int) -> float:
        return lr * self.drop ** (round // self.every)


SCHEDULE = Step
