"""Rows compared over several data sets, each of which counts once, however many tasks are made of it.

Seeds of one data set say how sure a difference is there; whether a method is ahead on data of a kind, only several sets
can say. After Janez Demšar, Statistical Comparisons of Classifiers over Multiple Data Sets, Journal of Machine Learning
Research 7 (2006), sections 3.1.3 and 3.2.2.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence

from scipy import stats

from parse_p2p.lab.experiments.statistics import LEVEL, holm, shown_p

Scores = Mapping[str, Sequence[float]]
"""By row the score on each set."""


def body(scores: Scores, baseline: str) -> list[list[str]]:
    """A line a row: how far the baseline is ahead of it, on how many sets, p over sets (Holm over rows), mean rank."""
    others = {row: differences(scores, baseline, row) for row in scores if row != baseline}
    ps = dict(zip(others, holm([signed_rank(each) for each in others.values()]), strict=True))
    ranks = dict(zip(scores, mean_ranks(list(scores.values())), strict=True))
    lines = []
    for row in scores:
        cells = ["", "", ""]
        if row != baseline:
            ahead = sum(d > 0 for d in others[row])
            cells = [f"{statistics.mean(others[row]):+.3f}", f"{ahead} of {len(others[row])}", shown_p(ps[row])]
        lines.append([row, *cells, f"{ranks[row]:.2f}"])
    return lines


def differences(scores: Scores, first: str, second: str) -> list[float]:
    """Set by set."""
    return [a - b for a, b in zip(scores[first], scores[second], strict=True)]


def notes(scores: Scores, tasks: int) -> Iterator[str]:
    """What a reader has to know of such a table, whose sets have that many ``tasks`` together."""
    sets = len(next(iter(scores.values())))
    of = f" of its tasks, {tasks} in all, and" if tasks > sets else ""
    yield (
        f"Each of {sets} data sets counts once, by the mean{of} over seeds. p is that of Wilcoxon's exact two-sided "
        "signed-rank test over sets, with Holm's correction over the rows of this table; rank 1 is the best."
    )
    if (least := min(1.0, 2 / 2**sets * (len(scores) - 1))) >= LEVEL:
        yield (
            f"With {sets} sets and {len(scores)} rows no p can be below {least:.3f}: at 5 % nothing can be shown here, "
            "however large it is."
        )
    if len(scores) > 2:
        chi, f, p = friedman(list(scores.values()))
        low, high = len(scores) - 1, (len(scores) - 1) * (sets - 1)
        yield (
            f"That all rows are alike: Friedman's χ² = {chi:.2f}, in the form of Iman and Davenport F({low}, {high}) = "
            f"{f:.2f}, p {'' if p < 0.001 else '= '}{shown_p(p)}."
        )


def signed_rank(differences: Sequence[float]) -> float:
    """p of the two-sided Wilcoxon signed-rank test that differences lie about 0, exact for any number of them.

    Equal sizes have the mean of their ranks. Differences of 0 are ranked too, and count half on either side (Demšar,
    section 3.1.3), so that they say nothing of the direction. All ways to deal signs to the others are counted.
    """
    exact = [round(d, 12) for d in differences]  # what is equal but for rounding is equal
    ranks = [round(2 * float(r)) for r in stats.rankdata([abs(d) for d in exact])]  # whole numbers
    signed = [(rank, d > 0) for rank, d in zip(ranks, exact, strict=True) if d != 0]
    whole, found = sum(rank for rank, _ in signed), sum(rank for rank, above in signed if above)
    ways = [1] + [0] * whole  # how many ways to choose ranks come to each sum
    for rank, _ in signed:
        ways = [n + (ways[total - rank] if total >= rank else 0) for total, n in enumerate(ways)]
    far = abs(2 * found - whole)
    farther = sum(n for total, n in enumerate(ways) if abs(2 * total - whole) >= far)
    return float(farther / 2 ** len(signed))


def mean_ranks(rows: Sequence[Sequence[float]]) -> list[float]:
    """Of each row its rank among all on a set, from 1 for the highest score, in the mean over sets."""
    by_set = [stats.rankdata([-score for score in scores]) for scores in zip(*rows, strict=True)]
    return [float(statistics.mean(map(float, ranks))) for ranks in zip(*by_set, strict=True)]


def friedman(rows: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """χ² of three rows or more over N ≥ 2 sets, F = (N − 1) χ² / (N (k − 1) − χ²), and its p.

    ``F`` (Iman and Davenport, Communications in Statistics A 9, 1980) is less conservative than χ². Where all rows have
    the same score on each set, 0 and a p of 1.
    """
    k, n = len(rows), len(rows[0])
    if all(len(set(scores)) == 1 for scores in zip(*rows, strict=True)):
        return 0.0, 0.0, 1.0
    chi = float(stats.friedmanchisquare(*rows).statistic)
    rest = n * (k - 1) - chi
    f = (n - 1) * chi / rest if rest > 1e-9 else float("inf")
    return chi, f, float(stats.f.sf(f, k - 1, (k - 1) * (n - 1)))
