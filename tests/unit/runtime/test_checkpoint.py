"""A checkpoint is read back to the last bit, is never half a file, and a broken one is named."""

import io

import numpy as np
import pytest
import torch

from parse_p2p.core.errors import ConfigError
from parse_p2p.launch.run_folder import RunFolder, newest_common
from parse_p2p.runtime import checkpoint


def state(round=0):
    return {
        "values": torch.arange(6.0) + round,
        "optimiser/momentum": torch.tensor([float("nan"), float("inf"), -0.0, 1e-45]),
        "memory/steps": torch.tensor(round, dtype=torch.int64),
        "memory/seen": torch.tensor([[True, False]]),
        "memory/none": torch.empty(0, 3),
        "memory/half": torch.tensor([1.5], dtype=torch.float16),
        "memory/ä b.c": torch.tensor([2.0], dtype=torch.float64),
    }


def bits(tensor):
    return tensor.shape, tensor.dtype, tensor.numpy().tobytes()


def fill(folder, *rounds, keep=9):
    return [checkpoint.save(folder, round, state(round), keep) for round in rounds]


def test_what_was_saved_is_loaded_to_the_last_bit(tmp_path):
    folder = tmp_path / "agents" / "a0"
    [path] = fill(folder, 7)
    loaded = checkpoint.load(folder, 7)
    assert path.parent == folder and loaded.keys() == state(7).keys()
    assert all(bits(tensor) == bits(state(7)[name]) for name, tensor in loaded.items())
    loaded["values"] += 1  # its memory is one's own
    assert torch.equal(checkpoint.load(folder, 7)["values"], state(7)["values"])


def test_rounds_are_numbers_and_not_words(tmp_path):
    fill(tmp_path, 1_000_000, 2, 999_999, 10)
    assert checkpoint.rounds(tmp_path) == [2, 10, 999_999, 1_000_000]
    assert checkpoint.rounds(tmp_path / "nowhere") == []


def test_only_the_newest_are_kept(tmp_path):
    fill(tmp_path, *range(6), keep=3)
    assert checkpoint.rounds(tmp_path) == [3, 4, 5]
    fill(tmp_path, 1_000_000, keep=1)
    assert checkpoint.rounds(tmp_path) == [1_000_000]
    assert len(list(tmp_path.iterdir())) == 1


def test_saving_a_round_again_replaces_it(tmp_path):
    fill(tmp_path, 3, 4)
    checkpoint.save(tmp_path, 3, {"values": torch.ones(1)}, 2)
    assert checkpoint.rounds(tmp_path) == [3, 4]
    assert checkpoint.load(tmp_path, 3)["values"].tolist() == [1]


def test_a_save_that_dies_in_the_middle_leaves_what_was_there(tmp_path, monkeypatch):
    [path] = fill(tmp_path, 3)

    def die(file, **arrays):
        file.write(b"PK half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.np, "savez", die)
    for round in (3, 4):
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save(tmp_path, round, state(9), 1)
    monkeypatch.undo()
    assert checkpoint.rounds(tmp_path) == [3] and path.exists()
    assert torch.equal(checkpoint.load(tmp_path, 3)["values"], state(3)["values"])
    fill(tmp_path, 4)
    assert torch.equal(checkpoint.load(tmp_path, 4)["values"], state(4)["values"])


def test_a_partial_file_is_no_checkpoint(tmp_path):
    (tmp_path / "round-000009.partial").write_bytes(b"half")
    assert checkpoint.rounds(tmp_path) == []


def test_the_newest_round_that_all_have_who_are_there(tmp_path):
    folder, always = RunFolder(tmp_path), range(20)
    fill(folder.checkpoints("a"), 1, 2, 3, 4)
    fill(folder.checkpoints("b"), 2, 3, 10)
    fill(folder.checkpoints("left"), 2)

    def newest(**spans):
        return newest_common(folder, spans, 20)

    assert newest(a=always, b=always) == 3
    assert newest(a=always) == 4
    assert newest(a=always, left=range(2), later=range(5, 20)) == 4
    assert newest(a=always, left=range(5)) == 2
    for spans in ({"a": always, "none": always}, {}):
        with pytest.raises(ConfigError, match="no round that every agent left a checkpoint of"):
            newest(**spans)


def test_who_has_finished_waits_for_those_that_have_not(tmp_path):
    folder = RunFolder(tmp_path)
    fill(folder.checkpoints("done"), 38, 39, 40)
    fill(folder.checkpoints("behind"), 37, 38, 39)
    assert newest_common(folder, {"done": range(40), "behind": range(40)}, 40) == 39
    assert newest_common(folder, {"done": range(40), "behind": range(39)}, 40) == 40


def refused(folder, round=3):
    kind, text = None, ""
    try:
        checkpoint.load(folder, round)
    except Exception as error:  # and let go of it at once, with the file it may hold open
        kind, text = type(error), str(error)
    assert kind is ConfigError
    assert f"round-{round:06d}.npz" in text and "\n" not in text


def test_a_missing_checkpoint_is_named(tmp_path):
    refused(tmp_path)


def flipped(good):
    middle = good.index(bits(state(3)["values"])[2])
    return good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :]


def no_archive(good):
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


def words(good):
    file = io.BytesIO()
    np.savez(file, values=np.array(["x"]))
    return file.getvalue()


BROKEN = {
    "empty": lambda good: b"",
    "first half": lambda good: good[: len(good) // 2],
    "last byte gone": lambda good: good[:-1],
    "one bit": flipped,
    "one array, no archive": no_archive,
    "words": words,
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_checkpoint_is_named(tmp_path, broken):
    [path] = fill(tmp_path, 3)
    path.write_bytes(broken(path.read_bytes()))
    refused(tmp_path)


def test_a_file_of_something_else_is_named(tmp_path):
    [path] = fill(tmp_path, 3)
    path.write_bytes(b"something else altogether")
    refused(tmp_path)


class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('a pickle was run')",)


def test_nothing_pickled_is_ever_read_or_written(tmp_path):
    [path] = fill(tmp_path, 3)
    with np.load(path, allow_pickle=False) as arrays:
        assert all(arrays[name].dtype != object for name in arrays.files)
    np.savez(path, values=np.array([Bomb()], dtype=object))
    refused(tmp_path)
