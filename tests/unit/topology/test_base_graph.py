"""Base-(k+1) graphs: exact means by products of their matrices, and small ones by hand."""

import math
from itertools import pairwise

import numpy as np
import pytest

from parse_p2p.topology.base_graph import base_graph


def matrix(n, edges):
    found = np.zeros((n, n))
    for a, b, weight in edges:
        assert a != b and not found[a, b], "an edge is named once"
        found[a, b] = found[b, a] = weight
    return found + np.diag(1 - found.sum(1))


@pytest.mark.parametrize("k", range(1, 7))
def test_all_have_the_exact_mean_with_k_neighbours_at_most_and_in_as_few_rounds_as_the_paper_says(k):
    for n in range(1, 70):
        rounds, product = base_graph(n, k), np.eye(n)
        for edges in rounds:
            mixing = matrix(n, edges)
            assert mixing.min() >= 0 and mixing.diagonal().min() > 0
            assert np.count_nonzero(mixing - np.diag(mixing.diagonal()), axis=1).max() <= k
            product = mixing @ product
        np.testing.assert_allclose(product, np.full((n, n), 1 / n), atol=1e-12, err_msg=f"{n} agents")
        assert len(rounds) <= 2 * math.log(n, k + 1) + 2 + 1e-9


@pytest.mark.parametrize(
    ("n", "k", "rounds"),
    [(1, 1, 0), (2, 1, 1), (3, 1, 3), (4, 1, 2), (5, 1, 5), (6, 1, 4), (7, 1, 5), (8, 1, 3), (12, 1, 5), (3, 2, 1),
     (6, 2, 2), (9, 2, 2), (11, 4, 4), (12, 2, 3), (6, 5, 1), (15, 4, 2), (22, 4, 4), (64, 7, 2), (216, 7, 3)],
)  # fmt: skip
def test_how_many_rounds_that_takes(n, k, rounds):
    assert len(base_graph(n, k)) == rounds


def test_nobody_or_many_more_partners_than_there_are_agents_take_no_time():
    assert base_graph(0, 1) == base_graph(1, 9) == ()
    assert base_graph(12, 10**12) == base_graph(12, 11)


def test_three_agents_in_pairs_by_hand():
    """Two average; one of them gives the third two thirds, and has as much of it; the two average again."""
    assert base_graph(3, 1) == (((0, 1, 1 / 2),), ((0, 2, 2 / 3),), ((0, 1, 1 / 2),))


def test_seven_agents_of_whom_two_blocks_wait_for_each_other():
    """4 + 2 + 1: three bridges' worth of weights, 4/7 to the last three, then 2/3 to the last one."""
    first, second, bridge, *rest = base_graph(7, 1)
    assert first == ((0, 1, 1 / 2), (2, 3, 1 / 2), (4, 5, 1 / 2))
    assert second == ((0, 2, 1 / 2), (1, 3, 1 / 2), (4, 5, 1 / 2))
    assert bridge == ((0, 4, 4 / 7), (1, 5, 4 / 7), (2, 6, 4 / 7))
    assert (4, 6, 2 / 3) in rest[0] and (0, 1, 1 / 2) in rest[0]


@pytest.mark.parametrize(("n", "k"), [(8, 1), (12, 2), (13, 2), (31, 3)])
def test_nobody_who_has_the_mean_of_his_part_sits_idle_while_others_agree(n, k):
    idle = [n - len({place for a, b, _ in edges for place in (a, b)}) for edges in base_graph(n, k)]
    assert max(idle) <= n // 2 and sum(idle) / len(idle) < n / 3


def test_rounds_are_no_two_alike_in_a_row():
    for n in range(3, 40):
        assert all(one != other for one, other in pairwise(base_graph(n, 1))), n
