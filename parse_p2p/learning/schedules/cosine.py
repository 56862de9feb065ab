"""Half a cosine, from the full learning rate to none after the last round (arXiv 1608.03983)."""

import math

from parse_p2p.learning.schedules.base import Schedule


class Cosine(Schedule):
    """``lr · (1 + cos(π · round / rounds)) / 2``."""

    def rate(self, lr: float, round: int, rounds: int) -> float:
        return lr * 0.5 * (1 + math.cos(math.pi * (round / rounds)))


SCHEDULE = Cosine
