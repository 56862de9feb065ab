"""What was taken in is known again: all lines that were complete, in the order of the rounds, with their errors."""

import numpy as np
import pytest
import torch

from parse_p2p.core.errors import ConfigError
from parse_p2p.runtime.arrivals.record import ArrivalRecord, RefusedFile, Taken, pack, unpack


def taken(round, name="a", errors=(0.0, 1.0)):
    errors = pack(torch.tensor(errors, dtype=torch.float64))
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


def test_errors_of_classes_are_kept_as_they_are_and_others_to_a_255th():
    rng = np.random.default_rng(0)
    wrong = torch.from_numpy(rng.integers(0, 2, 5000).astype(float))
    assert torch.equal(unpack(pack(wrong), 5000), wrong)
    assert len(pack(wrong)) < 5000 / 4, "characters a sample"
    some = torch.from_numpy(rng.random(300))
    again = unpack(pack(some), 300)
    assert float((again - some).abs().max()) <= 0.5 / 255 + 1e-12 and pack(again) == pack(some)
    assert unpack(pack(torch.tensor([-3.0, 7.0])), 2).tolist() == [0, 1]
    assert len(unpack("", 0)) == 0


@pytest.mark.parametrize(
    "text", ["?", "AAAA", pack(torch.zeros(3)), pack(torch.zeros(10**6)), pack(torch.zeros(2))[:-8]]
)
def test_errors_that_are_none_or_more_than_the_samples_are_refused(text):
    with pytest.raises(ValueError, match=r"errors|base64|multiple of 4"):
        unpack(text, 2)


def test_what_others_read_stays_as_it_is_while_a_line_is_written(tmp_path):
    path = tmp_path / "arrivals.jsonl"
    ArrivalRecord(path).add(taken(0))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:20])
    assert ArrivalRecord(path).entries == [taken(0)]
    assert path.read_bytes() == whole + whole[:20], "its agent may be about to write the rest"


def test_a_record_that_cannot_be_written_is_a_sentence(tmp_path, monkeypatch):
    record = ArrivalRecord(tmp_path / "arrivals.jsonl")

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ConfigError, match=r"arrivals.jsonl cannot be written \(No space left on device\): make room"):
        record.add(taken(0))


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
