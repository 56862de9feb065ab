"""What was taken in is known again: all lines that were complete, in the order of the rounds, and to the last bit."""

import pytest

from parse_p2p.core.errors import ConfigError
from parse_p2p.runtime.arrivals.record import ArrivalRecord, RefusedFile, Taken


def taken(round, name="a", errors=(0.0, 1.0)):
    return Taken(round=round, name=name, stamp="s", samples=2, fingerprint="f", errors=errors)


def test_all_that_was_noted_is_read_again(tmp_path):
    path = tmp_path / "agents/a0/arrivals.jsonl"
    record = ArrivalRecord(path)
    entries = [taken(3, errors=(0.1, 1 / 3)), RefusedFile(round=1, name="ä b", stamp="t", why="no"), taken(2, "b")]
    for entry in entries:
        record.add(entry)
    again = ArrivalRecord(path)
    assert again.entries == entries
    assert [entry.round for entry in again.taken] == [2, 3]


def test_a_line_that_a_kill_cut_off_is_none(tmp_path):
    path = tmp_path / "arrivals.jsonl"
    ArrivalRecord(path).add(taken(0))
    whole = path.read_bytes()
    for length in range(1, len(whole)):
        path.write_bytes(whole + whole[:length])
        record = ArrivalRecord(path)
        assert record.entries == [taken(0)]
        record.add(taken(1))
        assert ArrivalRecord(path).entries == [taken(0), taken(1)]


@pytest.mark.parametrize("line", ["{}", "[]", "nonsense", '{"kind": "taken", "round": -1}', '{"kind": "lost"}'])
def test_a_broken_line_is_named(tmp_path, line):
    path = tmp_path / "arrivals.jsonl"
    ArrivalRecord(path).add(taken(0))
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ConfigError, match=rf"line 2 of {path} cannot be read") as caught:
        ArrivalRecord(path)
    assert "\n" not in str(caught.value)


def test_without_a_file_it_is_in_memory():
    record = ArrivalRecord()
    record.add(taken(0))
    assert record.taken == [taken(0)]
