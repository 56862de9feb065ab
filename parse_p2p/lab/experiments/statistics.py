"""How sure, and how much: intervals, paired tests over seeds corrected for how many are made, and effect sizes."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

LEVEL = 0.05
SEEDS = (0, 1, 2, 3, 4)  # the seeds of reported runs, unless a file says otherwise


def half(values: Sequence[float]) -> float:
    """Half the 95 % interval of the mean (Student's t); not a number for fewer than two values."""
    n = len(values)
    if n < 2:
        return math.nan
    return float(stats.t.ppf(1 - LEVEL / 2, n - 1)) * statistics.stdev(values) / math.sqrt(n)


def interval(values: Sequence[float], digits: int = 3) -> str:
    """Mean ± half the 95 % interval; a single value as it is, and a dash for none."""
    if not values:
        return "–"
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {half(values):.{digits}f}" if len(values) > 1 else mean


def paired(differences: Sequence[float]) -> float:
    """p of the two-sided paired t-test that the mean difference is 0; 1 where nothing can be said."""
    if len(differences) < 2:
        return 1.0
    spread = statistics.stdev(differences)
    mean = statistics.mean(differences)
    if spread == 0:
        return 1.0 if mean == 0 else 0.0
    t = abs(mean) / (spread / math.sqrt(len(differences)))
    return float(2 * stats.t.sf(t, len(differences) - 1))


def holm(ps: Sequence[float]) -> list[float]:
    """p values corrected so that the chance of any false 'better' stays below the level (Holm 1979)."""
    corrected = [1.0] * len(ps)
    least = 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        least = max(least, min(1.0, (len(ps) - rank) * ps[i]))
        corrected[i] = least
    return corrected


def hedges(differences: Sequence[float]) -> float:
    """Hedges' g of paired differences: J(n − 1) · mean / deviation; not a number for fewer than three.

    How many deviations of the difference between seeds the mean lies off 0. J(m) = Γ(m/2) / (√(m/2) Γ((m − 1)/2)) takes
    away the bias of few seeds (Larry V. Hedges, Journal of Educational Statistics 6(2), 1981, for a single sample of
    differences). Infinite where all differences are equal, and not 0.
    """
    n = len(differences)
    if n < 3:
        return math.nan
    mean, spread = statistics.mean(differences), statistics.stdev(differences)
    if spread == 0:
        return math.copysign(math.inf, mean) if mean else 0.0
    m = n - 1
    return math.exp(math.lgamma(m / 2) - math.lgamma((m - 1) / 2)) / math.sqrt(m / 2) * mean / spread


@dataclass(frozen=True)
class Difference:
    """A mean difference with half its 95 % interval, paired by seed; ``p`` is corrected where several are made.

    ``g`` is its effect size, see ``hedges``.
    """

    mean: float
    half: float
    p: float
    g: float = math.nan

    @property
    def word(self) -> str:
        if not self.p < LEVEL:
            return "no difference shown"
        return "better" if self.mean > 0 else "worse"

    def __str__(self) -> str:
        return f"{self.mean:+.3f} ± {self.half:.3f} ({self.word})"


def differences(rows: Sequence[Sequence[float]]) -> list[Difference]:
    """Of several paired differences over seeds, tested together."""
    ps = holm([paired(row) for row in rows])
    return [Difference(statistics.mean(row), half(row), p, hedges(row)) for row, p in zip(rows, ps, strict=True)]


def shown_p(p: float) -> str:
    """As in a table."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def shown_g(g: float) -> str:
    """Likewise; a dash where there are too few seeds."""
    return "–" if math.isnan(g) else f"{g:+.2f}".replace("inf", "∞")


def markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """A table's lines in Markdown."""
    return ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|", *("| " + " | ".join(r) + " |" for r in body)]
