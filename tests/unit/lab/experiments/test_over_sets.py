"""Tests over data sets against scipy, and against the worked examples of Demšar's paper."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from parse_p2p.lab.experiments.over_sets import body, friedman, mean_ranks, notes, signed_rank

# Demšar 2006, table 2: accuracies of C4.5 and of C4.5 with m tuned, on 14 sets
PLAIN = [0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661, 0.583, 0.775, 1.0, 0.940, 0.619, 0.972, 0.957]
TUNED = [0.768, 0.591, 0.971, 0.661, 0.888, 0.931, 0.668, 0.583, 0.838, 1.0, 0.962, 0.666, 0.981, 0.978]


def test_friedman_without_ties_is_the_formula():
    rows = [[3, 3, 2, 3], [2, 1, 3, 2], [1, 2, 1, 1]]
    ranks = mean_ranks(rows)
    assert ranks == [1.25, 2.0, 2.75]
    chi, f, _ = friedman(rows)
    assert chi == pytest.approx(12 * 4 / (3 * 4) * (sum(r * r for r in ranks) - 3 * 16 / 4)) == pytest.approx(4.5)
    assert f == pytest.approx(3 * 4.5 / (4 * 2 - 4.5))


@settings(max_examples=30)
@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=2, max_size=6))
def test_friedman_is_scipys_statistic_in_the_form_of_iman_and_davenport(scores):
    rows = [list(row) for row in zip(*scores, strict=True)]
    if all(len(set(each)) == 1 for each in scores):
        return
    chi, f, p = friedman(rows)
    assert chi == pytest.approx(stats.friedmanchisquare(*rows).statistic)
    n = len(scores)
    if chi < 2 * n - 1e-6:
        assert f == pytest.approx((n - 1) * chi / (2 * n - chi)) and p == pytest.approx(stats.f.sf(f, 2, 2 * (n - 1)))


def test_equal_scores_share_their_ranks():
    assert mean_ranks([[0.5, 0.9], [0.5, 0.1], [0.2, 0.1]]) == [1.25, 2.0, 2.75]


def test_rows_that_never_differ_and_rows_in_the_same_order_everywhere():
    assert friedman([[1, 2], [1, 2], [1, 2]]) == (0.0, 0.0, 1.0)
    chi, f, p = friedman([[3, 3], [2, 2], [1, 1]])
    assert chi == pytest.approx(4) and (f, p) == (float("inf"), 0.0)


def test_the_signed_rank_test_of_the_paper():
    """R+ = 93 and R− = 12, of 14 sets with two of no difference."""
    found = signed_rank([b - a for a, b in zip(PLAIN, TUNED, strict=True)])
    sizes = [3.5, 7, 9, 12, 5, 3.5, 6, 14, 11, 13, 8, 10]
    signs = itertools.product((0, 1), repeat=12)
    sums = [sum(r for r, s in zip(sizes, each, strict=True) if s) for each in signs]
    assert sum(sizes) == 102
    exact = sum(abs(total - 51) >= 91.5 - 51 for total in sums) / 2**12
    assert found == exact and 0.005 < found < 0.02


@settings(max_examples=40)
@given(st.lists(st.integers(-1000, 1000).filter(bool), min_size=2, max_size=9, unique_by=abs))
def test_without_ties_it_is_scipys_exact_test(values):
    assert signed_rank([v / 7 for v in values]) == pytest.approx(stats.wilcoxon(values, method="exact").pvalue)


@given(st.lists(st.sampled_from([-0.2, -0.1, 0.0, 0.1, 0.2, 0.3]), min_size=1, max_size=7))
def test_with_ties_and_zeros_it_counts_all_signs(values):
    ranks = [float(r) for r in stats.rankdata([round(abs(v), 9) for v in values])]
    nonzero = [(r, v) for r, v in zip(ranks, values, strict=True) if v]
    seen = abs(sum(r if v > 0 else -r for r, v in nonzero))
    every = [abs(sum(s * r for s, (r, _) in zip(signs, nonzero, strict=True)))
             for signs in itertools.product((-1, 1), repeat=len(nonzero))]  # fmt: skip
    assert signed_rank(values) == pytest.approx(sum(e >= seen - 1e-9 for e in every) / len(every))


def test_differences_that_are_equal_but_for_rounding_share_a_rank():
    one, other = 0.3 - 0.1, 0.8 - 0.6
    assert one != other
    assert signed_rank([one, -other, 0.9]) == signed_rank([-one, other, 0.9]) == 0.75


def test_the_smallest_p_is_two_of_all_signs():
    assert [signed_rank([0.1, 0.2, 0.3, 0.4][:n]) for n in (1, 2, 3, 4)] == [1.0, 0.5, 0.25, 0.125]


def test_a_line_for_each_row_says_where_the_baseline_is_ahead():
    scores = {"mine": [0.9, 0.8, 0.7], "theirs": [0.8, 0.7, 0.8], "none": [0.5, 0.5, 0.5]}
    assert body(scores, "mine") == [
        ["mine", "", "", "", "1.33"],
        ["theirs", "+0.033", "2 of 3", "1.000", "1.67"],
        ["none", "+0.300", "3 of 3", "0.500", "3.00"],  # .25, twice by Holm
    ]
    said = " ".join(notes(scores, 3))
    assert "With 3 sets and 3 rows no p can be below 0.500" in said and "F(2, 4)" in said
    assert said.startswith("Each of 3 data sets counts once, by the mean over seeds.")
    assert "by the mean of its tasks, 5 in all, and over seeds" in " ".join(notes(scores, 5))
    assert "Friedman" not in " ".join(notes({"a": [1, 2], "b": [2, 1]}, 2))


def test_what_no_p_can_show_is_what_is_left_by_the_correction():
    def said(sets, rows):
        return " ".join(notes({str(row): [float(row)] * sets for row in range(rows)}, sets))

    assert "no p can be" not in said(6, 2) and "no p can be below 0.062" in said(6, 3)  # 2 / 64 for each other row
    assert "no p can be" not in said(7, 4) and "no p can be below 0.062" in said(7, 5)
    assert "no p can be below 1.000" in said(2, 9)
