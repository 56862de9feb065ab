"""Partitions hold for every label layout hypothesis finds, not just for a friendly one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import Modality
from parse_p2p.data.base import Dataset
from parse_p2p.data.partition import PARTITIONS, dirichlet


def labelled(labels, groups=None):
    y = torch.tensor(labels, dtype=torch.int64)
    x = torch.arange(len(y), dtype=torch.float32).unsqueeze(1)
    kin = None if groups is None else torch.tensor(groups, dtype=torch.int64)
    return Dataset("made", {Modality("a"): x}, y, int(y.max()) + 1, kin)


def balanced(samples=3000, classes=10):
    return labelled(np.arange(samples) % classes)


def skew(dataset, parts):
    """Mean total variation between an agent's labels and all labels: 0 is iid, near 1 is one class each."""
    whole = np.bincount(dataset.targets, minlength=dataset.classes) / len(dataset)
    counts = [np.bincount(dataset.targets[rows], minlength=dataset.classes) / len(rows) for rows in parts]
    return float(np.mean([np.abs(c - whole).sum() / 2 for c in counts]))


@settings(max_examples=60, deadline=None)
@given(
    labels=st.lists(st.integers(0, 5), min_size=40, max_size=160),
    agents=st.integers(1, 5),
    alpha=st.sampled_from([1e-6, 0.01, 0.1, 1.0, 100.0]),
    seed=st.integers(0, 2**32 - 1),
    name=st.sampled_from(sorted(PARTITIONS)),
)
def test_every_row_has_one_agent_and_the_seed_decides(labels, agents, alpha, seed, name):
    dataset = labelled(labels, groups=np.arange(len(labels)) % 7)
    parts = PARTITIONS[name](dataset, agents, np.random.default_rng(seed), alpha)
    again = PARTITIONS[name](dataset, agents, np.random.default_rng(seed), alpha)
    assert len(parts) == agents and all(rows.dtype == np.int64 and len(rows) for rows in parts)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(labels)))
    assert all(np.array_equal(one, other) and (np.diff(one) > 0).all() for one, other in zip(parts, again, strict=True))


@settings(max_examples=30, deadline=None)
@given(alpha=st.sampled_from([1e-6, 0.05, 0.5]), agents=st.integers(2, 12), seed=st.integers(0, 999))
def test_dirichlet_leaves_nobody_under_the_minimum_even_where_it_is_the_whole_set(alpha, agents, seed):
    dataset = labelled(np.arange(8 * agents) % 2)
    parts = dirichlet(dataset, agents, np.random.default_rng(seed), alpha)
    assert [len(rows) for rows in parts] == [8] * agents


def test_dirichlet_skew_shrinks_with_alpha():
    dataset = balanced()
    skews = []
    for alpha in (0.05, 0.5, 5.0, 500.0):
        draws = [dirichlet(dataset, 8, np.random.default_rng(seed), alpha) for seed in range(5)]
        skews.append(np.mean([skew(dataset, parts) for parts in draws]))
    assert skews == sorted(skews, reverse=True)
    assert skews[0] > 0.6 and skews[-1] < 0.06


def test_dirichlet_shares_have_the_mean_and_variance_of_the_distribution():
    alpha, agents, dataset = 2.0, 4, labelled(np.zeros(4000, dtype=int))
    draws = [dirichlet(dataset, agents, np.random.default_rng(s), alpha, minimum=0) for s in range(600)]
    shares = np.array([[len(rows) / len(dataset) for rows in parts] for parts in draws])
    total = alpha * agents
    variance = (1 / agents) * (1 - 1 / agents) / (total + 1)
    assert np.allclose(shares.mean(0), 1 / agents, atol=5 * (variance / 600) ** 0.5)
    assert np.allclose(shares.var(0), variance, rtol=0.3)


def test_iid_shares_are_even_in_size_and_in_labels():
    dataset = balanced(3001)
    parts = PARTITIONS["iid"](dataset, 8, np.random.default_rng(0), 0.0)
    assert {len(rows) for rows in parts} == {375, 376}
    assert skew(dataset, parts) < 0.1


def test_group_never_divides_a_group_and_deals_them_evenly():
    groups = np.repeat([5, 11, -3, 40, 8, 9, 2], [30, 2, 9, 50, 1, 17, 4])
    parts = PARTITIONS["group"](labelled(groups % 2, groups), 3, np.random.default_rng(4), 0.5)
    held = [set(groups[rows]) for rows in parts]
    assert sorted(len(names) for names in held) == [2, 2, 3]
    assert not held[0] & held[1] and not held[0] & held[2] and not held[1] & held[2]


@pytest.mark.parametrize(
    ("name", "dataset", "agents", "alpha", "words"),
    [
        ("dirichlet", labelled([0, 1] * 20), 6, 0.5, "8 samples for each of 6 agents.*'made' has 40; use 1 to 5"),
        ("dirichlet", balanced(), 4, 0.0, "alpha 0.0"),
        ("dirichlet", balanced(), 4, float("nan"), "alpha nan"),
        ("dirichlet", balanced(), 4, float("inf"), "alpha inf"),
        ("dirichlet", balanced(), 0, 0.5, "each of 0 agents"),
        ("iid", labelled([0, 1]), 3, 0.5, "1 samples for each of 3 agents"),
        ("iid", balanced(), 0, 0.5, "each of 0 agents"),
        ("group", labelled([0, 1]), 2, 0.5, "'made' has no natural groups; use iid or dirichlet"),
        ("group", labelled([0, 1, 0], [3, 3, 4]), 3, 0.5, "'made' has 2 natural groups for 3 agents"),
        ("group", labelled([0, 1, 0], [3, 3, 4]), 0, 0.5, "2 natural groups for 0 agents"),
    ],
)
def test_what_cannot_be_dealt_says_so(name, dataset, agents, alpha, words):
    with pytest.raises(ConfigError, match=words):
        PARTITIONS[name](dataset, agents, np.random.default_rng(0), alpha)
