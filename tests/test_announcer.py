"""What agents announce of themselves, what they are ordered, and what nobody could have announced."""

import json

import pytest

from parse_p2p.announcer import MOST, Announcer, order, recall
from parse_p2p.errors import ConfigError, MalformedFrame
from parse_p2p.membership import Change, Membership

FIRST = {"a": ("audio",), "b": ("audio", "motion")}
KNOWN = ("audio", "motion", "video")


@pytest.fixture
def made(tmp_path):
    """An announcer of a, with the membership that it writes to."""
    membership = Membership(FIRST)
    return Announcer("a", membership, KNOWN, tmp_path / "a" / "announced", tmp_path / "orders"), membership


def gain(*modalities):
    return order(json.dumps({"gain": modalities}), KNOWN)


def lose(*modalities):
    return order(json.dumps({"lose": modalities}), KNOWN)


def test_what_is_wanted_is_announced_once_and_kept_for_the_next_life(made, tmp_path):
    announcer, membership = made
    assert announcer.announce(9) is None
    announcer.want(gain("video"))
    announcer.want(gain("motion"))
    announcer.want(lose("audio"))
    assert announcer.announce(9) == Change(9, "a", ("motion", "video"))
    assert announcer.announce(10) is None and announcer.mine == ["9:motion+video"]
    assert membership.of("a", 8) == ("audio",) and membership.of("a", 9) == ("motion", "video")
    again = Membership(FIRST)
    assert Announcer("a", again, KNOWN, tmp_path / "a" / "announced", tmp_path / "orders").mine == announcer.mine
    assert again.changes == membership.changes
    other = Membership(FIRST)
    recall(other, {"a": tmp_path / "a" / "announced", "b": tmp_path / "none"}, KNOWN)
    assert other.changes == membership.changes


def test_a_second_change_comes_after_the_first_and_nothing_new_is_nothing(made):
    announcer, membership = made
    announcer.want(gain("motion"))
    announcer.announce(20)
    announcer.want(gain("motion"))
    assert announcer.announce(5) is None
    announcer.want(lose("motion"))
    assert announcer.announce(5) == Change(21, "a", ("audio",)) and len(membership.changes) == 2


def test_orders_are_obeyed_in_their_order_and_refused_in_a_sentence(made, tmp_path):
    announcer, _ = made
    lines = ['{"gain": ["motion"]}', "rubbish", '{"gain": ["smell"]}', '{"paint": ["audio"]}', '{"lose": ["audio"]}']
    (tmp_path / "orders").write_text("".join(f"{line}\n" for line in lines))
    refused = announcer.look()
    assert len(refused) == 3 and "'smell' is no modality" in refused[1]
    assert announcer.wanted == ("motion",) and announcer.look() == []
    with (tmp_path / "orders").open("a") as file:
        file.write('{"lose": ["motion"]}\n')
    assert "cannot lose all" in announcer.look()[0] and announcer.announce(9) is None


def test_orders_of_an_earlier_life_are_not_obeyed_again(tmp_path):
    (tmp_path / "orders").write_text('{"gain": ["motion"]}\n')
    announcer = Announcer("a", Membership(FIRST), KNOWN, tmp_path / "announced", tmp_path / "orders")
    assert announcer.look() == [] and announcer.announce(3) is None


def test_what_others_announce_is_taken_in_once(made):
    announcer, membership = made
    assert announcer.take("b", ["4:motion"]) == [Change(4, "b", ("motion",))]
    assert announcer.take("b", ["4:motion"]) == [] and announcer.heard("b") == 1
    assert announcer.take("b", []) == [], "an earlier card that comes late"
    assert announcer.take("b", ["4:motion", "8:audio+motion"]) == [Change(8, "b", ("audio", "motion"))]
    assert announcer.heard("b") == 2 and membership.of("b", 5) == ("motion",) and announcer.heard("x") == 0


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
    announcer, membership = made
    announcer.take("b", ["4:motion"])
    before = membership.changes
    with pytest.raises(MalformedFrame):
        announcer.take("b", lines)
    assert membership.changes == before and announcer.heard("b") == 1


@pytest.mark.parametrize("line", ["", "1", "[]", "{}", '{"gain": 3}', '{"gain": ["x"]}', '{"gain": [], "lose": []}'])
def test_an_order_that_is_none(line):
    with pytest.raises(ConfigError):
        order(line, KNOWN)
