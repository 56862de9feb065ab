"""Every event says what happened in the same words to all who read it, also where its class is not known."""

import json
import math
from enum import StrEnum

import pytest

from parse_p2p.core import events
from parse_p2p.core.errors import ConfigError
from parse_p2p.core.events import LONGEST, Event, Level, Topic
from parse_p2p.core.types import PeerId

SAID = [
    (events.Start(modalities=["audio"], pid=3), "debug", "waiting for peers", ""),
    (events.Resumed(round=2), "info", "waiting for peers", "starts again from its checkpoint of that round"),
    (events.Joined(round=0, neighbours=["b"]), "debug", "running", "has joined"),
    (events.Joined(round=4), "notice", "running", "has joined"),
    (events.Round(round=0, loss=0.5), "debug", "running", ""),
    (events.Void(round=1, why="1 of 2"), "notice", None, "takes the round back: 1 of 2"),
    (events.End(round=9), "debug", "done", ""),
    (events.Left(round=5), "notice", "left", "has left"),
    (events.Stopped(round=5), "info", "stopped", "was stopped"),
    (events.Failed(why="no disk"), "info", "failed", "failed: no disk"),
    (events.TaskFailed(why="oh"), "info", None, "goes on after a background task failed: oh"),
    (events.Placed(host="h", node="n", again=True), "debug", None, ""),
    (events.Found(round=0, peer="b"), "debug", None, "found its neighbour b"),
    (events.Found(round=1, peer="b"), "info", None, "found its neighbour b"),
    (events.Lost(round=1, peer="b"), "notice", None, "lost its neighbour b"),
    (events.Absent(round=1, peers=["b", "c"]), "notice", None, "goes on without b, c, planned to join in that round"),
    (events.Missing(round=1, peers=["b", "c"]), "info", None, "had no message from b, c"),
    (events.Waiting(round=1, peer="hub", seconds=2.5), "notice", "waiting for hub",
     "waits for the coordinator hub, 2.5 s at most"),
    (events.Alone(round=1, peer="hub"), "notice", None, "trains on alone, without the coordinator hub"),
    (events.BrokerLost(why="refused"), "info", None, "lost the broker: refused"),
    (events.BrokerFound(broker="mqtt://b"), "debug", None, "found the broker mqtt://b"),
    (events.BrokerFound(broker="mqtt://b", again=True), "info", None, "found the broker mqtt://b"),
    (events.Refused(peer="b", kind="malformed", why="no"), "notice", None, "refused a message of b: no"),
    (events.HandshakeFailed(round=1), "info", None, "refused a connection that did not get through the handshake"),
    (events.Blocked(round=1, peer="b", seconds=5), "info", None, "does not read b for 5 s"),
    (events.ModalitiesChanged(round=1, modalities=["x", "y"]), "notice", None, "has x+y from now on"),
    (events.DataNoted(why="odd"), "notice", None, "says of its data: odd"),
    (events.ScaleAgreed(round=0, samples={"x": 3}), "info", None,
     "scales its inputs as all agents do, by samples of all: 3 of x"),
    (events.ScaleAgreed(round=2), "info", None, "scales its inputs as all agents do"),
    (events.Arrived(round=1, file="new.csv", samples=3, score=0.5, shift={"x": 0.25}), "info", None,
     "takes in 3 samples of new.csv, with a score of 0.500 before it is trained on them"),
    (events.Arrived(round=1, file="new.csv", samples=3), "info", None, "takes in 3 samples of new.csv"),
    (events.ArrivalRefused(round=1, file="new.csv", why="no"), "notice", None, "does not take in new.csv: no"),
    (events.DriftDetected(round=1, kind="adwin", what="errors", value=0.5, before=1 / 3), "notice", None,
     "sees a drift of its errors: 0.5, and 0.333 before (adwin)"),
    (events.SensorFailed(round=1, modalities=["x"]), "notice", None, "reads no numbers from x"),
    (events.ChangeAnnounced(round=1, modalities=["x"]), "info", None, "announces x from that round on"),
    (events.ChangeAnnounced(round=1, modalities=[]), "info", None, "announces that it leaves from that round on"),
    (events.ChangeHeard(round=1, peer="b", modalities=["x"], late=False), "info", None, "heard that b will have x"),
    (events.ChangeHeard(round=1, peer="b", modalities=[], late=True), "info", None, "heard that b will have left"),
    (events.OrderRefused(round=1, why="smell"), "info", None, "refused an order: smell"),
    (events.Fault(kind="kill", position=0, round=1, ends=True, restart=2), "notice", "killed",
     "is struck by a fault of kind kill"),
    (events.Fault(kind="stop", position=0, round=1, seconds=2), "notice", "stopped by a fault",
     "is struck by a fault of kind stop"),
    (events.FaultCounts(counts={"drop": 3, "delay": 1}), "info", None,
     "had this done to its messages on purpose: drop 3, delay 1"),
]  # fmt: skip


@pytest.mark.parametrize(("event", "level", "state", "sentence"), SAID, ids=lambda value: getattr(value, "name", None))
def test_what_an_event_says_and_that_it_is_read_as_it_was_written(event, level, state, sentence):
    stamped = event.model_copy(update={"agent": "a0", "time": 12.5})
    assert (stamped.level, stamped.state, stamped.sentence) == (Level(level), state, sentence)
    line = stamped.line()
    assert {key: line.get(key) for key in ("event", "agent", "time")} == {
        "event": event.name, "agent": "a0", "time": 12.5
    }  # fmt: skip
    assert (line.get("says"), line.get("level")) == ((sentence, level) if sentence else (None, None))
    assert events.read(json.loads(json.dumps(line))) == stamped


def test_all_events_of_the_package_are_here_and_named_without_spaces():
    assert {type(event) for event, *_ in SAID} == set(events.shipped())
    names = [event.key() for event in events.shipped()]
    assert len(set(names)) == len(names) and all(name.replace("-", "").isalpha() and name.islower() for name in names)
    assert events.BrokerLost.key() == "broker-lost" and events.End.key() == "end"
    assert all(event.topic is not Topic.OTHER and event.__doc__ for event in events.shipped())


def test_a_broker_gets_these_and_no_more():
    assert {event.key(): event.reported for event in events.shipped() if event.reported} == {
        "round": ("round", "loss", "accuracy", "seconds", "alive", "wire_out", "wire_in"),
        "found": ("round", "peer"),
        "lost": ("round", "peer"),
        "modalities-changed": ("round", "modalities"),
        "left": ("round",),
        "end": ("round",),
    }


def test_an_event_without_its_class_tells_its_level_and_sentence_itself():
    line = {
        "event": "mine.happened",
        "agent": "a1",
        "time": 1.0,
        "round": 3,
        "level": "notice",
        "says": "met b",
        "n": 1,
    }
    found = events.read(line)
    assert (found.name, found.agent, found.at, found.level, found.sentence, found.topic, found.state) == (
        "mine.happened", "a1", 3, Level.NOTICE, "met b", Topic.OTHER, None
    )  # fmt: skip
    assert found.line() == line
    bare = events.read({"event": "x"})
    assert (bare.level, bare.sentence, bare.line()) == (Level.DEBUG, "", {"event": "x", "agent": "", "time": 0.0})
    odd = events.read({"event": "x", "level": "loud", "round": -1, "says": "so"})
    assert (odd.level, odd.at, odd.says) == (Level.DEBUG, None, "so")


@pytest.mark.parametrize(
    "line",
    [None, [], "end", {}, {"event": 3}, {"event": "end"}, {"event": "end", "round": True},
     {"event": "end", "round": "1"}, {"event": "end", "round": -1}, {"event": "end", "round": 1 << 32},
     {"event": "lost", "round": 1, "peer": ["b"]}, {"event": "missing", "round": 1, "peers": "b"},
     {"event": "round", "round": 1, "wire_out": -1}, {"event": "round", "round": 1, "sent": {"b": {"s": 1 << 63}}},
     {"event": "round", "round": 1, "accuracy": "high"}, {"event": "end", "round": 1, "time": "now"},
     {"event": "end", "round": 1, "agent": 3}, {"event": "end", "round": 1, "time": math.nan},
     {"event": "x", "says": 3}],
    ids=str,
)  # fmt: skip
def test_what_is_no_event_is_none(line):
    assert events.read(line) is None


def test_what_an_event_does_not_know_is_left_out_and_a_rounds_own_metrics_kept():
    assert events.read({"event": "end", "round": 1, "level": "notice", "says": "x", "more": 1}) == events.End(round=1)
    found = events.read({"event": "round", "round": 1, "gap": 0.5})
    assert found.model_extra == {"gap": 0.5} and found.line()["gap"] == 0.5


def test_sentences_are_no_longer_than_a_line_of_the_report():
    long = events.Failed(why="x" * 5000)
    assert len(long.line()["says"]) == LONGEST and len(long.why) == 5000
    assert events.Missing(round=0, peers=[PeerId(f"a{i}") for i in range(70)]).sentence.endswith("a63 and 6 more")
    assert len(events.read({"event": "x", "level": "info", "says": "y" * 999}).says) == LONGEST
    assert len(events.read({"event": "lost", "round": 0, "peer": "y" * 999}).says) == LONGEST


def test_a_list_is_named_whole_as_far_as_there_is_room():
    names = [f"a{i}" for i in range(events.NAMED + 1)]
    assert events.listed(names[:-1]) == ", ".join(names[:-1]) and events.listed(names).endswith("a63 and 1 more")


class Colour(StrEnum):
    RED = "red"


class Painted(Event):
    colour: Colour
    strokes: tuple[int, ...] = ()

    @property
    def sentence(self) -> str:
        return f"painted {self.colour}"


def test_a_plug_ins_event_is_shown_also_where_its_facts_do_not_come_back_as_they_were():
    line = json.loads(json.dumps(Painted(colour=Colour.RED, strokes=(1, 2)).line()))
    assert (line["colour"], line["strokes"]) == ("red", [1, 2])
    found = events.read(line)
    assert (found.name, found.says, found.level) == ("painted", "painted red", Level.INFO)


@pytest.mark.parametrize("name", ["Lost", "BrokerFound"])
def test_the_name_of_one_of_the_packages_is_refused(name):
    with pytest.raises(ConfigError, match=rf"event {name} has the name of one of parse_p2p\.core\.events"):
        type(name, (Event,), {})
    assert events.read({"event": "lost", "round": 0, "peer": "b"}) == events.Lost(round=0, peer="b")


@pytest.mark.filterwarnings("ignore:Field name")
@pytest.mark.parametrize("fact", ["event", "time", "agent", "says", "level", "state", "line", "becomes"])
def test_a_fact_that_the_log_has_itself_is_refused(fact):
    with pytest.raises(ConfigError, match=f"the event Odd: the log has a '{fact}' of its own"):
        type("Odd", (Event,), {"__annotations__": {fact: str}})


def test_facts_of_plug_ins_give_way_to_those_of_an_event():
    found = events.Round(
        round=1, **events.metrics({"loss": 0.5, "gap": 1.5, "seconds": 7.0, "time": 8.0, "event": 9.0})
    )
    assert (found.loss, found.seconds, found.time) == (0.5, 0.0, 0.0)
    assert found.model_extra == {"gap": 1.5, "own_seconds": 7.0, "own_time": 8.0, "own_event": 9.0}
    assert events.read(json.loads(json.dumps(found.line()))) == found
    facts = events.apart({"sound": "hic", "round": "third", "level": 3}, events.Fault)
    assert facts == {"sound": "hic", "own_round": "third", "own_level": 3}
