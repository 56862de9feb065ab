"""The same learning rate in every round."""

from parse_p2p.learning.schedules.base import Schedule


class Constant(Schedule):
    """``lr``."""

    def rate(self, lr: float, round: int, rounds: int) -> float:
        return lr


SCHEDULE = Constant
