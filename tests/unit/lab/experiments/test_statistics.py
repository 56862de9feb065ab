"""Intervals and tests against scipy's own, and Holm's correction against what it promises."""

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from parse_p2p.lab.experiments.statistics import (
    differences,
    half,
    hedges,
    holm,
    interval,
    markdown,
    paired,
    shown_g,
    shown_p,
)

VALUES = st.lists(st.floats(-10, 10).map(lambda x: round(x, 3)), min_size=3, max_size=8)


@given(VALUES)
def test_the_interval_and_the_test_are_those_of_scipy(values):
    if len(set(values)) == 1:
        return
    low, high = stats.t.interval(0.95, len(values) - 1, statistics.mean(values), stats.sem(values))
    assert half(values) == pytest.approx((high - low) / 2)
    assert paired(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_equal_rows_differ_in_nothing_and_a_constant_lead_is_a_lead():
    same, ahead = differences([[0.0] * 5, [0.1] * 5])
    assert (same.word, ahead.word) == ("no difference shown", "better")
    assert str(ahead) == "+0.100 ± 0.000 (better)"


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_never_lowers_a_p_and_keeps_their_order(ps):
    corrected = holm(ps)
    assert all(c >= p for c, p in zip(corrected, ps, strict=True))
    assert all(c <= 1 for c in corrected)
    for i, j in ((i, j) for i in range(len(ps)) for j in range(len(ps)) if ps[i] <= ps[j]):
        assert corrected[i] <= corrected[j]


def test_holm_on_a_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_without_any_effect_a_table_says_better_or_worse_once_in_twenty():
    """Of 400 tables with 8 rows of noise: 5 % expected, 8.9 % would be four standard errors more."""
    draw = random.Random(0)
    tables = [differences([[draw.gauss(0, 1) for _ in range(5)] for _ in range(8)]) for _ in range(400)]
    wrong = sum(any(d.word != "no difference shown" for d in table) for table in tables)
    assert wrong / 400 < 0.05 + 4 * (0.05 * 0.95 / 400) ** 0.5


def test_how_numbers_are_written():
    assert interval([]) == "–"
    assert interval([0.5]) == "0.500"
    assert interval([0.4, 0.6], 1) == "0.5 ± 1.3"
    assert markdown(["a", "b"], [["1", "2"]]) == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]


def test_the_effect_size_by_hand():
    """Of 1, 2, 3: mean 2, deviation 1, and J(2) = Γ(1) / (1 · Γ(1/2)) = 1 / √π."""
    assert hedges([1, 2, 3]) == pytest.approx(2 / math.sqrt(math.pi))
    assert hedges([-1, -2, -3]) == -hedges([1, 2, 3])
    assert hedges([0.1, 0.2, 0.3]) == pytest.approx(hedges([1, 2, 3]))
    five = [0.01, 0.03, 0.02, 0.05, -0.01]  # J(4) = Γ(2) / (√2 Γ(3/2)) = √2 / √π
    assert hedges(five) == pytest.approx(math.sqrt(2 / math.pi) * statistics.mean(five) / statistics.stdev(five))
    assert pytest.approx(
        hedges([0.0, 2.0] * 100 + [1.0]) * statistics.stdev([0.0, 2.0] * 100 + [1.0]), abs=1e-4
    ) == 1 - 3 / (4 * 200 - 1)
    assert (hedges([0.0] * 3), hedges([0.5] * 3), hedges([-0.5] * 3)) == (0, math.inf, -math.inf)
    assert math.isnan(hedges([1, 2]))


def test_the_effect_size_has_no_bias():
    """The mean over many samples of five is the true one, 1, and without J it is a quarter more."""
    draw = random.Random(0)
    found = [hedges([draw.gauss(1, 1) for _ in range(5)]) for _ in range(4000)]
    error = statistics.stdev(found) / math.sqrt(len(found))
    assert statistics.mean(found) == pytest.approx(1, abs=4 * error) and error < 0.02


def test_how_tests_are_written():
    assert [shown_p(p) for p in (0.0, 0.00099, 0.001, 0.0456, 1.0)] == ["<0.001", "<0.001", "0.001", "0.046", "1.000"]
    assert [shown_g(g) for g in (math.nan, math.inf, -math.inf, 1.234, -0.5)] == ["–", "+∞", "-∞", "+1.23", "-0.50"]
