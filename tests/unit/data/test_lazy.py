"""Inputs that stay in their files are what reading everything at once gives, to the last bit, a few rows at a time."""

import os
import pickle
import tracemalloc
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parse_p2p.core.errors import ConfigError, DataWarning
from parse_p2p.data import lazy
from parse_p2p.data.base import Dataset, Scale, fingerprint, scaled, silent, split, split_groups, without
from parse_p2p.data.findings import findings, summary
from parse_p2p.data.lazy import LazyInput, in_memory, pieces
from parse_p2p.data.sources import npy
from parse_p2p.data.streams import StreamOptions, stream
from parse_p2p.methods.public_data.base import digest

ROWS = 40
ARRAYS = {
    "vector": np.random.default_rng(0).normal(7, 3, (ROWS, 5)).astype(">f8"),
    "series": np.random.default_rng(1).normal(size=(ROWS, 9, 2)).astype(np.float32),
    "photo": np.random.default_rng(2).integers(0, 256, (ROWS, 5, 6, 3), dtype=np.uint8),
    "y": np.arange(ROWS) % 3,
    "groups": np.arange(ROWS) // 5,
    "w": np.linspace(0.5, 2, ROWS),
}
ARRAYS["series"][[3, 4, 30]] = np.nan


class Counting:
    """A reader that knows how many rows were asked for at once."""

    def __init__(self, reader):
        self.reader, self.shape, self.counts = reader, reader.shape, []

    def read(self, rows):
        self.counts.append(len(rows))
        return self.reader.read(rows)


def saved(folder, arrays=ARRAYS):
    folder.mkdir(exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def opened(folder, lazily, **options):
    given = {"weight": "w", "layout": {"series": "channels-last"}} | options
    with pytest.warns(DataWarning, match="3 of 40 samples of .* lack 'series'"):
        return npy.open(npy.Options(path=folder, lazy=lazily, **given), 0)


@pytest.fixture
def both(tmp_path):
    """The same folder read lazily and whole."""
    folder = saved(tmp_path / "site")
    return opened(folder, True), opened(folder, False)


def assert_same(one: Dataset, other: Dataset):
    """Every value of both, though only the first is lazy."""
    assert all(isinstance(x, LazyInput) for x in one.inputs.values())
    assert not any(isinstance(x, LazyInput) for x in other.inputs.values())
    assert len(one) == len(other) and one.modalities == other.modalities and one.labels == other.labels
    rows = [*reversed(range(len(one))), *range(min(2, len(one)))]
    a, b = one.batch(rows), other.batch(rows)
    assert torch.equal(a.targets, b.targets) and torch.equal(a.weights, b.weights)
    assert a.present.keys() == b.present.keys() and all(torch.equal(a.present[m], b.present[m]) for m in a.present)
    for m in one.modalities:
        assert a.inputs[m].dtype == torch.float32 and torch.equal(a.inputs[m], b.inputs[m])
        assert one.shape(m) == other.shape(m)
        assert torch.equal(in_memory(one.having(m)), other.having(m))
    assert fingerprint([one]) == fingerprint([other])


def assert_same_scales(one: Dataset, other: Dataset):
    scales = [{m: Scale.of(each.having(m)) for m in each.modalities} for each in (one, other)]
    for m in one.modalities:
        a, b = (each[m] for each in scales)
        assert a.mean.shape == b.mean.shape and a.mean.dtype == torch.float64
        assert torch.equal(a.mean, b.mean) and torch.equal(a.deviation, b.deviation)
    return scales[0]


def test_it_is_what_reading_everything_is_to_the_last_bit(both, monkeypatch):
    monkeypatch.setattr(lazy, "PIECE", 300)  # a few rows at a time
    assert_same(*both)
    scales = assert_same_scales(*both)
    for cut in (split, split_groups):
        for one, other in zip(cut(both[0], 0.25, 3), cut(both[1], 0.25, 3), strict=True):
            assert_same(one, other)
            assert_same_scales(one, other)
            assert_same(scaled(one, scales), scaled(other, scales))
            own = {m: Scale.of(x) for m, x in other.inputs.items()}
            assert_same(scaled(scaled(one, scales), own), scaled(scaled(other, scales), own))
            assert_same(one.whole().select([1, 0], ["photo"]), other.whole().select([1, 0], ["photo"]))
            assert_same(one.select([]), other.select([]))


def test_findings_and_a_summary_are_those_of_the_whole(both):
    assert summary(both[0]) == summary(both[1])
    assert list(findings({"a": both[0], "b": both[1]})) == list(findings({"a": both[1], "b": both[1]}))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_statistics_are_those_of_torch_whatever_the_shape_and_the_pieces(data):
    shape = data.draw(st.lists(st.integers(1, 6), min_size=2, max_size=4))
    shape[0] = data.draw(st.sampled_from([1, 2, 7, 40, 3000]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    values = (rng.normal(size=shape) * 10.0 ** rng.integers(-3, 4) + rng.integers(-1000, 1000)).astype(np.float32)
    if constant := data.draw(st.booleans()):
        values[:, -1] = values.flat[0]
    piece, lazy.PIECE = lazy.PIECE, data.draw(st.sampled_from([1, 64, 2**20]))
    try:
        found = Scale.of(LazyInput.of(Held(values)))
    finally:
        lazy.PIECE = piece
    whole = Scale.of(torch.from_numpy(values))
    assert torch.equal(found.mean, whole.mean) and torch.equal(found.deviation, whole.deviation)
    assert not constant or found.deviation.flatten()[-1] == 0


class Held:
    """Samples in memory, read as if they were in a file."""

    def __init__(self, values):
        self.shape, self._values = values.shape, values

    def read(self, rows):
        return self._values[rows]


@pytest.mark.parametrize("shape", [(70_000, 1), (70_000, 2), (9000, 1, 8), (3000, 3, 4, 4)])
@pytest.mark.parametrize("threads", [1, 2])
def test_several_threads_sum_as_they_sum_the_whole(shape, threads):
    values = np.random.default_rng(0).normal(50, 1, shape).astype(np.float32)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found, whole = Scale.of(LazyInput.of(Held(values))), Scale.of(torch.from_numpy(values))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found.mean, whole.mean) and torch.equal(found.deviation, whole.deviation)


def test_what_has_no_room_for_statistics_says_how_much_they_need(monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(ConfigError, match=r"need 480 bytes for a temporary file \(No space left on device\): set TMP"):
        Scale.of(LazyInput.of(Held(np.ones((20, 3), np.float32))))


def test_no_more_rows_than_a_piece_are_in_memory_at_once(both, monkeypatch):
    monkeypatch.setattr(lazy, "PIECE", 4 * 5 * 6)  # six rows of the vector
    counting = Counting(both[0].inputs["vector"].reader)
    x = LazyInput.of(counting)
    dataset = Dataset("counted", {"vector": x}, both[0].targets, 3)
    train, test = split(dataset, 0.25, 0)
    scale = Scale.of(train.inputs["vector"])
    train = scaled(train, {"vector": scale})
    fingerprint([train]), train.inputs["vector"].finite
    assert max(counting.counts) == 6 and sum(counting.counts) == 3 * len(train)
    counting.counts.clear()
    assert train.inputs["vector"].finite and not counting.counts, "what was found is kept"
    train.batch(range(2)), test.batch([0])
    assert counting.counts == [2, 1]
    assert [len(piece) for piece in pieces(x)] == [6] * 6 + [4]


def test_pieces_are_let_go_of(tmp_path, monkeypatch):
    monkeypatch.setattr(lazy, "PIECE", 2**14)
    values = np.random.default_rng(0).normal(size=(4000, 2, 50)).astype(np.float32)
    folder = saved(tmp_path / "site", {"x": values, "y": np.arange(4000) % 3})
    tracemalloc.start()
    try:
        dataset = npy.open(npy.Options(path=folder, lazy=True), 0)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        x = dataset.inputs["x"]
        fingerprint([dataset]), Scale.of(x), x.finite, digest(dataset.inputs)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most - before < values.nbytes / 4


def test_a_row_larger_than_a_piece_is_read_alone(both, monkeypatch):
    monkeypatch.setattr(lazy, "PIECE", 1)
    assert [len(piece) for piece in pieces(both[0].inputs["photo"])] == [1] * ROWS


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.integers(0, ROWS - 1), max_size=12))
def test_rows_come_in_the_order_that_they_are_asked_for(tmp_path_factory, rows):
    x = np.arange(ROWS * 6, dtype=np.int16).reshape(ROWS, 3, 2)
    folder = saved(tmp_path_factory.mktemp("rows"), {"x": x})
    array = np.load(folder / "x.npy", mmap_mode="r")
    at = np.array(rows, dtype=np.int64)
    assert np.array_equal(npy.NpyReader(folder, "x", array, False).read(at), x[at])
    last = npy.NpyReader(folder, "x", array, True).read(at)
    assert np.array_equal(last, np.moveaxis(x[at], -1, 1)) and last.flags.c_contiguous


@pytest.mark.parametrize("rows", [40, 30])
def test_faults_in_values_are_those_of_the_whole(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(lazy, "PIECE", 60)
    vector = ARRAYS["vector"][:rows].copy()
    vector[[0, 29], [1, 0]] = np.inf, np.nan
    folder = saved(tmp_path / "site", {"vector": vector, "y": ARRAYS["y"]})
    said = []
    for lazily in (True, False):
        with pytest.raises(ConfigError) as caught:
            npy.open(npy.Options(path=folder, lazy=lazily), 0)
        said.append(str(caught.value))
    assert said[0] == said[1] and ("has 2 values that are NaN" if rows == 40 else "has 30 rows, but y") in said[0]


def test_samples_that_lack_everything_are_found(tmp_path):
    arrays = {"a": np.full((4, 3), np.nan), "y": np.array([0, 1, 0, 1])}
    arrays["a"][1:] = 1
    with pytest.warns(DataWarning), pytest.raises(ConfigError, match=r"^row 0 of .* has no value of any modality"):
        npy.open(npy.Options(path=saved(tmp_path / "site", arrays), lazy=True), 0)


def test_columns_cannot_be_read_by_rows(tmp_path):
    folder = saved(tmp_path / "site", {"a": np.asfortranarray(np.ones((4, 3))), "y": np.array([0, 1, 0, 1])})
    with pytest.raises(ConfigError, match=f"^array 'a' of {folder} is stored column by column.*ascontiguousarray"):
        npy.open(npy.Options(path=folder, lazy=True), 0)
    assert len(npy.open(npy.Options(path=folder), 0)) == 4


def test_a_file_that_is_cut_short_gets_a_sentence(both, tmp_path):
    file = tmp_path / "site" / "vector.npy"
    os.truncate(file, file.stat().st_size - 8)
    with pytest.raises(ConfigError, match=r"^array 'vector' of .*site cannot be read \(it was cut short\); put back"):
        both[0].batch([0, ROWS - 1])
    with pytest.raises(ConfigError, match=r"\(it was written to or replaced since it was opened\)"):
        both[0].batch([0])  # which is still there


def test_a_file_that_is_written_to_gets_a_sentence(both, tmp_path):
    file = tmp_path / "site" / "photo.npy"
    when = file.stat().st_mtime_ns
    with file.open("r+b") as opened_again:
        opened_again.seek(-1, os.SEEK_END)
        opened_again.write(b"\0")
    os.utime(file, ns=(when, when + 1))
    with pytest.raises(ConfigError, match=r"^array 'photo' of .* \(it was written to or replaced since it was opened"):
        both[0].batch([0])


def test_a_file_that_takes_its_place_is_not_read(both, tmp_path):
    file = tmp_path / "site" / "vector.npy"
    before = file.stat()
    np.save(tmp_path / "new.npy", np.zeros((ROWS, 5)))
    os.utime(tmp_path / "new.npy", ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(tmp_path / "new.npy", file)
    with pytest.raises(ConfigError, match=r"^array 'vector' of .* \(it was written to or replaced since it was opened"):
        both[0].inputs["vector"][:5]
    (tmp_path / "site" / "photo.npy").unlink()
    with pytest.raises(ConfigError, match=r"^array 'photo' of .* cannot be read \(No such file or directory\)"):
        both[0].inputs["photo"][:5]


def test_a_disk_that_fails_gets_a_sentence(both, monkeypatch):
    def failing(*arguments):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", failing)
    with pytest.raises(ConfigError, match=r"^array '\w+' of .* cannot be read \(Input/output error\)"):
        both[0].batch([0])


def test_copies_read_the_same_and_nothing_stays_open(both, tmp_path, monkeypatch):
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.chdir(tmp_path)  # agents of a simulator may be more than a process can have files open
    many = [opened(Path("site"), True) for _ in range(3)]
    with open("/proc/self/maps") as maps:
        mapped = [line for line in maps if ".npy" in line and str(tmp_path) in line]  # other tests may have left some
        assert not mapped, "a mapped file that is cut short ends the process"
    assert len(os.listdir("/proc/self/fd")) == before
    monkeypatch.chdir("/")
    x = many[0].inputs["photo"]
    for copied in (pickle.loads(pickle.dumps(x)), deepcopy(x)):
        assert torch.equal(copied[2:7], both[1].inputs["photo"][2:7])


def test_broken_sensors_take_no_memory(both):
    for one, value in ((without(both[0], ["photo"]), 0.0), (silent(both[0], ["photo"]), torch.nan)):
        x = one.inputs["photo"]
        assert x.shape == both[1].inputs["photo"].shape and x.untyped_storage().nbytes() == 4
        assert torch.equal(one.batch([3]).inputs["photo"].nan_to_num(1), torch.full((1, 3, 5, 6), value).nan_to_num(1))
        assert isinstance(one.inputs["vector"], LazyInput)


def test_a_stream_of_tasks_refuses_them(both):
    with pytest.raises(ConfigError, match=r"^stream: .* and 'photo' is read lazily: leave one out"):
        stream(both[0], both[1], 0, 2, StreamOptions(), 0)
