"""Each way a person's file can be wrong gives one sentence that names the file, the array and what to do."""

import zipfile

import numpy as np
import pytest
import torch

from parse_p2p.core.errors import ConfigError
from parse_p2p.data.sources import npz

GOOD = {
    "audio": np.arange(12.0).reshape(4, 3),
    "motion": np.ones((4, 2, 5), dtype=np.int16),
    "camera": np.zeros((4, 1, 2, 2), dtype=np.uint8),
    "y": np.array([0, 2, 1, 1], dtype=np.uint8),
    "groups": np.array([7, 7, 9, 9]),
}


def saved(tmp_path, **changes):
    """The good file with some arrays replaced, or left out where None."""
    path = tmp_path / "mine.npz"
    np.savez(path, **{name: array for name, array in {**GOOD, **changes}.items() if array is not None})
    return path


def opened(path, **options):
    return npz.open(npz.Options(path=path, **options), 0)


def test_a_good_file_comes_back_as_it_was_saved(tmp_path):
    dataset = opened(saved(tmp_path))
    assert dataset.name == "mine.npz" and dataset.modalities == ("audio", "camera", "motion")
    assert dataset.classes == 3 and dataset.targets.tolist() == [0, 2, 1, 1]
    assert dataset.groups.tolist() == [7, 7, 9, 9] and dataset.targets.dtype == torch.int64
    assert {m: dataset.shape(m) for m in dataset.modalities} == {"audio": (3,), "motion": (2, 5), "camera": (1, 2, 2)}
    assert all(x.dtype == torch.float32 for x in dataset.inputs.values())
    assert np.array_equal(dataset.inputs["audio"], GOOD["audio"])


def test_groups_are_optional_and_classes_may_be_more_than_the_file_shows(tmp_path):
    path = saved(tmp_path, groups=None, y=np.array([0, 4, 4, 0]))
    dataset = opened(path, classes=6)
    assert dataset.groups is None and dataset.classes == 6


FAULTS = [
    ({"y": None}, "y", "is missing"),
    ({"y": np.array([0.0, 1.0, 2.0, 1.0])}, "y", r"float64.*y\.astype"),
    ({"y": np.array([0.0, np.nan, 2.0, 1.0])}, "y", "float64"),
    ({"y": np.array([0j, 1, 2, 1])}, "y", "complex128.*whole numbers or text"),
    ({"y": np.array([[0], [1], [2], [1]])}, "y", "with 2 axes"),
    ({"y": np.array(3)}, "y", "with 0 axes"),
    ({"y": np.array([], dtype=int)}, "y", "is empty"),
    ({"y": np.array([0, 1, -1, 0])}, "y", "has the label '-1', as where there is no class; leave out those rows"),
    ({"y": np.array([0, 1, 10**6 + 1, 0])}, "y", "has the label '1000001', as where there is no class"),
    ({"y": np.array(["a", "", "a", "b"])}, "y", "has the label '', as where there is no class"),
    ({"y": np.array([b"a", b"\xff", b"a", b"b"])}, "y", r"has the label b'\\xff'; write labels in UTF-8"),
    ({"y": np.array([0, 1, 2**64 - 1, 0], dtype=np.uint64)}, "y", "has the label '18446744073709551615'"),
    ({"y": np.array([0, 1, 2, 1, 0])}, "groups", "has 4 rows, but y has 5"),
    ({"audio": np.zeros((3, 3))}, "audio", "has 3 rows, but y has 4; give one row per entry of y"),
    (
        {"audio": np.array([[1.0, 0], [np.nan, 0], [2.0, 0], [np.inf, 0]])},
        "audio",
        "has 2 values that are NaN or infinite",
    ),
    ({"audio": np.array([[1e300], [0], [0], [0]])}, "audio", "infinite in float32"),
    ({"audio": np.zeros(4)}, "audio", r"with 1 axes; give numbers as \(N,F\)"),
    ({"audio": np.zeros((4, 1, 1, 1, 1))}, "audio", "with 5 axes"),
    ({"audio": np.zeros((4, 0))}, "audio", "is empty"),
    ({"audio": np.zeros((4, 2), dtype=complex)}, "audio", "is complex128"),
    ({"audio": np.full((4, 2), "x")}, "audio", "is <U1"),
    ({"audio": np.array([[None]] * 4, dtype=object)}, "audio", "cannot be read.*plain numbers"),
    ({"y": np.array([0, 1, 2, "x"], dtype=object)}, "y", "cannot be read.*plain numbers"),
    ({"groups": np.array([0.5, 1, 1, 1])}, "groups", "float64"),
    ({"groups": np.array([1, 1, 1])}, "groups", "has 3 rows"),
]


@pytest.mark.parametrize(("changes", "array", "words"), FAULTS)
def test_a_fault_names_file_array_and_remedy_in_one_sentence(tmp_path, changes, array, words):
    path = saved(tmp_path, **changes)
    with pytest.raises(ConfigError, match=words) as caught:
        opened(path)
    message = str(caught.value)
    assert message.startswith(f"array {array!r} of {path} ") and "; " in message and "\n" not in message


def test_a_class_beyond_the_option_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"label '2', which is none of data\.classes; they are 0 to 1, so renumber"):
        opened(saved(tmp_path), classes=2)


def test_what_is_a_file_of_this_kind_is_known_by_its_name(tmp_path):
    assert npz.recognises(tmp_path / "a.npz") and npz.recognises(tmp_path / "A.NPZ")
    assert not npz.recognises(tmp_path / "a.npy") and not npz.recognises(tmp_path)


def test_a_file_without_modalities_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"mine\.npz has no array besides 'y' and 'groups'"):
        opened(saved(tmp_path, audio=None, motion=None, camera=None))


def test_a_path_that_is_no_file_is_refused(tmp_path):
    for path in (tmp_path / "absent.npz", tmp_path):
        with pytest.raises(ConfigError, match=f"data file {path} does not exist; correct the path"):
            opened(path)


def test_other_kinds_of_file_are_refused(tmp_path):
    np.save(tmp_path / "one.npy", GOOD["audio"])
    (tmp_path / "text.npz").write_text("audio,motion\n")
    (tmp_path / "empty.npz").touch()
    for name in ("one.npy", "text.npz", "empty.npz"):
        with pytest.raises(ConfigError, match=rf"{name} is not an \.npz archive; write it with numpy\.savez"):
            opened(tmp_path / name)


def test_damaged_and_foreign_members_are_refused(tmp_path):
    path = saved(tmp_path)
    data = bytearray(path.read_bytes())
    data[data.index(b"\x93NUMPY") + 140] ^= 0xFF  # one byte of the first array, past its header
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"array 'audio' of .* cannot be read"):
        opened(path)
    with zipfile.ZipFile(saved(tmp_path), "a") as archive:
        archive.writestr("notes.txt", "not an array")
    with pytest.raises(ConfigError, match=r"array 'notes\.txt' of "):
        opened(path)


def test_a_pickle_in_the_file_is_never_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    with pytest.raises(ConfigError):
        opened(saved(tmp_path, audio=np.array([[Trap()]] * 4, dtype=object)))
    assert not (tmp_path / "sprung").exists()


def test_what_only_looks_like_an_archive_is_refused(tmp_path):
    path = saved(tmp_path)
    path.write_bytes(b"something before it" + path.read_bytes())
    with pytest.raises(ConfigError, match=r"data file .*mine\.npz cannot be read .*; write it with numpy\.savez"):
        opened(path)
