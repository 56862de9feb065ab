"""Which samples are kept: the newest in their order, or a draw in which each is as likely as any other."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from parse_p2p.core import plugins
from parse_p2p.core.rng import seeded
from parse_p2p.data.keeping.base import Keeping

COUNTS = st.lists(st.integers(1, 9), max_size=6)


def numbers(keep, counts, seed=0):
    """The numbers of the samples that are left after pieces of so many, from 0."""
    held, seen = torch.arange(0), 0
    for count in counts:
        places = keep.kept(len(held), seen, count, seeded(seed, seen))
        held = torch.cat([held, torch.arange(seen, seen + count)])[places]
        seen += count
    return held.tolist()


def made(**options):
    return Keeping.model_validate(options)


@given(COUNTS)
def test_all_are_kept_in_their_order(counts):
    assert numbers(made(kind="all"), counts) == list(range(sum(counts)))


@given(COUNTS, st.integers(1, 12))
def test_a_window_is_the_newest_however_they_come(counts, size):
    assert numbers(made(kind="window", samples=size), counts) == list(range(sum(counts)))[-size:]


@given(COUNTS, st.integers(1, 12), st.integers(0, 99))
def test_a_reservoir_is_full_as_soon_as_it_can_be_and_holds_nothing_twice(counts, size, seed):
    found = numbers(made(kind="reservoir", samples=size), counts, seed)
    assert len(found) == min(size, sum(counts)) == len(set(found))
    assert all(number in range(sum(counts)) for number in found)


@pytest.mark.parametrize("counts", [[12], [3, 9], [5, 1, 6], [1] * 12])
def test_every_set_of_samples_is_as_likely_in_a_reservoir(counts):
    """Chi-square over all 66 pairs of 12, whose 0.1 % point for 65 degrees of freedom is 106."""
    tries = 6600
    keep = made(kind="reservoir", samples=2)
    pairs = dict.fromkeys(itertools.combinations(range(12), 2), 0)
    for seed in range(tries):
        pairs[tuple(sorted(numbers(keep, counts, seed)))] += 1
    expected = tries / len(pairs)
    assert sum((count - expected) ** 2 / expected for count in pairs.values()) < 106


def test_a_reservoir_is_drawn_from_the_generator_alone():
    keep = made(kind="reservoir", samples=5)
    assert numbers(keep, [30, 30], seed=1) == numbers(keep, [30, 30], seed=1) != numbers(keep, [30, 30], seed=2)


@pytest.mark.parametrize("options", [{"kind": "window"}, {"kind": "window", "samples": 0}, {"kind": "last"}, {},
                                     {"kind": "all", "samples": 3}, {"kind": "reservoir", "size": 3}])  # fmt: skip
def test_what_cannot_be_kept_is_refused(options):
    with pytest.raises(ValidationError):
        made(**options)


def test_those_there_are():
    assert plugins.known(plugins.KEEPINGS) == ["all", "reservoir", "window"]
