"""Codes, overlap and probes of representations, against cases whose truth is known."""

import math

import numpy as np
import pytest

from parse_p2p.lab.analysis import probes


def drawn(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def rotated(x, seed=9):
    turn, _ = np.linalg.qr(drawn(seed, x.shape[1], x.shape[1]))
    return x @ turn


def test_codes_tell_clusters_apart_also_in_samples_not_seen():
    middles = 10 * drawn(0, 6, 4)
    label = np.random.default_rng(1).integers(0, 6, 600)
    x = middles[label] + 0.1 * drawn(2, 600, 4)
    codes = probes.codebook(x[:300], 6, 0).predict(x[300:])
    assert len({(c, t) for c, t in zip(codes, label[300:], strict=True)}) == 6
    assert np.array_equal(codes, probes.codebook(x[:300], 6, 0).predict(x[300:]))


def test_a_codebook_is_no_larger_than_the_samples_are_different():
    x = np.repeat([[0.0], [1.0]], 5, axis=0)
    assert len(probes.codebook(x, 8, 0).cluster_centers_) == 2


def test_alignment_does_not_see_rotations_and_scale():
    x, y = drawn(0, 400, 5), drawn(1, 400, 7)
    assert probes.cka(x, 3 * rotated(x) + 1) == pytest.approx(1)
    assert probes.cka(x, y) == pytest.approx(probes.cka(rotated(x), 2 * rotated(y)))
    assert probes.cka(x, y) < 0.05
    assert probes.cka(x, np.ones((400, 2))) == 0


def test_correlation_is_one_of_copies_and_chance_of_independent_features():
    x, y = drawn(0, 1000, 1), drawn(1, 1000, 6)
    assert probes.correlation(x, -2 * x + 3) == pytest.approx(1)
    assert probes.correlation(x, y) < 5 / 1000
    assert probes.correlation(x, np.full((1000, 2), 0.1)) == 0


def test_explained_variance_is_that_of_the_means():
    label = np.arange(400) % 2
    x = np.column_stack([label * 2.0, np.tile([1.0, 1, -1, -1], 100)])  # the second is the same in both classes
    assert probes.explained(x, label) == pytest.approx(0.5)
    assert probes.explained(np.ones((400, 2)), label) == 0


def test_a_probe_finds_no_more_than_there_is():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 4, 1200)
    low, high = label % 2, label // 2
    flipped = high ^ (rng.random(1200) < 0.1)
    clean = np.column_stack([low, rng.standard_normal(1200)])
    noisy = np.column_stack([low, flipped]).astype(float)
    capacity = 1 + 0.1 * math.log2(0.1) + 0.9 * math.log2(0.9)
    assert 0.9 < probes.probe(clean, label, 0) <= 1.01
    assert 0.9 + capacity < probes.probe(noisy, label, 0) <= 1.05 + capacity
    assert probes.probe(drawn(1, 1200, 3), label, 0) < 0.01


def test_a_probe_of_too_little_says_nothing():
    assert probes.probe(drawn(0, 6, 2), np.arange(6), 0) == 0
    assert probes.probe(drawn(0, 60, 2), np.zeros(60, dtype=np.int64), 0) == 0


def test_a_class_that_a_fold_does_not_know_costs_a_finite_price():
    label = np.zeros(60, dtype=np.int64)
    label[0], label[30:] = 2, 1
    x = np.column_stack([label == 1, label == 2]).astype(float)
    assert 0.5 < probes.probe(x, label, 0) < 1.2
