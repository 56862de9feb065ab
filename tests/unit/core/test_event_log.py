"""Every event is one line that is read once, whenever one looks; the ledger adds up bytes."""

import json
import math
import time

import pytest

from parse_p2p.core.event_log import EventLog, Ledger, Tail, last
from parse_p2p.core.events import Event, Resumed, Round, Void


class Noted(Event):
    n: int | None = None
    much: str = ""


def events(tail):
    return [(event.name, getattr(event, "n", None)) for event in tail.read()]


def test_events_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "agents" / "a0" / "events.jsonl"
    log = EventLog("a0", path)
    heard = []
    log.listener = heard.append
    log.write(Round(round=3, loss=0.25, sent={"b": {"x@all": 8}}, own=0.5))
    log.write(Void(round=4, why="two\nlines, ü"))
    log.close()
    first, second = Tail(path).read()
    assert (first, second) == tuple(heard) and abs(first.time - time.time()) < 60 and first.agent == "a0"
    assert isinstance(first, Round)
    assert (first.round, first.loss, first.sent, first.model_extra) == (3, 0.25, {"b": {"x@all": 8}}, {"own": 0.5})
    assert isinstance(second, Void) and (second.round, second.why) == (4, "two\nlines, ü")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[1].pop("time") == second.time
    assert lines[1] == {"event": "void", "agent": "a0", "round": 4, "why": second.why, "level": "notice",
                        "says": "takes the round back: two\nlines, ü"}  # fmt: skip
    assert lines[0].keys() == {"event", "agent", "time", "round", "loss", "seconds", "alive", "late", "sent",
                               "wire_out", "wire_in", "own"}  # fmt: skip


def test_a_line_is_there_as_soon_as_it_is_written(tmp_path):
    log, tail = EventLog("a0", tmp_path / "log"), Tail(tmp_path / "log")
    for n in range(3):
        log.write(Noted(n=n, much=20_000 * "x"))
        assert events(tail) == [("noted", n)]
    log.close()


def test_a_log_is_continued_by_the_next_run(tmp_path):
    for n in range(2):
        log = EventLog("a0", tmp_path / "log")
        log.write(Noted(n=n))
        log.close()
    assert events(Tail(tmp_path / "log")) == [("noted", 0), ("noted", 1)]


def test_a_log_without_a_file_keeps_nothing():
    log = EventLog("a0", None)
    log.write(Noted(n=1))
    log.close()


def test_what_is_no_number_is_read_back(tmp_path):
    log = EventLog("a0", tmp_path / "log")
    log.write(Round(round=0, loss=math.nan))
    log.close()
    [line] = Tail(tmp_path / "log").read()
    assert isinstance(line, Round) and line.loss is not None and math.isnan(line.loss)


def test_a_tail_of_no_file_yet_is_empty(tmp_path):
    tail = Tail(tmp_path / "log")
    tail.skip()
    assert events(tail) == []
    (tmp_path / "log").write_text('{"event": "start"}\n')
    assert events(tail) == [("start", None)]


def test_every_line_is_read_once(tmp_path):
    path, tail = tmp_path / "log", Tail(tmp_path / "log")
    path.write_text('{"event": "a"}\n{"event": "b"}\n')
    assert events(tail) == [("a", None), ("b", None)] and events(tail) == []
    with path.open("a") as file:
        file.write('{"event": "c"}\n')
    assert events(tail) == [("c", None)]


def test_who_stops_reading_goes_on_with_the_next_line(tmp_path):
    path, tail = tmp_path / "log", Tail(tmp_path / "log")
    path.write_text('{"event": "a"}\n{"event": "b"}\n')
    assert next(tail.read()).name == "a"
    assert events(tail) == [("b", None)]


@pytest.mark.parametrize("at", range(1, 22))
def test_an_unfinished_line_waits_for_its_end(tmp_path, at):
    path, tail = tmp_path / "log", Tail(tmp_path / "log")
    line = '{"event": "über"}\n'.encode()
    path.write_bytes(line + line[:at])
    assert events(tail) == [("über", None)] * (1 + (at >= len(line)))
    with path.open("ab") as file:
        file.write(line[at:])
    assert events(tail) == [("über", None)] * (at < len(line))


DEEP = ("[" * 100_000, '{"a":' * 100_000)


@pytest.mark.parametrize("line", [*DEEP, "[1, 2]", "1", '"event"', "null", "", "{", "9" * 5000])
def test_a_line_that_is_no_event_is_passed_over(tmp_path, line):
    (tmp_path / "log").write_text(f'{{"event": "a"}}\n{line}\n{{"event": "b"}}\n')
    assert events(Tail(tmp_path / "log")) == [("a", None), ("b", None)]
    (tmp_path / "log").write_text(f'{{"event": "a"}}\n{line}\n')
    assert last(tmp_path / "log") is None


def test_skipping_passes_over_what_is_there(tmp_path):
    path, tail = tmp_path / "log", Tail(tmp_path / "log")
    path.write_text('{"event": "a"}\n')
    tail.skip()
    with path.open("a") as file:
        file.write('{"event": "b"}\n')
    assert events(tail) == [("b", None)]


@pytest.mark.parametrize("before", ['{"event": "a"}\n', ""])
def test_skipping_passes_over_an_unfinished_line_as_a_whole(tmp_path, before):
    path, tail = tmp_path / "log", Tail(tmp_path / "log")
    path.write_text(before + '{"eve')
    tail.skip()
    with path.open("a") as file:
        file.write('nt": "b"}\n{"event": "c"}\n')
    assert events(tail)[-1] == ("c", None)


def test_a_line_cut_by_a_crash_does_not_spoil_the_next_runs(tmp_path):
    path = tmp_path / "log"
    path.write_text('{"event": "start"}\n{"event": "rou')
    log = EventLog("a0", path)
    log.write(Resumed(round=2))
    log.close()
    assert [event for event, _ in events(Tail(path))] == ["start", "resumed"]


def test_the_ledger_adds_up_by_peer_and_slice_and_begins_anew():
    ledger = Ledger()
    for peer, name, nbytes in [("b", "x", 8), ("b", "y", 4), ("c", "x", 8), ("b", "x", 2)]:
        ledger.post(peer, name, nbytes)
    ledger.wire_out += 100
    ledger.wire_in += 7
    entry = ledger.close()
    assert entry == {"sent": {"b": {"x": 10, "y": 4}, "c": {"x": 8}}, "wire_out": 100, "wire_in": 7}
    ledger.post("b", "x", 1)
    assert entry["sent"]["b"]["x"] == 10, "a closed entry no longer changes"
    assert ledger.close() == {"sent": {"b": {"x": 1}}, "wire_out": 0, "wire_in": 0}
    assert ledger.close() == {"sent": {}, "wire_out": 0, "wire_in": 0}
