"""What agents agree on of their data, and what does not fit it is refused with both sides named."""

import re

import pytest
import torch
from pydantic import ValidationError

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import Modality
from parse_p2p.data.base import Dataset, Scale
from parse_p2p.data.schema import DataSchema, conform, described, scales, schema_of, unlike

A, B, C = map(Modality, "abc")


def dataset(labels=("cat", "dog", "fox"), targets=(0, 1, 2, 1), **shapes):
    """Samples that are numbered through, so that each can be told from the others."""
    shapes = shapes or {"a": (3,), "b": (2, 5), "c": (1, 4, 6)}
    inputs = {
        Modality(m): torch.arange(len(targets) * torch.Size(s).numel()).view(len(targets), *s).float()
        for m, s in shapes.items()
    }
    return Dataset("d", inputs, torch.tensor(targets), len(labels), labels=tuple(labels), ceiling=lambda seen: 0.5)


def schema(classes=("cat", "dog", "fox"), **modalities):
    modalities = modalities or {"a": {"kind": "vector", "shape": [3]}, "b": {"kind": "series", "shape": [2, 5]}}
    return DataSchema.model_validate({"modalities": modalities, "classes": classes})


def test_a_data_set_has_a_schema():
    found = schema_of(dataset(), "none")
    assert {m: (each.kind, each.shape, each.scale) for m, each in found.modalities.items()} == {
        "a": ("vector", (3,), "none"),
        "b": ("series", (2, 5), "none"),
        "c": ("image", (1, 4, 6), "none"),
    }
    assert found.classes == ("cat", "dog", "fox")
    assert found.shapes([C, A]) == {C: (1, 4, 6), A: (3,)}
    assert DataSchema.model_validate(found.model_dump(mode="json")) == found


def test_classes_without_names_are_named_by_their_numbers():
    plain = Dataset("d", {A: torch.zeros(2, 1)}, torch.tensor([0, 1]), 3)
    assert schema_of(plain, "own").classes == ("0", "1", "2")


def test_a_sample_with_more_axes_than_any_kind_has_none():
    with pytest.raises(ConfigError, match=re.escape("a sample of 'a' in 'd' has the shape [1, 2, 3, 4]: give vectors")):
        schema_of(dataset(a=(1, 2, 3, 4)), "own")


@pytest.mark.parametrize(
    ("modality", "said"),
    [
        ({"kind": "vector", "shape": [3, 2]}, r"the shape of a vector is \[features\], each from 1"),
        ({"kind": "image", "shape": [3, 2]}, r"the shape of an image is \[channels, height, width\], each from 1"),
        ({"kind": "series", "shape": [3, 0]}, r"the shape of a series is \[channels, steps\], each from 1"),
        ({"kind": "sound", "shape": [3]}, "'vector', 'series', 'image', 'tokens' or 'embedding'"),
        ({"kind": "series", "shape": [2, 9], "scale": {"mean": [0], "deviation": [1]}}, "scale has 1 numbers for 2 ch"),
        ({"kind": "vector", "shape": [1], "scale": {"mean": [0, 1], "deviation": [1]}}, "mean has 2 .* deviation 1;"),
        ({"kind": "vector", "shape": [1], "scale": "owned"}, "'owned' is none of own, all, none, {mean:"),
        ({"kind": "vector", "shape": [1], "scale": {"mean": [0]}}, "deviation: field required"),
        ({"kind": "vector", "shape": [1], "scale": {"mean": [float("nan")], "deviation": [1]}}, "a mean is a number"),
        (
            {"kind": "vector", "shape": [1], "scale": {"mean": [0], "deviation": [-1]}},
            "a deviation is a number from 1e-30, or 0",
        ),
        (
            {"kind": "vector", "shape": [1], "scale": {"mean": [0], "deviation": [float("inf")]}},
            "a deviation is a number from 1e-30, or 0",
        ),
    ],
)
def test_a_modality_that_cannot_be_is_refused(modality, said):
    with pytest.raises(ValidationError, match=said):
        schema(a=modality)


@pytest.mark.parametrize(
    ("classes", "said"), [(["a", "b", "a"], "the class 'a' stands here twice"), (["a"], "two or more")]
)
def test_classes_differ_and_are_two_at_least(classes, said):
    with pytest.raises(ValidationError, match=said):
        schema(classes)


def test_samples_conform_in_the_order_of_the_schema_and_only_what_is_asked_for():
    mine = dataset(["fox", "cat"], [0, 1, 1, 0])
    found = conform(mine, schema(), [B], "mine")
    assert found.modalities == (B,) and torch.equal(found.inputs[B], mine.inputs[B])
    assert found.targets.tolist() == [2, 0, 0, 2] and found.classes == 3
    assert found.class_names == ("cat", "dog", "fox")
    assert found.ceiling is None, "it was said of other numbers"
    assert conform(dataset(), schema(), [A], "mine").ceiling is not None


def test_a_label_that_no_sample_has_is_no_fault():
    conform(dataset(["cat", "wolf"], [0, 0]), schema(), [A], "mine")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"a": (4,), "b": (2, 5)}, "'a' is a vector of 4 features here, and a vector of 3 features in data_schema"),
        ({"a": (3,), "b": (5, 2)}, "'b' is a series of 5 channels, 2 steps here, and a series of 2 channels, 5 steps"),
        ({"a": (1, 3), "b": (2, 5)}, "'a' is a series of 1 channel, 3 steps here, and a vector of 3 features"),
        ({"a": (1, 1, 1, 3), "b": (2, 5)}, "'a' is of shape [1, 1, 1, 3] here, and a vector"),
        ({"b": (2, 5)}, "there is no modality 'a' in it: Known: b"),
        ({"labels": ("cat", "dgo"), "targets": (1, 0), "a": (3,), "b": (2, 5)},
         "the class 'dgo' is not in data_schema.classes: did you mean 'dog'? Known: cat, dog, fox; sample 1 is "),
    ],
)  # fmt: skip
def test_what_does_not_conform_is_refused_with_both_sides_named(changes, said):
    with pytest.raises(ConfigError) as caught:
        conform(dataset(**changes), schema(), [A, B], "the data of a3 (site3.csv)")
    assert str(caught.value).startswith(f"the data of a3 (site3.csv): {said}")


def test_everything_that_does_not_conform_is_found():
    assert len(list(unlike(dataset(["x", "y"], [0, 1], b=(1, 1)), schema(), [A, B]))) == 3


def test_a_modality_that_the_schema_lacks_is_named():
    with pytest.raises(ConfigError, match="data_schema: there is no modality 'c': Known: a, b"):
        schema().shapes([A, C])


def test_a_kind_is_described_in_words():
    assert described("image", (3, 32, 64)) == "image of 3 channels, 32 height, 64 width"


def test_given_statistics_scale_by_feature_and_by_channel():
    found = scales(
        schema(
            a={"kind": "vector", "shape": [2], "scale": {"mean": [1, 10], "deviation": [2, 0]}},
            b={"kind": "series", "shape": [1, 3], "scale": {"mean": [-1], "deviation": [0.5]}},
            c={"kind": "vector", "shape": [1], "scale": "none"},
            d={"kind": "vector", "shape": [1]},
        )
    )
    x = torch.tensor([[3.0, 99.0], [1.0, 10.0]])
    a, b, c = (found[m] or pytest.fail() for m in (A, B, C))
    assert torch.equal(a(x), torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    assert torch.equal(b(torch.tensor([[[0.0, -1.0, 1.0]]])), torch.tensor([[[2.0, 0.0, 4.0]]]))
    assert c(x) is x and found[Modality("d")] is None, "those of samples are not known here"


def test_a_set_of_one_class_has_no_schema():
    with pytest.raises(ConfigError, match=r"'d' has one class, 'cat', and two are needed: name all in data\.classes"):
        schema_of(dataset(["cat"], [0, 0]), "own")


@pytest.mark.parametrize("shape", [(40, 3), (40, 2, 5), (40, 2, 3, 4)])
def test_the_statistics_of_samples_given_again_scale_alike_to_the_bit(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 7 + 1e3
    x[:, 1] = 4.0
    scale = Scale.of(x)
    assert scale.mean is not None and scale.deviation is not None
    again = Scale.given(scale.mean.flatten().tolist(), scale.deviation.flatten().tolist(), len(shape) - 1)
    assert torch.equal(again(x), scale(x)) and scale(x)[:, 1].abs().max() == 0
    assert scale(x)[:, 0].double().std(correction=0) == pytest.approx(1)
