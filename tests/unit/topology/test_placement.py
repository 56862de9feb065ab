"""Agent types: how many, and where they stand."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parse_p2p.core.errors import ConfigError
from parse_p2p.topology.placement import PLACEMENTS, place

MIX = {"audio": 3, "motion": 3, "motion+audio": 2}
A, M, B = ("audio",), ("motion",), ("audio", "motion")


def test_placements_by_hand():
    assert place(MIX, "blocks", 0) == [A, A, A, M, M, M, B, B]
    assert place(MIX, "alternating", 0) == [A, M, B, A, M, B, A, M]
    assert place({"audio": 2, "motion": 0}, "alternating", 0) == [A, A]


def test_only_random_depends_on_the_seed():
    assert place(MIX, "random", 1) == place(MIX, "random", 1) != place(MIX, "random", 2)
    assert place(MIX, "alternating", 1) == place(MIX, "alternating", 2)


mixes = st.dictionaries(st.sampled_from(["a", "b", "c", "a+b", "b+c"]), st.integers(0, 9), min_size=1)


@given(mix=mixes.filter(lambda m: sum(m.values())), placement=st.sampled_from(sorted(PLACEMENTS)), seed=st.integers())
def test_every_placement_keeps_the_counts(mix, placement, seed):
    wanted = Counter({tuple(name.split("+")): count for name, count in mix.items() if count})
    assert Counter(place(mix, placement, seed)) == wanted


@given(mix=mixes.filter(lambda m: sum(m.values())))
def test_alternating_gives_every_beginning_its_share(mix):
    agents = place(mix, "alternating", 0)
    for kind, count in Counter(agents).items():
        for k in range(len(agents) + 1):
            assert abs(agents[:k].count(kind) - count * k / len(agents)) < len(mix)


@pytest.mark.parametrize(
    ("mix", "placement", "says"),
    [
        (MIX, "altrnating", "did you mean 'alternating'"),
        ({}, "blocks", "no agents"),
        ({"audio": 0}, "blocks", "no agents"),
        ({"audio": -1, "motion": 3}, "blocks", "-1 agents of type 'audio'"),
        ({"audio": 1.5}, "blocks", "whole number"),
        ({"audio": True}, "blocks", "whole number"),
        ({"audio+": 1}, "blocks", "empty modality"),
        ({"": 1}, "blocks", "empty modality"),
        ({"audio+ audio": 1}, "blocks", "twice"),
    ],
)
def test_bad_mixes_are_one_sentence(mix, placement, says):
    with pytest.raises(ConfigError, match=says) as caught:
        place(mix, placement, 0)
    assert "\n" not in str(caught.value)
