"""Planned changes: what they mean round by round, and those that cannot be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.membership import Change, EventEntry, Membership, planned

FIRST = {"a": ("audio",), "b": ("audio", "motion"), "c": ("motion",)}


def events(*entries):
    return planned(FIRST, [EventEntry(**entry) for entry in entries])


def test_without_events_all_are_there_as_in_the_file():
    there = events()
    assert all(there.at(round) == FIRST for round in (0, 7)) and there.changes == ()


def test_a_change_holds_from_its_round_on():
    there = events(
        {"round": 5, "agent": "a", "gain": ["motion"]},
        {"round": 3, "agent": "b", "lose": ["audio"]},
        {"round": 8, "agent": "a", "lose": ["audio"]},
    )
    assert [there.of("a", round) for round in (4, 5, 7, 8, 99)] == [
        ("audio",),
        ("audio", "motion"),
        ("audio", "motion"),
        ("motion",),
        ("motion",),
    ]
    assert there.of("b", 2) == FIRST["b"] and there.of("b", 3) == ("motion",)
    assert [round for round in range(10) if there.changed(round)] == [3, 5, 8]


def test_who_joins_is_not_there_before_and_who_leaves_not_after():
    there = events({"round": 4, "agent": "c", "join": True}, {"round": 6, "agent": "a", "leave": True})
    assert there.at(0) == {"a": FIRST["a"], "b": FIRST["b"]}
    assert there.at(4) == FIRST and there.at(6) == {"b": FIRST["b"], "c": FIRST["c"]}
    assert there.span("c", 10) == range(4, 10) and there.span("a", 10) == range(6) and there.span("b", 10) == range(10)
    assert there.span("c", 3) == range(0)


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ([{"round": 1, "agent": "x", "leave": True}], "x is no agent"),
        ([{"round": 1, "agent": "a", "gain": ["audio"]}], "has 'audio' already"),
        ([{"round": 1, "agent": "a", "lose": ["motion"]}], "no 'motion' to lose"),
        ([{"round": 1, "agent": "a", "lose": ["audio"]}], "lose all its modalities"),
        ([{"round": 1, "agent": "a", "leave": True}, {"round": 2, "agent": "a", "gain": ["motion"]}], "is not there"),
        ([{"round": 3, "agent": "a", "join": True}, {"round": 2, "agent": "a", "leave": True}], "is not there"),
        ([{"round": 1, "agent": "a", "leave": True}, {"round": 2, "agent": "a", "join": True}], "not there|leaves"),
        ([{"round": 2, "agent": "b", "lose": ["audio"]}, {"round": 2, "agent": "b", "leave": True}], "two events"),
        ([{"round": 2, "agent": x, "leave": True} for x in "abc"], "the last one"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(entries, why):
    with pytest.raises(ConfigError, match=why) as error:
        events(*entries)
    assert str(error.value).startswith("events.")


@pytest.mark.parametrize(
    "entry",
    [
        {"round": 0, "agent": "a", "leave": True},
        {"round": 1, "agent": "a"},
        {"round": 1, "agent": "a", "leave": False},
        {"round": 1, "agent": "a", "gain": []},
        {"round": 1, "agent": "a", "leave": True, "join": True},
        {"round": 1, "agent": "a", "gains": ["audio"]},
    ],
)
def test_an_event_says_exactly_one_thing(entry):
    with pytest.raises(ValueError):
        EventEntry(**entry)


changes = st.builds(
    Change, st.integers(1, 20), st.sampled_from("abc"), st.sampled_from([(), ("audio",), ("audio", "motion")])
)


@given(st.lists(changes, unique_by=lambda c: (c.round, c.agent)), st.randoms())
def test_it_does_not_matter_in_which_order_changes_become_known(found, random):
    one, other = Membership(FIRST, found), Membership(FIRST)
    random.shuffle(found)
    for change in found:
        before, other = other, other.with_changes([change])
        assert change not in before.changes and other.with_changes([change, change]).changes == other.changes
    assert one.changes == other.changes and all(one.at(round) == other.at(round) for round in range(22))
