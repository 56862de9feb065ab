"""What the generator claims is counted: mutual information of every atom, and the exact Bayes rule."""

from collections import Counter, defaultdict
from itertools import combinations
from math import erf, log2, sqrt

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from parse_p2p.core.types import Modality
from parse_p2p.data.sets import bits

TWO, THREE = ("audio", "motion"), ("a", "b", "c")
EVERY = ("redundant", "unique", "synergistic")


def made(**options):
    return bits.open(bits.Options(**{"noise": 0.0, **options}), options.pop("seed", 0))


def symbols(dataset, modalities):
    """Per sample the tuple of code points seen; noiseless rows of one symbol are equal to the last bit."""
    seen = [torch.unique(dataset.inputs[m], dim=0, return_inverse=True)[1].tolist() for m in modalities]
    return list(zip(*seen, strict=True)) if seen else [()] * len(dataset)


def information(one, other):
    """Plug-in mutual information in bits, and the bias to allow for."""
    n, joint, left, right = len(one), Counter(zip(one, other, strict=True)), Counter(one), Counter(other)
    value = sum(c / n * log2(c * n / (left[x] * right[y])) for (x, y), c in joint.items())
    return value, (len(left) - 1) * (len(right) - 1) / (n * np.log(2)) + 5 / sqrt(n) * 0.05


def subsets(names):
    return [frozenset(s) for size in range(len(names) + 1) for s in combinations(names, size)]


def test_two_modalities_hold_one_bit_of_each_atom():
    dataset = made(samples=6000)
    labels = dataset.targets.numpy()
    targets = {name: (labels >> place & 1).tolist() for place, name in enumerate(("r", "u1", "u2", "s"))}
    want = {
        ("audio",): {"r": 1, "u1": 1, "u2": 0, "s": 0},
        ("motion",): {"r": 1, "u1": 0, "u2": 1, "s": 0},
        TWO: {"r": 1, "u1": 1, "u2": 1, "s": 1},
    }
    for modalities, atoms in want.items():
        view = symbols(dataset, modalities)
        for atom, expected in atoms.items():
            value, bias = information(view, targets[atom])
            assert abs(value - expected) <= bias, (modalities, atom)


@pytest.mark.parametrize(("synergy", "pairs"), [("all", {("a", "b"): 0, ("a", "c"): 0, ("b", "c"): 0}),
                                                ("pair", {("a", "b"): 1, ("a", "c"): 0, ("b", "c"): 0})])  # fmt: skip
def test_three_way_parity_is_hidden_from_every_pair(synergy, pairs):
    dataset = made(modalities=THREE, atoms=("synergistic",), synergy=synergy, samples=12000)
    parity = dataset.targets.tolist()
    assert dataset.classes == 2
    for modalities, expected in {**pairs, THREE: 1}.items():
        value, bias = information(symbols(dataset, modalities), parity)
        assert abs(value - expected) <= bias, modalities


@pytest.mark.parametrize("embedding", ["linear", "tanh"])
@pytest.mark.parametrize(
    ("modalities", "atoms", "synergy"),
    [
        (TWO, EVERY, "all"),
        (TWO, ("redundant",), "all"),
        (TWO, ("unique", "redundant"), "all"),
        (TWO, ("synergistic",), "pair"),
        (THREE, ("redundant", "synergistic"), "all"),
        (THREE, ("redundant", "synergistic"), "pair"),
        (THREE, ("unique",), "all"),
    ],
)
def test_the_exact_bayes_rule_reaches_the_ceiling_and_no_more(modalities, atoms, synergy, embedding):
    dataset = made(modalities=modalities, atoms=atoms, synergy=synergy, embedding=embedding, samples=12000)
    for seen in subsets(modalities):
        possible = defaultdict(set)
        for view, label in zip(symbols(dataset, sorted(seen)), dataset.targets.tolist(), strict=True):
            possible[view].add(label)
        # Classes left over by a view are equally likely, so the Bayes rule is right once in their number.
        assert {1 / len(labels) for labels in possible.values()} == {dataset.ceiling(seen)}, seen


@pytest.mark.parametrize("modalities", [TWO, THREE])
@pytest.mark.parametrize("atoms", [EVERY, ("unique", "redundant"), ("synergistic",)])
def test_a_guess_counts_as_often_as_it_would_be_right_whatever_was_drawn(modalities, atoms):
    dataset = made(modalities=modalities, atoms=atoms, synergy="pair", samples=6000)
    said = torch.randint(dataset.classes, (6000,), generator=torch.Generator().manual_seed(0))
    for seen in subsets(modalities):
        views, possible = symbols(dataset, sorted(seen)), defaultdict(set)
        for view, label in zip(views, dataset.targets.tolist(), strict=True):
            possible[view].add(label)
        true = [(k in possible[view]) / len(possible[view]) for view, k in zip(views, said.tolist(), strict=True)]
        mine = dataset.select(np.arange(6000), sorted(seen))
        assert mine.chances(said).tolist() == true, seen
        assert set(mine.chances(mine.targets).tolist()) == {dataset.ceiling(seen)}, seen


def test_ceilings_of_the_sixteen_class_task_are_the_published_ones():
    ceiling = made(samples=10).ceiling
    assert made(samples=10).classes == 16
    assert [ceiling(frozenset(map(Modality, s))) for s in ([], ["audio"], ["motion"], TWO)] == [1 / 16, 0.25, 0.25, 1]
    three = made(modalities=THREE, samples=10)
    assert three.classes == 32
    assert [three.ceiling(frozenset(THREE[:k])) for k in range(4)] == [1 / 32, 1 / 8, 1 / 4, 1]
    assert ceiling(frozenset({Modality("other"), Modality("audio")})) == 0.25


def test_by_default_noise_flips_bits_as_rarely_as_the_docstring_says():
    clean = made(samples=20000)
    noisy = bits.open(bits.Options(samples=20000), 0)
    points = torch.unique(clean.inputs["audio"], dim=0)
    read = points[torch.cdist(noisy.inputs["audio"], points).argmin(1)]
    wrong = float((read != clean.inputs["audio"]).any(1).double().mean())
    each = 0.5 * (1 - erf(1 / 0.3 / sqrt(2)))
    assert 0 < each < 1e-3 and abs(wrong - 3 * each) < 5 * sqrt(3 * each / 20000)
    residual = (noisy.inputs["audio"] - clean.inputs["audio"]).std()
    assert abs(float(residual) - 0.3) < 0.005


@pytest.mark.parametrize("embedding", ["linear", "tanh"])
@pytest.mark.parametrize("width", [3, 16, 40])
def test_nearest_code_points_are_two_apart(embedding, width):
    dataset = made(embedding=embedding, width=width, samples=500)
    for x in dataset.inputs.values():
        points = torch.unique(x, dim=0)
        assert points.shape == (8, width)
        assert float(torch.pdist(points).min()) == pytest.approx(2, abs=1e-4)


def test_linear_bits_lie_on_orthonormal_directions_and_tanh_bits_do_not():
    points = {e: torch.unique(made(embedding=e, samples=500).inputs["audio"], dim=0) for e in ("linear", "tanh")}
    rank = {e: int(torch.linalg.matrix_rank(p, atol=1e-3)) for e, p in points.items()}
    assert rank["linear"] == 3 and rank["tanh"] > 3
    assert torch.allclose(points["linear"].norm(dim=1), torch.tensor(3.0).sqrt(), atol=1e-5)


def test_the_seed_decides_everything():
    one, same, other = (bits.open(bits.Options(samples=50), seed) for seed in (4, 4, 5))
    assert all(torch.equal(one.inputs[m], same.inputs[m]) for m in one.modalities)
    assert torch.equal(one.targets, same.targets) and not torch.equal(one.targets, other.targets)


def test_classes_are_equally_likely():
    counts = torch.bincount(made(samples=16000).targets, minlength=16)
    assert len(counts) == 16 and (counts - 1000).abs().max() < 5 * sqrt(1000)


@pytest.mark.parametrize(
    "options",
    [
        {"modalities": ("a",)},
        {"modalities": ("a", "b", "c", "d")},
        {"modalities": ("a", "a")},
        {"atoms": ()},
        {"atoms": ("unique", "unique")},
        {"atoms": ("common",)},
        {"width": 2},
        {"noise": -0.1},
        {"noise": float("inf")},
        {"samples": 0},
    ],
)
def test_options_that_have_no_meaning_are_refused(options):
    with pytest.raises(ValidationError):
        bits.Options(**options)
