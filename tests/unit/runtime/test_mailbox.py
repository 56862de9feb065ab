"""Messages that come early, late, twice, too far ahead or wrong, and how a wait ends without it."""

import asyncio
import time

import pytest
import torch

from parse_p2p.core.errors import MalformedFrame, SpecMismatch
from parse_p2p.core.message import Message
from parse_p2p.methods.base import Exchange
from parse_p2p.runtime.mailbox import AHEAD, TOPICS, Mailbox, nobody

LONG = 100.0  # seconds no test waits for


def message(value):
    return Message({"x": torch.full((2,), float(value))})


def exchange(*peers, topic="slices", **options):
    return Exchange(topic, expect=frozenset(peers), **options)


def collect(mailbox, wanted, takes_part=lambda peer: True, seconds=LONG, meanwhile=(), behind=nobody):
    """What a wait ends with; ``meanwhile`` are calls made one after the other while it waits."""

    async def scenario():
        waiting = asyncio.create_task(mailbox.collect(wanted, takes_part, seconds, behind))
        for call in meanwhile:
            for _ in range(10):
                await asyncio.sleep(0)
            assert not waiting.done()
            call()
        return await waiting

    return asyncio.run(scenario())


def arrival(mailbox, sender, value, round=0, topic="slices"):
    return lambda: mailbox.deliver(sender, round, topic, message(value))


def received(found):
    return {sender: message.tensors["x"][0].item() for sender, message in found.inbox.items()}


def test_a_wait_ends_with_the_last_of_its_messages_sorted_by_sender():
    mailbox = Mailbox()
    found = collect(mailbox, exchange("c", "b"), meanwhile=[arrival(mailbox, "c", 3), arrival(mailbox, "b", 2)])
    assert list(received(found).items()) == [("b", 2), ("c", 3)]
    assert found.missing == [] and found.refused == {}


def test_a_message_wakes_the_wait_at_once(monkeypatch):
    monkeypatch.setattr("parse_p2p.runtime.mailbox.LOOK_AGAIN", LONG)
    mailbox, began = Mailbox(), time.monotonic()
    assert received(collect(mailbox, exchange("b"), meanwhile=[arrival(mailbox, "b", 1)])) == {"b": 1}
    assert time.monotonic() < began + LONG / 2


def test_nothing_expected_is_not_waited_for():
    assert collect(Mailbox(), exchange()).inbox == {}


def test_an_early_message_waits_for_its_round_and_topic():
    mailbox = Mailbox()
    for round in range(3):
        for topic in ("up", "down"):
            arrival(mailbox, "b", 10 * round + len(topic), round, topic)()
    for round in range(3):
        mailbox.open(round)
        for topic in ("down", "up"):
            assert received(collect(mailbox, exchange("b", topic=topic))) == {"b": 10 * round + len(topic)}
    assert mailbox.late == 0


def test_late_messages_are_counted_and_not_used():
    mailbox = Mailbox()
    mailbox.open(2)
    arrival(mailbox, "b", 1, round=1)()
    arrival(mailbox, "b", 0, round=0)()
    assert mailbox.late == 2
    assert collect(mailbox, exchange("b"), seconds=0).missing == ["b"]


def test_a_new_round_throws_old_messages_away():
    mailbox = Mailbox()
    arrival(mailbox, "b", 1, round=0)()
    mailbox.open(1)
    assert collect(mailbox, exchange("b"), seconds=0).missing == ["b"]
    mailbox.open(0)  # a void round is begun again
    assert collect(mailbox, exchange("b"), seconds=0).missing == ["b"]


def test_the_first_of_two_messages_counts():
    mailbox = Mailbox()
    arrival(mailbox, "b", 1)()
    arrival(mailbox, "b", 2)()
    assert received(collect(mailbox, exchange("b"))) == {"b": 1}


def test_a_second_message_while_waiting_changes_nothing():
    mailbox = Mailbox()
    later = [arrival(mailbox, "b", 1), arrival(mailbox, "b", 2), arrival(mailbox, "c", 3)]
    assert received(collect(mailbox, exchange("b", "c"), meanwhile=later)) == {"b": 1, "c": 3}


def test_messages_of_others_and_on_other_topics_end_no_wait():
    mailbox = Mailbox()
    later = [arrival(mailbox, "d", 9), arrival(mailbox, "b", 9, topic="y"), arrival(mailbox, "b", 9, round=1)]
    assert received(collect(mailbox, exchange("b"), meanwhile=[*later, arrival(mailbox, "b", 1)])) == {"b": 1}


def test_far_ahead_is_refused_and_nearly_so_far_is_kept():
    mailbox = Mailbox()
    mailbox.open(5)
    arrival(mailbox, "b", 1, round=5 + AHEAD)()
    with pytest.raises(MalformedFrame, match=f"b sends messages of round {6 + AHEAD} while I am in 5"):
        arrival(mailbox, "b", 1, round=6 + AHEAD)()
    mailbox.open(5 + AHEAD)
    assert received(collect(mailbox, exchange("b"))) == {"b": 1}


def test_who_comes_back_takes_in_messages_of_whatever_rounds_but_only_so_many():
    mailbox = Mailbox()
    for round in range(100, 100 + AHEAD):
        arrival(mailbox, "b", round, round)()
    arrival(mailbox, "b", 0, round=100, topic="more")()
    with pytest.raises(MalformedFrame, match=f"b sends messages of more than {AHEAD} rounds while I am in none"):
        arrival(mailbox, "b", 0, round=300)()
    arrival(mailbox, "c", 7, round=102)()
    mailbox.open(102)
    assert received(collect(mailbox, exchange("b", "c"))) == {"b": 102, "c": 7}


def test_a_sender_has_only_so_many_topics_in_a_round():
    mailbox = Mailbox()
    for topic in range(TOPICS):
        arrival(mailbox, "b", topic, topic=f"t{topic}")()
    with pytest.raises(MalformedFrame, match=f"b uses more than {TOPICS} topics in round 0"):
        arrival(mailbox, "b", 0, topic="one more")()
    arrival(mailbox, "c", 0, topic="one more")()
    arrival(mailbox, "b", 0, round=1, topic="one more")()
    assert received(collect(mailbox, exchange("b", topic="t7"))) == {"b": 7}


def refuse(sender, message):
    if message.tensors["x"][0] < 0:
        raise SpecMismatch(f"{sender} is below zero")


def test_what_the_check_refuses_counts_as_not_come():
    mailbox = Mailbox()
    later = [arrival(mailbox, "b", -1), arrival(mailbox, "c", 3)]
    found = collect(mailbox, exchange("b", "c", check=refuse), meanwhile=later)
    assert received(found) == {"c": 3}
    assert found.refused == {"b": "b is below zero"} and found.missing == []


def test_a_refused_sender_has_no_second_try():
    mailbox = Mailbox()
    later = [arrival(mailbox, "b", -1), arrival(mailbox, "b", 1), arrival(mailbox, "c", 3)]
    assert received(collect(mailbox, exchange("b", "c", check=refuse), meanwhile=later)) == {"c": 3}


def test_a_check_that_fails_for_another_reason_is_not_hidden():
    def broken(sender, message):
        raise ZeroDivisionError

    mailbox = Mailbox()
    arrival(mailbox, "b", 1)()
    with pytest.raises(ZeroDivisionError):
        collect(mailbox, exchange("b", check=broken))


def test_time_over_leaves_the_others_missing():
    mailbox = Mailbox()
    arrival(mailbox, "c", 3)()
    found = collect(mailbox, exchange("d", "b", "c"), seconds=0.01)
    assert received(found) == {"c": 3} and found.missing == ["b", "d"]


def test_messages_that_are_there_are_taken_even_without_time():
    mailbox = Mailbox()
    arrival(mailbox, "b", 1)()
    assert received(collect(mailbox, exchange("b"), seconds=0)) == {"b": 1}


def test_who_takes_no_part_is_not_waited_for_but_its_messages_are_used():
    mailbox = Mailbox()
    arrival(mailbox, "b", 1)()
    found = collect(mailbox, exchange("b", "c"), takes_part=lambda peer: False)
    assert received(found) == {"b": 1} and found.missing == []


def test_a_peer_that_is_lost_while_waited_for_ends_the_wait():
    mailbox, there = Mailbox(), {"b", "c"}

    def lose():
        there.discard("b")
        mailbox.look()

    found = collect(
        mailbox, exchange("b", "c"), takes_part=there.__contains__, meanwhile=[arrival(mailbox, "c", 3), lose]
    )
    assert received(found) == {"c": 3} and found.missing == []


def test_a_silent_loss_is_noticed_without_news():
    began = time.monotonic()
    found = collect(Mailbox(), exchange("b"), takes_part=lambda peer: time.monotonic() < began + 0.01)
    assert found.missing == [] and time.monotonic() < began + LONG / 2


def test_waiting_for_some_goes_on_though_others_take_no_part():
    mailbox = Mailbox()
    later = [mailbox.look, arrival(mailbox, "b", 1)]
    found = collect(mailbox, exchange("b", "c"), takes_part=lambda peer: peer == "b", meanwhile=later)
    assert received(found) == {"b": 1} and found.missing == []


@pytest.mark.parametrize("arrives", [0.1, LONG])
def test_the_time_for_one_that_is_behind_begins_when_it_has_come_and_is_twice_as_long_at_most(arrives):
    began = time.monotonic()
    found = collect(Mailbox(), exchange("b"), seconds=0.2, behind=lambda peer: time.monotonic() < began + arrives)
    assert found.missing == ["b"]
    assert min(arrives, 0.2) + 0.2 <= time.monotonic() - began < LONG


# where messages of any round will do


def newest(*peers, **options):
    return exchange(*peers, newest=True, **options)


def send(mailbox, sender, value, round, topic="slices"):
    mailbox.deliver(sender, round, topic, message(value), newest=True)


def test_the_newest_message_is_there_at_once_whatever_its_round():
    mailbox = Mailbox()
    mailbox.open(50)
    send(mailbox, "b", 3, round=3)
    send(mailbox, "c", 4, round=50)
    send(mailbox, "d", 5, round=50 + 100 * AHEAD)
    found = collect(mailbox, newest("b", "c", "d", "e"), seconds=0)
    assert list(received(found).items()) == [("b", 3), ("c", 4), ("d", 5)]
    assert found.missing == [] and mailbox.late == 0


def test_newer_messages_replace_older_ones_and_never_the_other_way():
    mailbox = Mailbox()
    for value, round in [(1, 5), (2, 9), (3, 7), (4, 9)]:
        send(mailbox, "b", value, round)
    assert mailbox.late == 2
    assert received(collect(mailbox, newest("b"), seconds=0)) == {"b": 2}


def test_a_message_is_handed_out_once_and_a_replay_is_late():
    mailbox = Mailbox()
    send(mailbox, "b", 1, round=5)
    assert received(collect(mailbox, newest("b"), seconds=0)) == {"b": 1}
    assert received(collect(mailbox, newest("b"), seconds=0)) == {}
    send(mailbox, "b", 1, round=5)
    send(mailbox, "b", 1, round=4)
    assert received(collect(mailbox, newest("b"), seconds=0)) == {} and mailbox.late == 2
    send(mailbox, "b", 6, round=6)
    assert received(collect(mailbox, newest("b"), seconds=0)) == {"b": 6}


def test_a_new_round_leaves_it_there():
    mailbox = Mailbox()
    send(mailbox, "b", 1, round=0)
    mailbox.open(9)
    assert received(collect(mailbox, newest("b"), seconds=0)) == {"b": 1}


def test_with_patience_messages_of_this_round_or_a_later_one_end_the_wait():
    mailbox = Mailbox()
    mailbox.open(4)
    send(mailbox, "b", 3, round=3)
    later = [lambda: send(mailbox, "c", 6, round=6), lambda: send(mailbox, "b", 4, round=4)]
    assert received(collect(mailbox, newest("b", "c"), meanwhile=later)) == {"b": 4, "c": 6}


def test_when_patience_is_over_older_messages_will_do_and_nobody_is_missed():
    mailbox = Mailbox()
    mailbox.open(4)
    send(mailbox, "b", 3, round=3)
    found = collect(mailbox, newest("b", "c"), seconds=0.01)
    assert received(found) == {"b": 3} and found.missing == []


def test_who_is_gone_is_not_waited_for_and_its_last_message_is_used():
    mailbox = Mailbox()
    mailbox.open(4)
    send(mailbox, "b", 3, round=3)
    assert received(collect(mailbox, newest("b"), takes_part=lambda peer: False)) == {"b": 3}


def test_what_is_kept_is_one_message_for_each_of_a_few_topics():
    mailbox = Mailbox()
    for topic in range(TOPICS):
        for round in range(3):
            send(mailbox, "b", round, round, topic=str(topic))
    with pytest.raises(MalformedFrame, match=f"b uses more than {TOPICS} topics"):
        send(mailbox, "b", 0, round=9, topic="one more")
    send(mailbox, "c", 0, round=9, topic="one more")
    assert received(collect(mailbox, newest("b", topic="7"), seconds=0)) == {"b": 2}


def test_one_that_started_anew_counts_anew_and_what_it_had_sent_is_kept_till_then():
    mailbox = Mailbox()
    mailbox.open(9)
    send(mailbox, "b", 9, round=9)
    mailbox.restarted("b")
    assert received(collect(mailbox, newest("b"))) == {"b": 9}, "it is of this round and ends the wait"
    send(mailbox, "b", 2, round=2)
    assert received(collect(mailbox, newest("b"), seconds=0)) == {"b": 2} and mailbox.late == 0
    mailbox.restarted("who never wrote")


def test_what_is_refused_is_refused_here_too():
    mailbox = Mailbox()
    send(mailbox, "b", -1, round=0)
    found = collect(mailbox, newest("b", check=refuse), seconds=0)
    assert received(found) == {} and found.refused == {"b": "b is below zero"}
