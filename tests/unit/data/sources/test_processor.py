"""What a pretrained model's processor says of a scale: the model sees what its processor would have made."""

import json

import pytest
import torch

from parse_p2p.config import run_file
from parse_p2p.core.errors import ConfigError
from parse_p2p.data.schema import DataSchema, scales
from parse_p2p.data.sources import processor

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
KEYS = {"image_mean": MEAN, "image_std": STD, "size": {"height": 4, "width": 6}}


def written(folder, keys, name="preprocessor_config.json"):
    (folder / name).write_text(json.dumps(keys))
    return folder


@pytest.mark.parametrize(
    ("more", "factor", "normalised"),
    [
        ({}, 1 / 255, True),
        ({"do_rescale": True, "rescale_factor": 1 / 127.5}, 1 / 127.5, True),
        ({"do_rescale": False, "image_mean": [123.0] * 3, "image_std": [58.0] * 3}, 1.0, True),
        ({"do_normalize": False}, 1 / 255, False),
    ],
)
def test_a_scaled_image_is_what_the_processor_makes_of_its_pixels(tmp_path, more, factor, normalised):
    keys = KEYS | more
    found = processor.resolved({"processor": written(tmp_path, keys)}, "image", [3, 4, 6])
    modality = {"kind": "image", "shape": [3, 4, 6], "scale": found}
    schema = DataSchema.model_validate({"modalities": {"photo": modality}, "classes": ["a", "b"]})
    pixels = torch.randint(256, (2, 3, 4, 6), generator=torch.Generator().manual_seed(0)).double()
    wanted = pixels * factor
    scaled_by = scales(schema)["photo"]
    assert scaled_by is not None
    if normalised:
        mean, std = (torch.tensor(keys[key], dtype=torch.float64).view(3, 1, 1) for key in ("image_mean", "image_std"))
        wanted = (wanted - mean) / std
    torch.testing.assert_close(scaled_by(pixels / 255).double(), wanted, rtol=1e-5, atol=1e-5)


def test_a_model_of_timm_has_it_in_its_config(tmp_path):
    keys = {"architecture": "resnet18", "pretrained_cfg": {"mean": MEAN, "std": STD, "input_size": [3, 4, 6]}}
    found = processor.statistics(written(tmp_path, keys, "config.json"), "image", (3, 4, 6))
    assert found == {"mean": pytest.approx(MEAN), "deviation": pytest.approx(STD)}
    with pytest.raises(ConfigError, match="gives images of 4 by 6"):
        processor.statistics(tmp_path, "image", (3, 6, 4))


@pytest.mark.parametrize(
    ("keys", "kind", "shape", "said"),
    [
        (
            KEYS,
            "image",
            (3, 8, 8),
            "gives images of 4 by 6, and the shape is .*read them as size",
        ),
        (KEYS | {"do_center_crop": True, "crop_size": 5}, "image", (3, 4, 6), "gives images of 5 by 5"),
        (KEYS, "image", (1, 4, 6), r"has 3 channels, and the shape is \[1, 4, 6\]"),
        (KEYS, "series", (3, 24), "is not one for a series"),
        (KEYS | {"rescale_offset": True}, "image", (3, 4, 6), "moves pixels by an offset"),
        (KEYS | {"rescale_factor": 0}, "image", (3, 4, 6), "rescale_factor 0, which is no number above 0"),
        (KEYS | {"image_std": [1]}, "image", (3, 4, 6), "of several lengths"),
        ({"sampling_rate": 16000, "do_normalize": True}, "series", (1, 9), "scales each recording by itself"),
        ({"sampling_rate": 16000, "feature_size": 80}, "series", (1, 9), "makes spectra"),
        (KEYS | {"rescale_factor": True}, "image", (3, 4, 6), "rescale_factor True, which is no number"),
        (KEYS | {"image_mean": "123"}, "image", (3, 4, 6), "image_mean is no list of numbers"),
        (KEYS | {"image_std": [True, 1, 1]}, "image", (3, 4, 6), "image_std is no list of numbers"),
        (KEYS | {"image_std": [0, 1, 1]}, "image", (3, 4, 6), "image_std is 0"),
        (KEYS | {"size": "5"}, "image", (3, 4, 6), "has the size '5', which is none of an image"),
        (KEYS | {"size": [4, 6, 3]}, "image", (3, 4, 6), r"has the size \[4, 6, 3\], which is none"),
        (KEYS | {"size": [5, 6]}, "image", (3, 4, 6), "gives images of 5 by 6"),
        ([], "image", (3, 4, 6), "cannot be read .it holds no keys"),
        (None, "image", (3, 4, 6), "preprocessor_config.json does not exist; give the folder of a model"),
    ],
)
def test_what_a_scale_cannot_do_is_refused(tmp_path, keys, kind, shape, said):
    if keys is not None:
        written(tmp_path, keys)
    with pytest.raises(ConfigError, match=said):
        processor.statistics(tmp_path, kind, shape)


@pytest.mark.parametrize("size", [{"shortest_edge": 7}, None])
def test_a_size_that_it_leaves_open_may_be_any(tmp_path, size):
    assert processor.statistics(written(tmp_path, KEYS | {"size": size}), "image", (3, 9, 9))["mean"] == pytest.approx(
        MEAN
    )


def test_recordings_that_are_left_as_they_are(tmp_path):
    keys = {"sampling_rate": 16000, "feature_size": 1, "do_normalize": False}
    assert processor.statistics(written(tmp_path, keys), "series", (1, 9)) == {"mean": [0.0], "deviation": [1.0]}


def test_its_folder_lies_beside_the_run_file_which_keeps_the_numbers(tmp_path, monkeypatch):
    (tmp_path / "vit").mkdir()
    written(tmp_path / "vit", KEYS)
    photo = {"kind": "image", "shape": [3, 4, 6], "scale": {"processor": "vit"}}
    keys = {"graph": {"generator": "ring"}, "agents": {"mix": {"photo": 2}}, "dataset": "own",
            "data_schema": {"modalities": {"photo": photo}, "classes": ["a", "b"]}}  # fmt: skip
    (tmp_path / "run.yaml").write_text(json.dumps(keys))
    monkeypatch.chdir("/")
    assert run_file.load(tmp_path / "run.yaml").data_schema.modalities["photo"].scale.mean == pytest.approx(MEAN)
    photo |= {"shape": [3, 5, 5]}
    (tmp_path / "run.yaml").write_text(json.dumps(keys))
    with pytest.raises(ConfigError, match=r"photo.scale: .*gives images of 4 by 6"):
        run_file.load(tmp_path / "run.yaml")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"scale": {"processor": "vit", "mean": [1]}},
            r"run.yaml:1: data_schema.*photo.scale: .*stands alone",
        ),
        ({"scale": {"processor": 3}}, "is the folder of a model"),
        ({"scale": {"processor": "x" * 5000}}, "cannot be read .File name too long"),
        ({"shape": None}, "give the kind and the shape"),
        ({"shape": []}, "give the kind and the shape"),
    ],
)
def test_one_stands_alone_beside_kind_and_shape(tmp_path, change, said):
    photo = {"kind": "image", "shape": [3, 4, 6], "scale": {"processor": "vit"}} | change
    keys = {
        "graph": {"generator": "ring"},
        "agents": {"mix": {"photo": 2}},
        "data_schema": {"modalities": {"photo": photo}},
    }
    (tmp_path / "run.yaml").write_text(json.dumps(keys))
    with pytest.raises(ConfigError, match=said):
        run_file.load(tmp_path / "run.yaml")
