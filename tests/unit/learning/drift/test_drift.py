"""What tells of a drift: inputs far from the start's by a formula, and errors that grow by ADWIN of river."""

import importlib.util
import sys

import pytest
import torch

from parse_p2p.core import plugins
from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import Modality
from parse_p2p.data.base import Dataset, Scale
from parse_p2p.data.tasks.classification import CLASSIFICATION
from parse_p2p.data.tasks.regression import Regression
from parse_p2p.learning.drift.base import Drift, DriftOptions, shifts

A, B = Modality("a"), Modality("b")
river = pytest.mark.skipif(importlib.util.find_spec("river") is None, reason="river is not installed")


def made(**options):
    return DriftOptions.model_validate(options).detector()


def arrived(a, has=None):
    there = {} if has is None else {A: torch.tensor(has)}
    return Dataset("some", {A: torch.tensor(a)}, torch.zeros(len(a), dtype=torch.int64), 2, present=there)


def test_a_shift_is_the_mean_distance_of_means_in_deviations_of_the_start():
    start = Scale.given([1.0, -2.0], [2.0, 0.5], 1)
    found = shifts({A: start}, arrived([[4.0, -2.0], [6.0, -3.0]]))
    assert found == {A: pytest.approx(((5 - 1) / 2 + (2.5 - 2) / 0.5) / 2)}


def test_of_a_series_the_channels_are_compared_and_what_is_constant_at_the_start_is_left_out():
    start = Scale.given([0.0, 7.0], [2.0, 0.0], 2)
    assert shifts({A: start}, arrived([[[1.0, 3.0], [0.0, 0.0]]])) == {A: 1.0}
    assert shifts({A: Scale.given([0.0], [0.0], 1)}, arrived([[1.0]])) == {}
    assert shifts({A: Scale.none()}, arrived([[1.0]])) == {}


def test_samples_without_the_modality_do_not_count():
    start = Scale.given([0.0], [1.0], 1)
    assert shifts({A: start}, arrived([[4.0], [0.0]], [True, False])) == {A: 4.0}
    assert shifts({A: start}, arrived([[0.0]], [False])) == {}


def test_inputs_beyond_the_threshold_are_a_drift():
    detector = made(kind="shift", above=0.5)
    assert list(detector.update(torch.zeros(0), {A: 0.5, B: 0.6})) == [Drift("inputs of b", 0.6, 0.0)]


def test_errors_of_a_task_are_from_0_to_1():
    assert CLASSIFICATION.errors(torch.tensor([[0.1, 0.9], [2.0, 1.0]]), torch.tensor([0, 0])).tolist() == [1, 0]
    found = Regression().errors(torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [0.0]]))
    assert found.tolist() == [0, 9 / 10]


def stream(before, after, count, seed=0):
    rng = torch.Generator().manual_seed(seed)
    chances = torch.cat([torch.full((count,), before), torch.full((count,), after)])
    return (torch.rand(2 * count, generator=rng) < chances).double().split(50)


def seen(parts, **options):
    detector = made(kind="adwin", **options)
    return {k: found for k, part in enumerate(parts) if (found := list(detector.update(part, {})))}


@river
def test_adwin_sees_errors_that_grow_when_they_do():
    found = seen(stream(0.1, 0.5, 500))
    assert min(found) in (10, 11, 12), "they grow from piece 10 on"
    [first] = found[min(found)]
    assert first.what == "errors" and first.before < 0.2 < first.value


@river
def test_adwin_says_nothing_of_errors_that_stay_or_fall():
    assert seen(stream(0.3, 0.3, 500)) == {} == seen(stream(0.6, 0.1, 500))


@river
def test_the_smaller_delta_the_later():
    parts = stream(0.2, 0.5, 500, seed=2)
    assert min(seen(parts, delta=0.5)) < min(seen(parts, delta=1e-5))


def test_without_river_a_sentence_says_what_to_install(monkeypatch):
    options = DriftOptions.model_validate({"kind": "adwin"})
    monkeypatch.setitem(sys.modules, "river.drift", None)
    with pytest.raises(ConfigError, match=r"pip install 'parse-p2p\[streams\]'"):
        options.detector()


def test_those_there_are():
    assert plugins.known(plugins.DRIFTS) == ["adwin", "shift"]
