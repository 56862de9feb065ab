"""How far apart agents are, from sketches that come one by one in any order and are not kept.

√(mean ‖x_i − x̄‖²) = √(mean ‖x_i‖² − ‖x̄‖²), so that a count, a sum and a sum of squares do. It is what
``consensus_distance`` gives, to about 1e-8 of the sketches' size, a thousandth of what rounding them for the log costs.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from parse_p2p.runtime.sketch import WIDTH

Sums = NDArray[np.float64]
"""WIDTH sums, the sum of squares, and the count."""

CLOSE = 1e-14  # of the mean square: this near to nothing is rounding


class ConsensusDistances:
    """By round, by ``before`` and ``after``, and by slice."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self._sums: dict[tuple[int, str, str], Sums] = {}

    def add(self, round: int, sketches: Any) -> None:
        """Take in one agent's sketches of a round; what is no sketch is passed over."""
        for when in ("before", "after"):
            slices = sketches.get(when) if isinstance(sketches, dict) else None
            for name, values in slices.items() if isinstance(slices, dict) else ():
                if (row := _row(values)) is not None:
                    self.names.add(name)
                    kept = self._sums.get((round, when, name))
                    self._sums[round, when, name] = row if kept is None else kept + row

    def agents(self, round: int, when: str, name: str) -> int:
        sums = self._sums.get((round, when, name))
        return 0 if sums is None else int(sums[-1])

    def distance(self, round: int, when: str, name: str) -> float | None:
        """None where there is no sketch."""
        sums = self._sums.get((round, when, name))
        if sums is None:
            return None
        mean = sums / sums[-1]
        square = float(mean[WIDTH] - (mean[:WIDTH] ** 2).sum())
        return 0.0 if square <= CLOSE * mean[WIDTH] else square**0.5


def _row(values: object) -> Sums | None:
    if not isinstance(values, list) or len(values) != WIDTH:
        return None
    try:
        row: Sums = np.array([*values, 0.0, 1.0], dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    row[WIDTH] = row @ row - 1
    return row if np.isfinite(row).all() else None
