"""Whom to wait for: what cards, silence, broken links and restarts make of a neighbour."""

import pytest
from pydantic import ValidationError

from parse_p2p.directory import NEVER, Card, Clocks, Directory, to
from parse_p2p.errors import MalformedFrame

CLOCKS = Clocks(heartbeat=1, lost=10)


def directory(*peers):
    return Directory(peers or ("b",), CLOCKS)


def started(joins=0, incarnation=1, **changes):
    """What one says who takes part from the round ``joins``."""
    return Card(incarnation, max(joins, 0), joins, **changes)


@pytest.mark.parametrize("card", [Card(1, 2), Card(2**48, 7, 3, 8, 5)])
def test_a_card_is_read_back_from_its_facts(card):
    assert Card.read(card.facts()) == card


@pytest.mark.parametrize(
    "change",
    [{"round": None}, {"round": True}, {"round": 1.0}, {"round": "1"}, {"until": [1]}, {"more": 1}],
    ids=str,
)
def test_facts_that_are_no_card_are_refused(change):
    with pytest.raises(MalformedFrame, match="five whole numbers"):
        Card.read(Card(1, 2).facts() | change)


def test_a_card_that_lacks_a_fact_is_refused():
    for name in Card(1, 2).facts():
        with pytest.raises(MalformedFrame):
            Card.read({n: v for n, v in Card(1, 2).facts().items() if n != name})


def test_a_welcome_is_for_one_neighbour():
    card = Card(1, 2, 0, 9)
    assert to(card, 5) == Card(1, 2, 0, 9, welcome=5) and card.welcome == NEVER


def test_clocks_are_positive_and_named_right():
    for wrong in ({"lost": 0}, {"join": -1}, {"exchnge": 1}):
        with pytest.raises(ValidationError):
            Clocks(**wrong)


def test_who_was_never_heard_takes_no_part():
    there = directory("b", "c")
    assert there.unheard() == ["b", "c"] and there.alive(0) == []
    assert not there.takes_part("b", 0, 0) and there.newly_lost(1e9) == []
    there.heard("c", started(), 0, 0)
    assert there.unheard() == ["b"] and there.alive(0) == ["c"]


def test_a_peer_takes_part_from_the_round_it_joins():
    there = directory()
    there.heard("b", started(joins=4), 0, 2)
    assert [there.takes_part("b", round, 0) for round in (3, 4, 5)] == [False, True, True]


def test_who_has_not_begun_is_not_waited_for_by_one_who_has_not_either():
    there = directory()
    there.heard("b", Card(1, 0), 0, None)
    assert not there.takes_part("b", 0, 0) and there.welcome("b") == NEVER
    there.heard("b", started(joins=0), 0, None)
    assert there.takes_part("b", 0, 0)


def test_silence_means_lost_and_a_word_brings_it_back():
    there = directory("b", "c")
    for peer in "bc":
        there.heard(peer, started(), 0, 0)
    there.heard("c", started(), 5, 0)
    assert there.takes_part("b", 1, 9.9) and there.alive(9.9) == ["b", "c"] and there.newly_lost(9.9) == []
    assert not there.takes_part("b", 1, 10) and there.takes_part("c", 1, 10) and there.alive(10) == ["c"]
    assert there.newly_lost(10) == ["b"] and there.newly_lost(11) == [], "told once"
    assert there.heard("b", started(), 12, 3), "came back"
    assert there.takes_part("b", 1, 13) and not there.heard("b", started(), 14, 3)
    assert there.newly_lost(24) == ["b", "c"], "told again, after it came back"


def test_a_broken_link_leaves_two_heartbeats_to_speak():
    there = directory()
    there.heard("b", started(), 0, 0)
    there.broken("b", 1)
    assert there.takes_part("b", 1, 2.9) and not there.takes_part("b", 1, 3)
    there.heard("b", started(), 2.5, 0)
    assert there.takes_part("b", 1, 12)


def test_a_broken_link_never_lengthens_the_wait():
    there = directory()
    there.heard("b", started(), 0, 0)
    there.broken("b", 9.5)
    assert not there.takes_part("b", 1, 10)
    there = directory()
    there.broken("b", 0)
    assert not there.takes_part("b", 0, 0) and there.newly_lost(100) == []


def test_a_bye_that_overtakes_a_model_does_not_stop_the_wait_for_it():
    there = directory()
    there.heard("b", started(), 0, 3)
    there.heard("b", started(until=5), 1, 3)
    assert [there.takes_part("b", round, 1) for round in (3, 4, 5, 6)] == [True, True, False, False]
    there.broken("b", 2)
    assert there.takes_part("b", 4, 2 + CLOCKS.drain), "it said that its mail is on its way"
    assert not there.takes_part("b", 4, 1e6), "what has not come by now was never sent"


def test_who_said_bye_is_neither_alive_nor_lost():
    there = directory()
    there.heard("b", started(until=5), 0, 3)
    assert there.alive(0) == [] and there.newly_lost(1e6) == []


def test_who_asks_in_is_welcome_from_my_next_round_and_the_welcome_stays():
    there = directory()
    assert there.heard("b", Card(1, 0), 0, 6)
    assert there.welcome("b") == 7
    assert not there.heard("b", Card(1, 0), 1, 8), "the same heartbeat again"
    assert there.welcome("b") == 7
    assert [there.takes_part("b", round, 1) for round in (6, 7)] == [False, True]
    there.heard("b", started(joins=9), 2, 8)
    assert there.welcome("b") == 9 and not there.takes_part("b", 8, 2), "another neighbour was further on"


def test_a_new_incarnation_asks_in_anew():
    there = directory()
    there.heard("b", started(joins=0), 0, 0)
    assert there.heard("b", Card(2, 0), 1, 5), "told as found again"
    assert there.welcome("b") == 6
    assert [there.takes_part("b", round, 1) for round in (5, 6)] == [False, True]


def test_a_new_incarnation_after_a_bye_is_waited_for_again():
    there = directory()
    there.heard("b", started(until=2), 0, 1)
    there.heard("b", Card(2, 0), 1, 5)
    assert there.alive(1) == ["b"] and there.takes_part("b", 6, 1)


def test_a_new_incarnation_before_i_have_begun_has_no_welcome_yet():
    there = directory()
    there.heard("b", started(joins=3), 0, None)
    there.heard("b", Card(2, 0), 1, None)
    assert there.welcome("b") == NEVER and not there.takes_part("b", 9, 1)


def test_invitations_are_the_welcomes_of_running_neighbours():
    there = directory("b", "c", "d")
    there.heard("b", to(started(), 7), 0, None)
    there.heard("c", started(), 0, None)
    assert there.invitations() == {"b": 7}
    there.heard("d", to(started(), 9), 0, None)
    assert there.invitations() == {"b": 7, "d": 9}


def test_starting_neighbours_say_with_which_round_they_would_begin():
    there = directory("b", "c", "d")
    there.heard("b", Card(1, 4), 0, None)
    there.heard("c", started(joins=2), 0, None)
    assert there.starting() == {"b": 4}
    there.heard("b", started(joins=4), 1, None)
    assert there.starting() == {}
