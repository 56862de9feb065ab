"""Mixers: what each leaves alone, what a liar can do to each, and one liar among agents that learn."""

import math
from dataclasses import replace
from functools import cache
from itertools import permutations
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from plans import finished, plan
from pydantic import ValidationError

from parse_p2p.core import plugins
from parse_p2p.core.message import LARGEST, Message
from parse_p2p.core.mixers.clipped import Clipped
from parse_p2p.core.mixers.krum import Krum
from parse_p2p.core.mixers.median import Median
from parse_p2p.core.mixers.trimmed_mean import TrimmedMean
from parse_p2p.core.mixers.weighted import weighted
from parse_p2p.methods.base import Done, advance
from parse_p2p.methods.gossip import GossipOptions

MIXERS: dict[str, Any] = {
    "weighted": weighted,
    "clipped": Clipped(clip=0.5).mix,
    "trimmed-mean": TrimmedMean().mix,
    "median": Median().mix,
    "krum": Krum().mix,
}
values = st.floats(-LARGEST, LARGEST, width=32)
vectors = st.lists(values, min_size=3, max_size=3).map(torch.tensor)
copies = st.lists(vectors, min_size=1, max_size=8)


def mixed(mixer, rows, order=None):
    """What the owner of the first row ends with; the others' messages comes in this order, with weights 1/n."""
    mine, names = rows[0].clone(), [f"p{k}" for k in range(1, len(rows))]
    theirs = {names[k]: rows[k + 1].clone() for k in (range(len(names)) if order is None else order)}
    mixer(mine, theirs, dict.fromkeys(names, 1 / len(rows)))
    return mine


def some(count, size=4, seed=0):
    return list(torch.randn(count, size, generator=torch.Generator().manual_seed(seed)))


def range_of(rows):
    stacked = torch.stack(rows)
    return stacked.min(0).values, stacked.max(0).values


def test_the_options_name_every_mixer_and_weighted_is_the_default():
    assert GossipOptions().mixer == "weighted"
    assert sorted(MIXERS) == plugins.known(plugins.MIXERS)
    rows = some(6)
    for name, mixer in MIXERS.items():
        options = GossipOptions.model_validate({"mixer": name, "clip": 0.5, "byzantine": 1})
        assert torch.equal(mixed(options.mixing.mix, rows), mixed(mixer, rows))
    for name, other in permutations(MIXERS, 2):
        assert not torch.equal(mixed(MIXERS[name], rows), mixed(MIXERS[other], rows)), (name, other)


def test_radius_and_number_of_liars_reach_the_mixer():
    rows = some(8)  # too few for krum with b = 3
    chosen = GossipOptions.model_validate({"mixer": "clipped", "clip": 0.1}).mixing
    assert torch.equal(mixed(chosen.mix, rows), mixed(Clipped(clip=0.1).mix, rows))
    for name in ("trimmed-mean", "krum"):
        one, other = (GossipOptions.model_validate({"mixer": name, "byzantine": b}).mixing for b in (1, 3))
        assert not torch.equal(mixed(one.mix, rows), mixed(other.mix, rows))


@pytest.mark.parametrize("wrong", [{"mixer": "mean"}, {"clip": 0}, {"clip": math.inf}, {"byzantine": -1}])
def test_options_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        GossipOptions(**wrong)


@pytest.mark.parametrize("name", MIXERS)
@given(row=vectors, count=st.integers(1, 9), wide=st.booleans())
def test_equal_copies_stay_equal_to_the_last_bit(name, row, count, wide):
    row = row.double() / 3 if wide else row / 3
    assert torch.equal(mixed(MIXERS[name], [row] * count), row)


def test_equal_copies_in_double_stay_equal_where_their_mean_is_rounded():
    row = torch.tensor([0.1], dtype=torch.float64)
    assert (row + row + row) / 3 != row
    assert torch.equal(mixed(TrimmedMean().mix, [row] * 5), row)


@pytest.mark.parametrize("name", MIXERS)
@given(data=st.data(), rows=copies)
def test_the_order_of_the_messages_does_not_matter(name, data, rows):
    order = data.draw(st.permutations(range(len(rows) - 1)))
    assert torch.equal(mixed(MIXERS[name], rows), mixed(MIXERS[name], rows, order))


@pytest.mark.parametrize("name", MIXERS)
def test_the_copies_that_came_are_not_changed(name):
    rows = some(6)
    mine, theirs = rows[0].clone(), {f"p{k}": row.clone() for k, row in enumerate(rows[1:])}
    MIXERS[name](mine, theirs, dict.fromkeys(theirs, 1 / 6))
    assert all(torch.equal(theirs[f"p{k}"], row) for k, row in enumerate(rows[1:]))


@pytest.mark.parametrize("name", ["trimmed-mean", "median"])
@given(data=st.data(), rows=copies)
def test_agents_that_have_the_same_copies_agree_to_the_last_bit(name, data, rows):
    assume(name == "median" or len(rows) > 2)
    order = data.draw(st.permutations(range(len(rows))))
    assert torch.equal(mixed(MIXERS[name], rows), mixed(MIXERS[name], [rows[k] for k in order]))


@pytest.mark.parametrize("name", ["trimmed-mean", "median"])
@given(rows=copies)
def test_every_coordinate_lies_between_the_copies(name, rows):
    low, high = range_of(rows)
    result = mixed(MIXERS[name], rows)
    assert (low <= result).all()
    assert (result <= high).all()


@given(data=st.data(), byzantine=st.integers(1, 3))
def test_liars_among_enough_copies_cannot_leave_the_range_of_the_honest(data, byzantine):
    honest = data.draw(st.lists(vectors, min_size=byzantine + 1, max_size=8))
    lies = data.draw(st.lists(vectors, min_size=1, max_size=byzantine))
    rows = [honest[0], *data.draw(st.permutations([*honest[1:], *lies]))]
    low, high = range_of(honest)
    for mixer in (Median().mix, TrimmedMean(byzantine=byzantine).mix):
        result = mixed(mixer, rows)
        assert (low <= result).all(), mixer
        assert (result <= high).all(), mixer


@given(rows=copies, radius=st.floats(1e-3, 1e3))
def test_a_clipped_step_is_never_longer_than_the_weights_times_the_radius(rows, radius):
    step = mixed(Clipped(clip=radius).mix, rows).double() - rows[0].double()
    rounding = 1e-6 * len(rows) * float(rows[0].norm())
    assert float(step.norm()) <= (len(rows) - 1) / len(rows) * radius * (1 + 1e-5) + rounding


@given(rows=copies)
def test_clipped_at_a_radius_beyond_all_differences_is_weighted_to_the_last_bit(rows):
    assert torch.equal(mixed(Clipped(clip=1e9).mix, rows), mixed(weighted, rows))


def test_clipped_by_hand():
    rows = [torch.tensor([0.0, 0.0]), torch.tensor([3.0, 4.0]), torch.tensor([0.0, -0.5])]
    result = mixed(Clipped(clip=1.0).mix, rows)
    torch.testing.assert_close(result, torch.tensor([0.6, 0.8 - 0.5]) / 3)


@given(rows=copies)
def test_a_trimmed_mean_that_trims_nothing_is_the_mean(rows):
    wanted = torch.stack(rows).double().mean(0).float()
    torch.testing.assert_close(mixed(TrimmedMean(byzantine=0).mix, rows), wanted)


@given(rows=copies.filter(lambda rows: len(rows) % 2))
def test_a_trimmed_mean_that_trims_all_it_can_is_the_median(rows):
    wanted = torch.stack(rows).median(0).values
    assert torch.equal(mixed(TrimmedMean(byzantine=len(rows) // 2).mix, rows), wanted)
    assert torch.equal(mixed(Median().mix, rows), wanted)


def test_trimmed_mean_and_median_by_hand():
    rows = [torch.tensor([x, -x]) for x in (3.0, 1.0, 100.0, 2.0)]
    assert torch.equal(mixed(TrimmedMean().mix, rows), torch.tensor([2.5, -2.5]))
    assert torch.equal(mixed(Median().mix, rows), torch.tensor([2.5, -2.5]))
    assert torch.equal(mixed(TrimmedMean().mix, [*rows, torch.tensor([7.0, -7.0])]), torch.tensor([4.0, -4.0]))


@pytest.mark.parametrize("mixer", [TrimmedMean, Krum])
@pytest.mark.parametrize("byzantine", [1, 2, 3])
def test_with_too_few_copies_for_an_honest_majority_mine_stays(mixer, byzantine):
    rows = some(2 * byzantine + 1)
    for count in range(1, 2 * byzantine + 1):
        assert torch.equal(mixed(mixer(byzantine=byzantine).mix, rows[:count]), rows[0])
    assert not torch.equal(mixed(mixer(byzantine=byzantine).mix, rows), rows[0])


@pytest.mark.parametrize("byzantine", [0, 1, 2])
def test_krum_with_too_few_copies_is_the_trimmed_mean(byzantine):
    for count in (2 * byzantine + 1, 2 * byzantine + 2):
        rows = some(count)
        wanted = mixed(TrimmedMean(byzantine=byzantine).mix, rows)
        assert torch.equal(mixed(Krum(byzantine=byzantine).mix, rows), wanted)


def test_krum_by_hand():
    # n = 6, b = 1: by its three nearest it is 3.2 (0.0725 against 0.0825), by two it would be 3.1, by four 3.0
    rows = [torch.tensor([x]) for x in (3.0, 3.1, 3.2, 3.35, 1.0, 1000.0)]
    assert torch.equal(mixed(Krum().mix, rows), rows[2])
    # two that collude are nearest to each other, but with b = 2 among seven it is three near ones that count
    rows = [torch.tensor([x]) for x in (0.0, 0.1, 0.2, 0.3, 0.4, 50.0, 50.0)]
    assert mixed(Krum(byzantine=2).mix, rows) in torch.tensor([0.1, 0.2, 0.3])


def test_krum_prefers_mine_among_equals_and_then_the_first_by_name():
    corners = [torch.tensor([x, y]) for x in (0.0, 1.0) for y in (0.0, 1.0)]
    for k in range(4):
        rows = [corners[k], *corners[:k], *corners[k + 1 :]]
        assert torch.equal(mixed(Krum(byzantine=0).mix, rows), corners[k])
    rows = [torch.tensor([9.0, 9.0]), corners[2], corners[1], corners[0], corners[3]]
    for order in permutations(range(4)):
        assert torch.equal(mixed(Krum().mix, rows, order), corners[2])


@given(data=st.data(), byzantine=st.integers(1, 2), seed=st.integers(0, 99))
def test_krum_takes_an_honest_copy_when_the_honest_are_close(data, byzantine, seed):
    count = data.draw(st.integers(byzantine + 3, 9))
    honest = [0.01 * row for row in some(count, 3, seed)]
    lies = data.draw(
        st.lists(vectors.filter(lambda lie: float(lie.norm()) > 1), min_size=byzantine, max_size=byzantine)
    )
    rows = [honest[0], *data.draw(st.permutations([*honest[1:], *lies]))]
    result = mixed(Krum(byzantine=byzantine).mix, rows)
    assert any(torch.equal(result, row) for row in honest)


LIAR = "a5"


def lying(script):
    """The script, but one agent sends ten times its slices with the sign turned."""

    def wrapped(local, options):
        steps, answer = script(local, options), None
        while not isinstance(step := advance(steps, answer), Done):
            if local.me == LIAR:
                turned = {
                    peer: Message({name: -10 * tensor for name, tensor in message.tensors.items()}, message.meta)
                    for peer, message in step.send.items()
                }
                step = replace(step, send=turned)
            answer = yield step
        return step.metrics

    return wrapped


@cache
def accuracy(mixer, method="parse", liar=True):
    """The least accuracy of the five honest of six agents, chance being 1/8."""
    data = {"samples": 600, "atoms": ["redundant", "unique"]}
    options = {"mixer": mixer, "clip": 1.0, "byzantine": 1}
    w = plan({"audio+motion": 6}, graph="complete", method=method, rounds=10, data=data, options=options)
    if liar:
        w.method = replace(w.method, scripts={role: lying(script) for role, script in w.method.scripts.items()})
    agent_states, _ = finished(w)
    return min(p.learner.evaluate()["accuracy"] for me, p in agent_states.items() if me != LIAR)


@pytest.mark.parametrize("method", ["parse", "dsgd-task"])
def test_one_liar_ruins_the_weighted_mean(method):
    assert accuracy("weighted", method, liar=False) > 0.95
    assert accuracy("weighted", method) < 0.7


@pytest.mark.parametrize("mixer", ["clipped", "trimmed-mean", "median", "krum"])
def test_one_liar_does_little_to_the_others(mixer):
    assert accuracy(mixer) > accuracy("weighted", liar=False) - 0.05
