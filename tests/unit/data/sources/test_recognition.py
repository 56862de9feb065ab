"""What a path holds tells its kind: of all kinds of source, one recognises it, and others do not."""

import csv
import json

import numpy as np
import pytest
import soundfile
from PIL import Image

from parse_p2p.config.source import SOURCES
from parse_p2p.core import plugins


def arrays(path):
    np.savez(path.with_suffix(".npz"), y=[0])


def folder_of_arrays(path):
    path.mkdir()
    np.save(path / "y.npy", [0])


def text(path):
    with path.with_suffix(".csv").open("w", newline="") as file:
        csv.writer(file).writerow(["y"])


def parquet(path):
    path.with_suffix(".parquet").write_bytes(b"PAR1")


def folder_of_parquet(path):
    path.mkdir()
    (path / "part-0.parquet").write_bytes(b"PAR1")


def table(path):
    path.mkdir()
    (path / "metadata.csv").write_text("y,photo\n")


def folder_per_class(path):
    for name in ("a", "b"):
        (path / name).mkdir(parents=True)
        Image.new("L", (2, 2)).save(path / name / "1.PNG")


def folder_of_recordings(path):
    (path / "a").mkdir(parents=True)
    soundfile.write(path / "a" / "1.wav", [0.0, 0.0], 8000)


def saved(path):
    """As ``save_to_disk`` names its files."""
    path.mkdir()
    for name in ("state.json", "dataset_info.json"):
        (path / name).write_text("{}")
    (path / "data-00000-of-00001.arrow").write_bytes(b"")


def saved_splits(path):
    saved(path.parent / "train")
    path.mkdir()
    (path.parent / "train").rename(path / "train")
    (path / "dataset_dict.json").write_text(json.dumps({"splits": ["train"]}))


def nothing(path):
    path.mkdir()
    (path / "notes.txt").write_text("of no interest")
    (path / ".cache").mkdir()
    (path / ".cache" / "a.png").write_bytes(b"")


def with_arrays_too(path):
    folder_of_arrays(path)
    (path / "metadata.csv").write_text("y\n")


def with_parquet_too(path):
    folder_per_class(path)
    (path / "a.parquet").write_bytes(b"PAR1")


@pytest.mark.parametrize(
    ("make", "kinds"),
    [
        (arrays, ["npz"]),
        (folder_of_arrays, ["npy"]),
        (text, ["csv"]),
        (parquet, ["parquet"]),
        (folder_of_parquet, ["parquet"]),
        (table, ["media"]),
        (folder_per_class, ["media"]),
        (folder_of_recordings, ["media"]),
        (saved, ["huggingface"]),
        (saved_splits, ["huggingface"]),
        (nothing, []),
        (with_arrays_too, ["npy"]),
        (with_parquet_too, ["parquet"]),
    ],
)
def test_one_kind_recognises_what_is_there(tmp_path, make, kinds):
    make(tmp_path / "mine")
    [path] = tmp_path.iterdir()
    known = plugins.names(SOURCES)
    assert {"csv", "huggingface", "media", "npy", "npz", "parquet"} <= set(known)
    assert [name for name in known if plugins.load(SOURCES, name)(path)] == kinds


def test_no_kind_recognises_what_is_not_there(tmp_path):
    for path in (tmp_path / "absent", tmp_path / "a\0b", tmp_path / ("n" * 300)):
        assert not [n for n in plugins.names(SOURCES) if plugins.load(SOURCES, n)(path)]
