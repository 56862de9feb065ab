"""Whom to wait for: what cards, silence, broken links and restarts make of a neighbour."""

import pytest
from pydantic import ValidationError

from parse_p2p.core.errors import MalformedFrame
from parse_p2p.core.peer_info import NEVER, Card, Clocks
from parse_p2p.runtime.peer_table import LIVES, PeerTable

CLOCKS = Clocks(heartbeat=1, lost=10)
ME = 77
"""My incarnation."""


def peer_table(*peers):
    return PeerTable(peers or ("b",), CLOCKS, ME)


def started(joins=0, incarnation=1, **changes):
    """What one says who takes part from the round ``joins``."""
    return Card(incarnation, max(joins, 0), joins, **changes)


@pytest.mark.parametrize("card", [Card(1, 2), Card(2**48, 7, 3, 8, 5, 9, 2, ("audio", "motion"), "0f", ("3:audio",))])
def test_a_card_is_read_back_from_its_facts(card):
    assert Card.read(card.facts()) == card


@pytest.mark.parametrize(
    "change",
    [
        {"round": None},
        {"round": True},
        {"round": 1.0},
        {"round": -2},
        {"round": "1"},
        {"until": [1]},
        {"more": 1},
        {"layout": 1},
        {"modalities": "audio"},
        {"modalities": [1.0]},
        {"changes": ["x"] * 257},
    ],
    ids=str,
)
def test_facts_that_are_no_card_are_refused(change):
    with pytest.raises(MalformedFrame, match="card"):
        Card.read(Card(1, 2).facts() | change)


def test_a_card_that_lacks_a_fact_is_refused():
    for name in Card(1, 2).facts():
        with pytest.raises(MalformedFrame):
            Card.read({n: v for n, v in Card(1, 2).facts().items() if n != name})


def welcome(there, peer):
    return there.to(peer, Card(ME, 0)).welcome


def test_a_welcome_is_for_one_life_of_one_neighbour():
    there = peer_table("b", "c")
    mine = Card(ME, 2, 0, 9)
    assert there.to("b", mine) == mine, "never heard"
    there.heard("b", started(5, incarnation=6), 0, 2)
    assert there.to("b", mine) == Card(ME, 2, 0, 9, welcome=5, known=6) and there.to("c", mine) == mine


def test_what_a_peer_knows_of_me_counts_for_this_life_of_mine():
    there = peer_table()
    assert there.acknowledged("b") == 0
    there.heard("b", started(known=ME, heard=3), 0, 2)
    assert there.acknowledged("b") == 3
    there.heard("b", started(known=ME - 1, heard=3), 0, 2)
    assert there.acknowledged("b") == 0


def test_clocks_are_positive_and_named_right():
    for wrong in ({"lost": 0}, {"join": -1}, {"exchnge": 1}):
        with pytest.raises(ValidationError):
            Clocks(**wrong)


def test_who_was_never_heard_takes_no_part():
    there = peer_table("b", "c")
    assert there.unheard() == ["b", "c"] and there.alive(0) == []
    assert not there.takes_part("b", 0, 0) and there.newly_lost(1e9) == []
    there.heard("c", started(), 0, 0)
    assert there.unheard() == ["b"] and there.alive(0) == ["c"]


def test_a_peer_takes_part_from_the_round_it_joins():
    there = peer_table()
    there.heard("b", started(joins=4), 0, 2)
    assert [there.takes_part("b", round, 0) for round in (3, 4, 5)] == [False, True, True]


def test_who_has_not_begun_is_not_waited_for_by_one_who_has_not_either():
    there = peer_table()
    there.heard("b", Card(1, 0), 0, None)
    assert not there.takes_part("b", 0, 0) and welcome(there, "b") == NEVER
    there.heard("b", started(joins=0), 0, None)
    assert there.takes_part("b", 0, 0)


def test_silence_means_lost_and_a_word_brings_it_back():
    there = peer_table("b", "c")
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
    there = peer_table()
    there.heard("b", started(), 0, 0)
    there.broken("b", 1)
    assert there.takes_part("b", 1, 2.9) and not there.takes_part("b", 1, 3)
    there.heard("b", started(), 2.5, 0)
    assert there.takes_part("b", 1, 12)


def test_a_broken_link_never_lengthens_the_wait():
    there = peer_table()
    there.heard("b", started(), 0, 0)
    there.broken("b", 9.5)
    assert not there.takes_part("b", 1, 10)
    there = peer_table()
    there.broken("b", 0)
    assert not there.takes_part("b", 0, 0) and there.newly_lost(100) == []


def test_a_bye_that_overtakes_a_model_does_not_stop_the_wait_for_it():
    there = peer_table()
    there.heard("b", started(), 0, 3)
    there.heard("b", started(until=5), 1, 3)
    assert [there.takes_part("b", round, 1) for round in (3, 4, 5, 6)] == [True, True, False, False]
    there.broken("b", 2)
    assert there.takes_part("b", 4, 2 + CLOCKS.drain), "it said that its messages are on its way"
    assert not there.takes_part("b", 4, 1e6), "what has not come by now was never sent"


def test_who_said_bye_is_neither_alive_nor_lost():
    there = peer_table()
    there.heard("b", started(until=5), 0, 3)
    assert there.alive(0) == [] and there.newly_lost(1e6) == []


def test_who_asks_in_is_welcome_from_my_next_round_and_the_welcome_stays():
    there = peer_table()
    assert there.heard("b", Card(1, 0), 0, 6)
    assert welcome(there, "b") == 7
    assert not there.heard("b", Card(1, 0), 1, 8), "the same heartbeat again"
    assert welcome(there, "b") == 7
    assert [there.takes_part("b", round, 1) for round in (6, 7)] == [False, True]
    there.heard("b", started(joins=9), 2, 8)
    assert welcome(there, "b") == 9 and not there.takes_part("b", 8, 2), "another neighbour was further on"


def test_a_new_incarnation_asks_in_anew():
    there = peer_table()
    there.heard("b", started(joins=0), 0, 0)
    assert there.heard("b", Card(2, 0), 1, 5), "told as found again"
    assert welcome(there, "b") == 6
    assert [there.takes_part("b", round, 1) for round in (5, 6)] == [False, True]


def test_a_new_incarnation_after_a_bye_is_waited_for_again():
    there = peer_table()
    there.heard("b", started(until=2), 0, 1)
    there.heard("b", Card(2, 0), 1, 5)
    assert there.alive(1) == ["b"] and there.takes_part("b", 6, 1)


def test_a_new_incarnation_before_i_have_begun_has_no_welcome_yet():
    there = peer_table()
    there.heard("b", started(joins=3), 0, None)
    there.heard("b", Card(2, 0), 1, None)
    assert welcome(there, "b") == NEVER and not there.takes_part("b", 9, 1)


def test_invitations_are_the_welcomes_of_running_neighbours():
    there = peer_table("b", "c", "d")
    there.heard("b", started(welcome=7, known=ME), 0, None)
    there.heard("c", started(), 0, None)
    assert there.invitations() == {"b": 7}
    there.heard("d", started(welcome=9, known=ME), 0, None)
    assert there.invitations() == {"b": 7, "d": 9}


def test_a_welcome_to_who_i_was_before_is_none():
    there = peer_table()
    there.heard("b", started(welcome=0, known=ME - 1), 0, None)
    assert there.invitations() == {}, "it does not know yet that I am back"


def pair(now=0.0):
    """Two that run and know each other: directories and incarnations."""
    one, other = PeerTable("b", CLOCKS, 1), PeerTable("a", CLOCKS, 2)
    one.heard("b", Card(2, 0, 0), now, None)
    other.heard("a", Card(1, 0, 0), now, None)
    return one, other


def speak(one, other, round_of_one, round_of_other, now):
    """Each hears the other's heartbeat, twice: what was told in the first may change the second."""
    for _ in range(2):
        other.heard("a", one.to("b", Card(1, round_of_one, 0)), now, round_of_other)
        one.heard("b", other.to("a", Card(2, round_of_other, 0)), now, round_of_one)


def test_two_that_lost_each_other_meet_in_the_first_round_in_which_both_send():
    one, other = pair()
    for round in range(20, 30):
        one.skipped("b", round)
    other.skipped("a", 20)
    speak(one, other, 30, 21, 20)
    for round in range(20, 34):
        both = one.takes_part("b", round, 21), other.takes_part("a", round, 21)
        assert both == (round >= 30,) * 2, "nobody waits for what was never sent"


def test_one_that_was_only_silent_goes_on_where_it_was():
    one, other = pair()
    assert one.newly_lost(20) == ["b"]
    speak(one, other, 5, 5, 21)
    assert one.takes_part("b", 5, 22) and other.takes_part("a", 5, 22)


def test_who_joined_before_a_late_welcome_does_not_wait_for_the_late_one_until_then():
    hub, client = PeerTable("a", CLOCKS, 8), PeerTable("b", CLOCKS, 1)
    for round in range(40):
        client.skipped("b", round)
    hub.heard("a", Card(1, 40, 0), 0, None)  # sent before the client knew of the hub's return
    client.heard("b", Card(8, 9, joins=31), 1, 40)
    hub.heard("a", client.to("b", Card(1, 40, 0)), 1, 31)
    client.heard("b", hub.to("a", Card(8, 31, 31)), 1, 40)
    for round in range(31, 45):
        both = hub.takes_part("a", round, 2), client.takes_part("b", round, 2)
        assert both == (round >= 40,) * 2


def test_starting_neighbours_say_with_which_round_they_would_begin():
    there = peer_table("b", "c", "d")
    there.heard("b", Card(1, 4), 0, None)
    there.heard("c", started(joins=2), 0, None)
    assert there.starting() == {"b": 4}
    there.heard("b", started(joins=4), 1, None)
    assert there.starting() == {}


def test_the_front_is_where_those_are_who_have_begun():
    there = peer_table("b", "c", "d")
    assert there.front(0) is None
    there.heard("b", Card(1, 15, 15), 0, None)
    assert there.front(0) is None, "it is to join in round 15, and waits"
    there.heard("c", Card(1, 4, 0, welcome=9, known=ME), 0, None)
    there.heard("d", Card(1, 7, 0, welcome=9, known=ME - 1), 0, None)
    assert there.front(0) == 4 and there.front(100) is None


def test_who_comes_back_without_end_is_refused():
    there = peer_table()
    for life in range(LIVES):
        assert there.heard("b", started(incarnation=life), 0, 0)
    with pytest.raises(MalformedFrame, match="started more than"):
        there.heard("b", started(incarnation=LIVES), 0, 0)
    assert not there.heard("b", started(incarnation=LIVES - 1), 0, 0), "its last life is still heard"
