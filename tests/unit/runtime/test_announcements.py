"""What agents announce of themselves, what they are ordered, and what nobody could have announced."""

import json
from types import SimpleNamespace

import pytest

from parse_p2p.core.errors import ConfigError, MalformedFrame
from parse_p2p.core.membership import Change, Membership
from parse_p2p.runtime.announcements import MOST, Announcer, order, recalled

FIRST = {"a": ("audio",), "b": ("audio", "motion")}
KNOWN = ("audio", "motion", "video")


def member(first, changes=()):
    return SimpleNamespace(me="a", membership=Membership(first, changes))


@pytest.fixture
def made(tmp_path):
    """An announcer of a, with who owns the membership that it changes."""
    owner = member(FIRST)
    return Announcer(owner, KNOWN, tmp_path / "a" / "announced", tmp_path / "orders"), owner


def gain(*modalities):
    return order(json.dumps({"gain": modalities}), KNOWN)


def lose(*modalities):
    return order(json.dumps({"lose": modalities}), KNOWN)


def announced(announcer, round, rounds=100):
    """What is announced, and why not."""
    refused = []
    return announcer.announce(round, rounds, refused), refused


def test_what_is_wanted_is_announced_once_and_kept_for_the_next_life(made, tmp_path):
    announcer, owner = made
    assert announced(announcer, 9) == (None, [])
    announcer.want(gain("video"))
    announcer.want(gain("motion"))
    announcer.want(lose("audio"))
    assert announced(announcer, 9) == (Change(9, "a", ("motion", "video")), [])
    assert announced(announcer, 10) == (None, []) and announcer.mine == ["9:motion+video"]
    assert owner.membership.of("a", 8) == ("audio",) and owner.membership.of("a", 9) == ("motion", "video")
    again = member(FIRST)
    assert Announcer(again, KNOWN, tmp_path / "a" / "announced", tmp_path / "orders").mine == announcer.mine
    assert again.membership.changes == owner.membership.changes
    kept = recalled({"a": tmp_path / "a" / "announced", "b": tmp_path / "none"}, KNOWN)
    assert Membership(FIRST).with_changes(kept).changes == owner.membership.changes


def test_a_round_has_one_change_of_an_agent_and_nothing_new_is_nothing(made):
    announcer, owner = made
    announcer.want(gain("motion"))
    announced(announcer, 20)
    announcer.want(gain("motion"))
    assert announced(announcer, 20) == (None, [])
    announcer.want(lose("audio"))
    assert announced(announcer, 20) == (Change(21, "a", ("motion",)), [])
    announcer.want(gain("video"))
    assert announced(announcer, 5) == (Change(5, "a", ("audio", "video")), []), "what is planned for later stays"
    assert owner.membership.of("a", 20) == ("audio", "motion")


@pytest.mark.parametrize(
    ("asked", "round", "why"),
    [
        (lose("audio"), 9, "cannot lose all"),
        (gain("motion"), 100, "round 100 on and there are 100"),
        (gain("motion"), 60, "not there in round 60"),
    ],
)
def test_what_cannot_be_is_said_and_forgotten(tmp_path, asked, round, why):
    owner = member(FIRST, [Change(50, "a", ())])
    announcer = Announcer(owner, KNOWN, tmp_path / "announced", tmp_path / "orders")
    announcer.want(asked)
    change, [refused] = announced(announcer, round)
    assert change is None and why in refused
    assert announced(announcer, 9) == (None, []) and owner.membership.changes == (Change(50, "a", ()),)


def test_who_comes_is_there_with_all_it_has(tmp_path):
    owner = member({"a": (), "b": ("audio",)})
    announcer = Announcer(owner, KNOWN, tmp_path / "announced", tmp_path / "orders")
    announcer.come(("audio",))
    assert announced(announcer, 7) == (Change(7, "a", ("audio",)), [])
    assert owner.membership.span("a", 20) == range(7, 20)


def test_orders_are_obeyed_in_their_order_and_refused_in_a_sentence(made, tmp_path):
    announcer, _ = made
    lines = ['{"gain": ["motion"]}', "rubbish", '{"gain": ["smell", 3]}', '{"paint": ["audio"]}', '{"lose": ["audio"]}']
    (tmp_path / "orders").write_bytes(b"".join(f"{line}\n".encode() for line in lines) + b"\xff\n")
    refused = announcer.look()
    assert len(refused) == 4 and "'3' is no modality" in refused[1]
    assert announcer.look() == [] and announced(announcer, 9)[0] == Change(9, "a", ("motion",))


def test_an_order_given_between_two_lives_is_obeyed_once(tmp_path):
    (tmp_path / "orders").write_text('{"gain": ["motion"]}\n')
    for life, expected in enumerate([Change(3, "a", ("audio", "motion")), None]):
        announcer = Announcer(member(FIRST), KNOWN, tmp_path / f"announced{life}", tmp_path / "orders")
        assert announcer.look() == [] and announced(announcer, 3)[0] == expected


def test_what_others_announce_is_taken_in_once(made):
    announcer, owner = made
    assert announcer.take("b", ["4:motion"]) == [Change(4, "b", ("motion",))]
    assert announcer.take("b", ["4:motion"]) == [] and announcer.heard("b") == 1
    assert announcer.take("b", []) == [], "an earlier card that comes late"
    assert announcer.take("b", ["4:motion", "8:audio+motion"]) == [Change(8, "b", ("audio", "motion"))]
    assert announcer.heard("b") == 2 and owner.membership.of("b", 5) == ("motion",) and announcer.heard("x") == 0


@pytest.mark.parametrize(
    "lines",
    [
        ["5:motion"],
        ["4:motion", "x:audio"],
        ["4:motion", "0:audio"],
        ["4:motion", "-3:audio"],
        ["4:motion", "9999999999:audio"],
        ["4:motion", "²:audio"],
        ["4:motion", "6:smell"],
        ["4:motion", "6:motion+audio"],
        ["4:motion", "6:audio+audio"],
        ["4:motion", "6:"],
        ["4:motion", ""],
        ["4:motion", *["6:audio"] * MOST],
    ],
)
def test_what_nobody_could_announce_changes_nothing(made, lines):
    announcer, owner = made
    announcer.take("b", ["4:motion"])
    before = owner.membership.changes
    with pytest.raises(MalformedFrame):
        announcer.take("b", lines)
    assert owner.membership.changes == before and announcer.heard("b") == 1


@pytest.mark.parametrize("line", ["", "1", "[]", "{}", '{"gain": 3}', '{"gain": ["x"]}', '{"gain": [], "lose": []}'])
def test_an_order_that_is_none(line):
    with pytest.raises(ConfigError):
        order(line, KNOWN)
