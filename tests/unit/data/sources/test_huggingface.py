"""Data sets that ``datasets`` saved: right ones come back, others get a sentence each."""

import io
import json
import sys

import numpy as np
import pytest
import soundfile
from PIL import Image
from pydantic import ValidationError

from parse_p2p.core.errors import ConfigError
from parse_p2p.data.sources import huggingface

datasets = pytest.importorskip("datasets")

PHOTO = {"photo": {"column": "img", "size": [2, 3]}}
SOUND = {"sound": {"rate": 4, "seconds": 0.5}}


def encoded(samples):
    file = io.BytesIO()
    soundfile.write(file, samples, 4, format="WAV")
    return {"bytes": file.getvalue(), "path": None}


COLUMNS = {
    "label": [1, 0, 1],
    "who": ["b", "a", "b"],
    "x": [1, 2, 3],
    "vec": [[1.5, 2], [3, 4], [5, 6]],
    "grid": [[[1, 2, 3]], [[4, 5, 6]], [[7, 8, 9]]],
    "fixed": np.arange(12).reshape(3, 2, 2).tolist(),
    "img": [Image.fromarray(np.full((2, 3, 3), 51 * k, np.uint8)) for k in range(3)],
    "sound": [encoded([0.5, -0.5]), encoded([0.25]), encoded([0, 0, 0.5])],
}
STORED = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
"""An image or a recording; datasets would need another package to take the latter as such."""

FEATURES = {
    "label": datasets.ClassLabel(names=["walk", "rest", "fall"]),
    "who": datasets.Value("string"),
    "x": datasets.Value("int8"),
    "vec": datasets.Sequence(datasets.Value("float64")),
    "grid": datasets.Sequence(datasets.Sequence(datasets.Value("int32"))),
    "fixed": datasets.Array2D((2, 2), "float32"),
    "img": datasets.Image(),
    "sound": STORED,
}


def made(columns=COLUMNS, features=FEATURES, **changes):
    """A Dataset, with some columns replaced or added; those without features are as datasets guesses them."""
    columns = {**columns, **changes}
    known = {name: feature for name, feature in features.items() if name in columns and name not in changes}
    found = datasets.Dataset.from_dict({name: columns[name] for name in known}, datasets.Features(known))
    if "sound" in known:
        found = found.cast(datasets.Features(found.features | {"sound": datasets.Audio()}))
    for name, values in changes.items():
        found = found.add_column(name, values)
    return found


@pytest.fixture
def saved(tmp_path):
    made().save_to_disk(tmp_path / "saved")
    return tmp_path / "saved"


def again(path, **changes):
    """Another saved there, of numbers and labels."""
    made({k: COLUMNS[k] for k in ("label", "vec")}, **changes).save_to_disk(path.with_name("other"))
    return path.with_name("other")


def opened(path, **options):
    return huggingface.open(huggingface.Options(path=path, **options), 0)


def refused(*arguments, **options):
    with pytest.raises(ConfigError) as caught:
        opened(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# what is right


def test_columns_of_numbers_and_lists_are_modalities(saved):
    dataset = opened(saved)
    assert dataset.name == "saved" and dataset.groups is None
    assert {m: dataset.inputs[m].tolist() for m in dataset.modalities} == {
        "x": [[1], [2], [3]],
        "vec": COLUMNS["vec"],
        "grid": COLUMNS["grid"],
        "fixed": COLUMNS["fixed"],
    }
    assert dataset.labels == ("walk", "rest", "fall") and dataset.targets.tolist() == [1, 0, 1]


def test_columns_are_those_that_are_named(saved):
    dataset = opened(saved, columns={"a": "vec"}, group="who", labels={"walk": "move", "fall": "move"})
    assert dataset.modalities == ("a",) and dataset.groups.tolist() == [1, 0, 1]
    assert dataset.labels == ("move", "rest") and dataset.targets.tolist() == [1, 0, 1]
    dataset = opened(saved, columns={"a": "vec"}, target="x", group="label", classes=4)
    assert dataset.classes == 4 and dataset.targets.tolist() == [1, 2, 3] and dataset.groups.tolist() == [1, 0, 1]
    dataset = opened(saved, target="who")
    assert dataset.labels == ("a", "b") and "label" not in dataset.modalities, "classes are no input unless named"
    assert opened(saved, columns={"a": "vec"}, classes=["rest", "walk", "run"]).labels == ("rest", "walk", "run")


def test_a_column_called_groups_is_the_groups(saved):
    dataset = opened(again(saved, groups=[7, 9, 7]))
    assert dataset.modalities == ("vec",) and dataset.groups.tolist() == [7, 9, 7]


def test_images_and_recordings_are_decoded(saved):
    dataset = opened(saved, images=PHOTO, audio=SOUND)
    assert dataset.modalities == ("photo", "sound") and dataset.shape("photo") == (3, 2, 3)
    assert dataset.inputs["photo"].mean((1, 2, 3)).tolist() == pytest.approx([0, 0.2, 0.4])
    assert dataset.inputs["sound"].tolist() == [[[0.5, -0.5]], [[0.25, 0]], [[0, 0]]]
    assert opened(saved, images=PHOTO, columns={"a": "x"}).modalities == ("a", "photo")


def test_one_of_several_splits_is_read(tmp_path):
    whole = made({k: COLUMNS[k] for k in ("label", "vec")})
    datasets.DatasetDict({"train": whole, "test": whole.select([1])}).save_to_disk(tmp_path / "all")
    assert len(opened(tmp_path / "all", split="train")) == 3 and len(opened(tmp_path / "all", split="test")) == 1
    assert refused(tmp_path / "all") == f"{tmp_path / 'all'} has the splits train, test; name one with data.split"
    said = refused(tmp_path / "all", split="tset")
    assert said.startswith(f"data.split: {tmp_path / 'all'} has no split 'tset'; did you mean 'test'?")
    assert len(opened(tmp_path / "all" / "test")) == 1
    said = refused(tmp_path / "all" / "test", split="test")
    assert said == f"data.split: {tmp_path / 'all' / 'test'} is one data set without splits; leave it out"


def test_rows_that_were_selected_and_formats_that_were_set_are_minded(tmp_path):
    made().select([2, 0]).with_format("numpy", columns=["label"]).save_to_disk(tmp_path / "some")
    dataset = opened(tmp_path / "some", columns={"a": "vec"}, images=PHOTO)
    assert dataset.inputs["a"].tolist() == [[5, 6], [1.5, 2]]
    assert dataset.inputs["photo"].mean((1, 2, 3)).tolist() == pytest.approx([0.4, 0])


# what is wrong


def test_what_is_no_saved_data_set_is_said(saved):
    for path in (saved.parent, saved / "state.json", saved.with_name("no")):
        said = f"{path} is no folder that save_to_disk of datasets wrote; correct the path or save it there"
        assert refused(path) == said
    [arrow] = saved.glob("*.arrow")
    arrow.write_bytes(arrow.read_bytes()[:500])
    assert refused(saved).startswith(f"{saved} cannot be read as a saved data set (")
    arrow.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert refused(saved) == f"data file {arrow} is a pointer of Git LFS and not the file; get it with git lfs pull"
    arrow.unlink()
    (saved / "state.json").write_text("{")
    assert refused(saved).startswith(f"{saved} cannot be read as a saved data set (JSONDecodeError: ")


def test_columns_that_are_not_there_or_of_another_kind_are_said(saved):
    for options, words in [
        ({"target": "labels"}, f"there is no column 'labels' in {saved}; did you mean 'label'?"),
        ({"group": "whom"}, f"there is no column 'whom' in {saved}; did you mean 'who'?"),
        ({"columns": {"a": "vecs"}}, f"there is no column 'vecs' in {saved}; did you mean 'vec'?"),
        ({"images": {"imp": {"size": [2, 3]}}}, f"there is no column 'imp' in {saved}; did you mean 'img'?"),
        (
            {"columns": {"a": "img"}},
            f"column 'img' of {saved} is Image and not numbers or lists of them; name it in",
        ),
        ({"columns": {"a": "who"}}, f"column 'who' of {saved} is Value and not numbers or lists of them; name it in"),
        ({"images": {"sound": {"size": [2, 3]}}}, f"column 'sound' of {saved} is Audio and not Image; name a column"),
        ({"audio": {"x": {"rate": 4, "seconds": 1}}}, f"column 'x' of {saved} is Value and not Audio; name a column"),
    ]:
        assert refused(saved, **options).startswith(words)
    made({k: COLUMNS[k] for k in ("label", "who", "img")}).save_to_disk(saved.with_name("few"))
    assert "it has label (ClassLabel), who (Value), img (Image): say what" in refused(saved.with_name("few"))


def test_values_that_are_missing_or_of_several_lengths_are_said(saved):
    for changes, words in [
        ({"v": [[1], [2, 3], [4]]}, "'v' of {} has lists of several lengths; cut or pad them to one"),
        ({"v": [[1.0, 2.0], [1.0, float("nan")], [4.0, 5.0]]}, "'v' of {} has 1 values that are NaN or infinite in"),
    ]:
        path = again(saved, **changes)
        assert words.format(path) in refused(path, columns={"v": "v"})


def test_weights_are_a_column(saved):
    found = opened(again(saved, w=[1.0, 0.5, 2.0]), weight="w")
    assert found.weights.tolist() == [1, 0.5, 2] and found.modalities == ("vec",)
    found = opened(again(saved, w=[1, 0, 0]), official="w")
    assert found.official.tolist() == [True, False, False] and found.modalities == ("vec",)


@pytest.mark.filterwarnings("ignore::parse_p2p.core.errors.DataWarning")
def test_rows_without_a_value_lack_the_modality(saved, tmp_path):
    for values in ([[1.0], None, [4.0]], [1.0, None, 4.0]):
        found = opened(again(saved, v=values), columns={"v": "v", "vec": "vec"})
        assert found.inputs["v"].tolist() == [[1], [0], [4]] and found.present["v"].tolist() == [True, False, True]
        assert "vec" not in found.present
    whole = made({k: COLUMNS[k] for k in ("label", "vec", "img")})
    pictures = [*whole[:2]["img"], None]
    made({k: COLUMNS[k] for k in ("label", "vec")} | {"img": pictures}).save_to_disk(tmp_path / "pictures")
    found = opened(tmp_path / "pictures", images=PHOTO, columns={"vec": "vec"})
    assert found.present["photo"].tolist() == [True, True, False] and not found.inputs["photo"][2].any()


def test_labels_that_are_no_class_are_said(tmp_path):
    path = tmp_path / "saved"
    for labels, words in [
        ([1, -1, 0], "the label -1 in row 2, as where there is no class; leave out those rows"),
        ([None, 1, 0], "no value in row 1; fill it or leave out the row"),
    ]:
        made({"label": labels, "vec": COLUMNS["vec"]}).save_to_disk(path)
        assert refused(path).startswith(f"column 'label' of {path} has {words}")


def test_bytes_that_are_missing_or_broken_are_said(tmp_path):
    for cell, words in [
        ({"bytes": None, "path": "/etc/passwd"}, "column 'img' of {} has no bytes in row 1; save it where the files"),
        ({"bytes": b"no image", "path": None}, "column 'img' in row 1 of {} is no image; give PNG, "),
    ]:
        features = datasets.Features({"label": FEATURES["label"], "img": STORED})
        path = tmp_path / "saved"
        datasets.Dataset.from_dict({"label": [1], "img": [cell]}, features).save_to_disk(path)
        stored = json.loads((path / "dataset_info.json").read_text())
        stored["features"]["img"] = {"_type": "Image"}
        (path / "dataset_info.json").write_text(json.dumps(stored))
        assert refused(path, images=PHOTO).startswith(words.format(path))


def test_a_name_is_not_given_twice(tmp_path):
    for columns in ({"photo": "x"}, {"label": "x"}):
        with pytest.raises(ValidationError, match=f"{next(iter(columns))!r} would be two things; give each modality"):
            huggingface.Options(path=tmp_path, columns=columns, images=PHOTO)


def test_without_the_package_a_sentence_says_how_to_get_it(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert refused(saved) == "huggingface needs the package datasets: pip install 'parse-p2p[huggingface]'"
