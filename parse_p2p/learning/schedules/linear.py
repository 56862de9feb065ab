"""A straight line from the full learning rate to a part of it after the last round."""

from pydantic import Field

from parse_p2p.learning.schedules.base import Schedule


class Linear(Schedule):
    """``lr · (1 + (final − 1) · round / rounds)``."""

    final: float = Field(0.0, ge=0, allow_inf_nan=False, description="linear: factor on lr after the last round")

    def rate(self, lr: float, round: int, rounds: int) -> float:
        return lr * (1 + (self.final - 1) * round / rounds)


SCHEDULE = Linear
