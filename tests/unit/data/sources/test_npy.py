"""A folder of .npy files is what an .npz of the same arrays is."""

import numpy as np
import pytest

from parse_p2p.core.errors import ConfigError
from parse_p2p.data.sources import npy

GOOD = {
    "audio": np.arange(12.0).reshape(4, 3),
    "motion": np.ones((4, 2, 5), dtype=np.float32),
    "y": np.array(["b", "a", "b", "c"]),
    "groups": np.array([7, 7, 9, 9]),
}


def saved(tmp_path, **changes):
    """The folder, with some arrays replaced, or left out where None."""
    folder = tmp_path / "site3"
    folder.mkdir()
    for name, array in {**GOOD, **changes}.items():
        if array is not None:
            np.save(folder / f"{name}.npy", array)
    return folder


def opened(folder, **options):
    return npy.open(npy.Options(path=folder, **options), 0)


def test_a_folder_comes_back_as_it_was_saved(tmp_path):
    folder = saved(tmp_path)
    (folder / "notes.txt").write_text("of no interest")
    dataset = opened(folder)
    assert dataset.name == "site3" and dataset.modalities == ("audio", "motion")
    assert dataset.labels == ("a", "b", "c") and dataset.targets.tolist() == [1, 0, 1, 2]
    assert dataset.groups.tolist() == [7, 7, 9, 9] and dataset.shape("motion") == (2, 5)
    assert np.array_equal(dataset.inputs["audio"], GOOD["audio"])
    dataset.inputs["motion"][:] = 0
    assert np.array_equal(np.load(folder / "motion.npy"), GOOD["motion"]), "the file is not written to"


def test_options_are_those_of_arrays(tmp_path):
    folder = saved(tmp_path, y=None, groups=None, kind=np.array([0, 1, 1, 0]), motion=np.zeros((4, 9, 2)))
    dataset = opened(folder, target="kind", classes=3, layout={"motion": "channels-last"})
    assert dataset.classes == 3 and dataset.groups is None and dataset.shape("motion") == (2, 9)


def test_faults_name_the_folder_and_the_array(tmp_path):
    folder = saved(tmp_path, audio=np.zeros((3, 3)))
    with pytest.raises(ConfigError, match=f"^array 'audio' of {folder} has 3 rows, but y has 4; give one row"):
        opened(folder)
    np.save(folder / "audio.npy", np.array([[None]] * 4, dtype=object))
    with pytest.raises(ConfigError, match=f"^array 'audio' of {folder} cannot be read .*; save plain numbers with"):
        opened(folder)
    for wrong in (b"", b"\x93NUMPY\x01\x00v", b"audio,motion\n"):
        (folder / "audio.npy").write_bytes(wrong)
        with pytest.raises(ConfigError, match=f"^array 'audio' of {folder} cannot be read "):
            opened(folder)


def test_a_path_that_is_no_folder_of_arrays_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"^data folder .*absent does not exist; correct the path"):
        opened(tmp_path / "absent")
    with pytest.raises(ConfigError, match=r"^data folder .* has no \.npy file; save one per modality"):
        opened(tmp_path)


def test_a_folder_of_this_kind_is_known_by_what_it_holds(tmp_path):
    assert npy.recognises(saved(tmp_path))
    assert not any(map(npy.recognises, (tmp_path, tmp_path / "absent", tmp_path / "site3" / "y.npy")))
