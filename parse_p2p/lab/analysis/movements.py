"""Do agents pull a slice they share in different directions? Cosines of how they moved it, from sketches alone.

What an agent's local steps did to a slice in round t is before(t) − after(t − 1): as it was first sent, less as mixing
had left it. Sketches are linear, so this is known from logs, and a cosine of two sketches is one of the slices, with a
standard error of at most ``PAIR_ERROR``. The movement is whatever the steps made of the gradients: momentum, clipping,
weight decay and corrections (gradient tracking, SCAFFOLD) are in it, mixing and averaging are not.

With unit vectors u of agents with one modality and v of those with several the mean over pairs is ū·v̄, and over n of
one side (‖Σu‖² − n) / (n² − n): two sums a slice and round do, and no sketch is kept but each agent's last.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from parse_p2p.runtime.sketch import DIGITS, WIDTH

PAIR_ERROR = WIDTH**-0.5
"""Standard error of the cosine of one pair of unrelated movements; it is less of others, and of means over pairs."""

CLEAR = 100.0  # a movement must have so many times the energy that rounding sketches for the log has
LARGEST = 1e150  # numbers below it have squares that are numbers too

Values = NDArray[np.float64]


class Cosines(NamedTuple):
    """Means over pairs of agents, None where there is no pair; ``across``: one has one modality, the other several."""

    across: float | None
    unimodal: float | None
    multimodal: float | None


NONE = Cosines(None, None, None)


class Movements:
    """By round and slice, from sketches that come round by round of each agent, and of the agents in any order."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self._last: dict[str, tuple[int, dict[str, Values]]] = {}
        self._sums: dict[tuple[int, str], Values] = {}

    def add(self, me: str, round: int, several: bool, sketches: Any, counts: bool = True) -> None:
        """Take in one agent's sketches of a round; ``several``: it has more than one modality.

        There is no movement where the last round that was added is not the one before, nor where none stands out of
        the rounding. What does not count is what the next round is compared with, and no more.
        """
        at, after = self._last.get(me, (-1, {}))
        before = _read(sketches, "before") if counts and at == round - 1 else {}
        for name in before.keys() & after.keys():
            if (unit := _direction(before[name], after[name])) is not None:
                self.names.add(name)
                sums = self._sums.setdefault((round, name), np.zeros((2, WIDTH + 1)))
                sums[int(several)] += np.append(unit, 1.0)
        self._last[me] = round, _read(sketches, "after")

    def forget(self, me: str) -> None:
        """Compare what an agent logs next with nothing: it was stopped, and may have been set back."""
        self._last.pop(me, None)

    def agents(self, round: int, name: str) -> tuple[int, int]:
        """How many moved: with one modality, and with several."""
        sums = self._sums.get((round, name))
        return (0, 0) if sums is None else (int(sums[0, -1]), int(sums[1, -1]))

    def cosines(self, round: int, name: str) -> Cosines:
        """Of one slice in a round."""
        if (sums := self._sums.get((round, name))) is None:
            return NONE
        (u, v), (n, m) = sums[:, :-1], sums[:, -1]
        return Cosines(float(u @ v / (n * m)) if n and m else None, _within(u, n), _within(v, m))


def _within(total: Values, count: float) -> float | None:
    """The mean cosine over pairs of so many unit vectors, from their sum."""
    return float((total @ total - count) / (count * (count - 1))) if count > 1 else None


def _direction(before: Values, after: Values) -> Values | None:
    """The movement as a unit vector; None where it does not stand out of what rounding its two ends leaves."""
    moved = before - after
    energy = float(moved @ moved)
    return moved / math.sqrt(energy) if energy > CLEAR * (_rounding(before) + _rounding(after)) else None


def _rounding(values: Values) -> float:
    """The energy that is expected of rounding to so many digits: step² / 12 each."""
    exponents = np.floor(np.log10(np.abs(values[values != 0])))
    steps: Values = 10.0 ** (exponents + 1 - DIGITS)
    return float((steps**2).sum() / 12)


def _read(sketches: Any, when: str) -> dict[str, Values]:
    """The sketches by slice; what is no sketch is passed over, for logs are of others."""
    slices = sketches.get(when) if isinstance(sketches, dict) else None
    found = ((name, _values(each)) for name, each in (slices.items() if isinstance(slices, dict) else ()))
    return {name: values for name, values in found if values is not None}


def _values(given: object) -> Values | None:
    if not isinstance(given, list) or len(given) != WIDTH:
        return None
    try:
        values: Values = np.array(given, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    return values if values.shape == (WIDTH,) and np.abs(values).max() < LARGEST else None
