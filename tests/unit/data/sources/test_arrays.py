"""Arrays with labels by name, layouts of either kind, and what is refused in them: asked of no file at all."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError

from parse_p2p.core.errors import ConfigError, DataWarning
from parse_p2p.data.sources.arrays import ArrayOptions, from_arrays


def opened(y, groups=None, where="mine.npz", options=None, **arrays):
    """A data set with these labels and, unless others are given, one input."""
    given = arrays or {"x": np.zeros((len(y), 2))}
    given = {**given, (options or {}).get("target", "y"): np.asarray(y)}
    if groups is not None:
        given["groups"] = np.asarray(groups)
    return from_arrays(given, where, ArrayOptions(**options or {}))


def refused(*arguments, **arrays):
    with pytest.raises(ConfigError) as caught:
        opened(*arguments, **arrays)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def labels(y, **options):
    """The classes, and each sample's number."""
    dataset = opened(y, options=options)
    assert dataset.classes == len(dataset.labels) and dataset.targets.dtype == torch.int64
    return dataset.labels, dataset.targets.tolist()


# labels

NAMED = {
    "text": (["dog", "cat", "dog"], ("cat", "dog"), [1, 0, 1]),
    "bytes": (np.array(["dög".encode(), b"cat"]), ("cat", "dög"), [1, 0]),
    "objects": (np.array(["dog", "cat"], dtype=object), ("cat", "dog"), [1, 0]),
    "truth values": ([True, False, True], ("false", "true"), [1, 0, 1]),
    "numbers with gaps": ([5, 2, 5], ("2", "5"), [1, 0, 1]),
    "numbers by value": (np.array([10, 9, 100], dtype=">u2"), ("9", "10", "100"), [1, 0, 2]),
    "text that is numbers": (["10", "9"], ("9", "10"), [1, 0]),
    "the largest number": ([10**6, 0], ("0", "1000000"), [1, 0]),
}


@pytest.mark.parametrize(("y", "classes", "targets"), NAMED.values(), ids=NAMED)
def test_classes_are_the_distinct_labels_in_order(y, classes, targets):
    assert labels(y) == (classes, targets)


@given(st.lists(st.text("abc", min_size=1), min_size=1, max_size=20))
def test_every_sample_keeps_its_label(y):
    classes, targets = labels(np.array(y))
    assert [classes[t] for t in targets] == y and list(classes) == sorted(set(y))


def test_labels_may_be_called_something_else():
    assert labels([0, 1, 7], labels={0: "up", 7: "up", 1: "down"}) == (("down", "up"), [1, 0, 1])
    assert labels(["a", "b", "c"], labels={"b": "a"}) == (("a", "c"), [0, 0, 1]), "one that is not named keeps its own"
    assert labels([True, False], labels={True: "yes", False: 0}) == (("0", "yes"), [1, 0])
    assert labels([-1, 4], labels={-1: "none"}) == (("4", "none"), [1, 0]), "a mark that is named is a class"
    assert labels([-1, 4], labels={-1: 3}) == (("3", "4"), [0, 1])


def test_classes_may_be_given():
    assert labels([0, 4, 4], classes=6) == (tuple("012345"), [0, 4, 4])
    assert labels(["b", "a"], classes=["b", "c", "a"]) == (("b", "c", "a"), [0, 2])
    assert labels([1, -1], classes=[-1, 1]) == (("-1", "1"), [1, 0]), "what is named is meant"
    assert labels([2, 3], labels={2: "x"}, classes=["x", 3]) == (("x", "3"), [0, 1])


def test_a_label_that_is_no_given_class_is_refused():
    said = refused(["dgo", "cat"], options={"classes": ["dog", "cat"]})
    assert said == (
        "array 'y' of mine.npz has the label 'dgo', which is none of data.classes; did you mean 'dog'? Known: cat, dog"
    )
    assert "has the label '3', which is none of data.classes; they are 0 to 2" in refused(
        [3, 0], options={"classes": 3}
    )
    assert "the label '-1', which is none" in refused([-1, 0], options={"classes": 3})


def test_marks_of_what_has_no_class_are_refused():
    assert refused([0, -1]) == (
        "array 'y' of mine.npz has the label '-1', as where there is no class; leave out those rows, or say which "
        "class it is, such as data.labels: {'-1': other}"
    )
    assert "the label '1000001', as" in refused([0, 10**6 + 1])
    assert "the label ' ', as" in refused(["a", " "])


def test_what_is_rather_a_number_of_its_own_for_each_row_is_no_class():
    assert "has 1001 distinct labels in 2001 rows: is it a class?; name" in refused(np.arange(2001) % 1001)
    assert opened(np.arange(2002) % 1001).classes == 1001, "half of the rows"
    assert opened(np.arange(1000)).classes == 1000
    assert opened(np.arange(1001), options={"classes": 1001}).classes == 1001


def test_classes_are_named_once():
    with pytest.raises(ValidationError, match="the class 'a' stands here twice; name each once"):
        ArrayOptions(classes=["a", "b", "a"])
    for wrong in (1, True, 2.5, "a", ["a"], [], ["a", None], {"a": 1}):
        with pytest.raises(ValidationError, match="give how many classes there are, 2 to 1000000, or a list"):
            ArrayOptions(classes=wrong)


# names and groups


def test_the_labels_and_groups_may_have_other_names():
    arrays = {"y": np.ones((3, 1)), "label": np.array([2, 1, 1]), "who": np.array(["eva", "ada", "eva"])}
    dataset = from_arrays(arrays, "there/mine.npz", ArrayOptions(target="label", group="who"))
    assert dataset.modalities == ("y",) and dataset.targets.tolist() == [1, 0, 0]
    assert dataset.groups.tolist() == [1, 0, 1] and dataset.name == "mine.npz"
    assert "array 'x' of mine.npz has 2 rows, but label has 3; give one row per entry of label" in refused(
        [0, 1, 1], options={"target": "label"}, x=np.zeros((2, 2))
    )
    with pytest.raises(ConfigError, match=r"^mine\.npz has no array besides 'y' and 'who'; add one array per modality"):
        from_arrays({"y": np.array([0]), "who": np.array([0])}, "mine.npz", ArrayOptions(group="who"))


def test_groups_that_are_asked_for_must_be_there():
    assert opened([0, 1]).groups is None
    assert "array 'who' of mine.npz is missing; correct data.group" in refused([0, 1], options={"group": "who"})


def test_groups_are_numbers_as_they_are_or_names_in_order():
    assert opened([0, 1], groups=[9, -7]).groups.tolist() == [9, -7]
    assert opened([0, 1], groups=[b"b", b"a"]).groups.tolist() == [1, 0]
    assert "array 'groups' of mine.npz is float64" in refused([0, 1], groups=[0.5, 1])


# layouts


def shape(array, layout):
    x = opened(np.arange(len(array)), x=array, options={"layout": layout}).inputs["x"]
    assert x.is_contiguous() and x.dtype == torch.float32
    return tuple(x.shape)


FIRST, LAST = {"x": "channels-first"}, {"x": "channels-last"}
LAYOUTS = {
    "a series that is longer than wide": ((2, 3, 9), {}, (2, 3, 9)),
    "a square series": ((2, 3, 3), {}, (2, 3, 3)),
    "steps before channels": ((2, 9, 3), LAST, (2, 3, 9)),
    "more channels than steps": ((2, 9, 3), FIRST, (2, 9, 3)),
    "a picture": ((2, 3, 8, 9), {}, (2, 3, 8, 9)),
    "a picture with its colours last": ((2, 8, 9, 3), {}, (2, 3, 8, 9)),
    "a grey one": ((2, 8, 9, 1), {}, (2, 1, 8, 9)),
    "one with transparency": ((2, 8, 9, 4), {}, (2, 4, 8, 9)),
    "one of two channels": ((2, 8, 9, 2), {}, (2, 8, 9, 2)),
    "one that could be both": ((2, 3, 9, 4), {}, (2, 3, 9, 4)),
    "one that could be both, and is not": ((2, 3, 9, 4), LAST, (2, 4, 3, 9)),
    "one that only looks so": ((2, 8, 9, 3), FIRST, (2, 8, 9, 3)),
}


@pytest.mark.parametrize(("given", "said", "result"), LAYOUTS.values(), ids=LAYOUTS)
def test_channels_come_first(given, said, result):
    assert shape(np.zeros(given), said) == result


def test_values_move_with_their_axes():
    series = np.arange(24.0).reshape(2, 4, 3)
    x = opened([0, 1], x=series, options={"layout": {"x": "channels-last"}}).inputs["x"]
    assert np.array_equal(x, series.transpose(0, 2, 1))
    picture = np.arange(2 * 5 * 6 * 3, dtype=np.uint8).reshape(2, 5, 6, 3)
    assert np.array_equal(opened([0, 1], x=picture).inputs["x"], picture.transpose(0, 3, 1, 2))


def test_a_series_of_more_channels_than_steps_is_noted_unless_its_layout_is_said(recwarn):
    said = (
        "array 'x' of mine.npz has shape (60, 64, 3) and is read as 64 channels of 3 steps: if it is 64 steps of 3 "
        "channels, say data.layout: {x: channels-last}, else channels-first"
    )
    assert shape(np.zeros((60, 64, 3)), FIRST) == (60, 64, 3) and not recwarn.list
    with pytest.warns(DataWarning) as noted:
        assert shape(np.zeros((60, 64, 3)), {}) == (60, 64, 3)
    assert [str(each.message) for each in noted] == [said]


def test_a_layout_of_what_has_none_is_refused():
    last = "channels-last"
    assert refused([0, 1], options={"layout": {"xx": last}}) == (
        "data.layout: mine.npz has no array 'xx'; did you mean 'x'? Known: x"
    )
    assert "array 'x' of mine.npz has no channels: it is vectors (N,F); leave it out of data.layout" in refused(
        [0, 1], options={"layout": {"x": last}}
    )


# values


def test_values_are_copied_into_float32(tmp_path):
    x = np.array([[1, 2], [3, 4]], dtype=">i4")
    mine = opened([0, 1], x=x).inputs["x"]
    assert mine.tolist() == [[1, 2], [3, 4]]
    same = np.ones((2, 2), dtype=np.float32)
    opened([0, 1], x=same).inputs["x"][0, 0] = 5
    assert same[0, 0] == 1


def test_a_number_of_very_many_digits_is_no_class():
    assert "as where there is no class" in refused(np.array(["1" * 5000, "2"]), x=np.ones((2, 1)))


def test_values_that_are_missing_in_part_are_counted():
    x = np.ones((4, 2))
    x[1] = np.nan
    x[2, 0] = np.inf
    remedy = "fill or drop them, or make the whole sample NaN where it lacks this modality"
    assert refused([0, 1, 0, 1], x=x) == (
        f"array 'x' of mine.npz has 1 values that are NaN or infinite in float32; {remedy}"
    )
    x[1, 0] = 0
    assert f"has 2 values that are NaN or infinite in float32; {remedy}" in refused([0, 1, 0, 1], x=x)


def test_samples_that_are_nan_as_a_whole_lack_the_modality():
    x, z = np.ones((4, 2)), np.ones((4, 2, 3))
    x[1], z[2:] = np.nan, np.nan
    with pytest.warns(DataWarning) as noted:
        found = opened([0, 1, 0, 1], x=x, z=z)
    assert found.present["x"].tolist() == [True, False, True, True]
    assert found.present["z"].tolist() == [True, True, False, False]
    assert found.inputs["x"].tolist() == [[1, 1], [0, 0], [1, 1], [1, 1]] and not found.inputs["z"][2:].any()
    assert [str(each.message) for each in noted] == [
        f"{count} of 4 samples of mine.npz lack {m!r}, and serve with what else they have"
        for m, count in (("x", 1), ("z", 2))
    ]


def test_weights_are_numbers_from_zero():
    given = {"options": {"weight": "w"}, "x": np.ones((3, 2))}
    found = opened([0, 1, 0], **given, w=np.array([2, 0, 0.5]))
    assert found.weights.tolist() == [2, 0, 0.5] and found.weights.dtype == torch.float32
    assert found.modalities == ("x",) and opened([0, 1, 0]).weights is None
    for w, said in [
        ([1, -1, 1], "has the weight -1 in row 1, from 0; give a number from 0"),
        ([1, 1, np.nan], "has the weight nan in row 2, from 0; give"),
        ([1, 1e39, 1], "has the weight 1e+39 in row 1, from 0; give"),
        ([1, 1], "has 2 rows, but y has 3; give one row per entry of y"),
        (["a", "b", "c"], "is <U1 with 1 axes; give one number from 0 for each sample"),
        (np.ones((3, 1)), "is float64 with 2 axes; give one number"),
    ]:
        assert refused([0, 1, 0], **given, w=np.asarray(w)).startswith(f"array 'w' of mine.npz {said}")
    assert "is missing; correct data.weight; " in refused([0, 1, 0], **given)


@pytest.mark.filterwarnings("ignore::parse_p2p.core.errors.DataWarning")
def test_a_sample_or_a_modality_of_nothing_is_refused():
    x, z = np.ones((3, 2)), np.ones((3, 1))
    x[1], z[1] = np.nan, np.nan
    assert refused([0, 1, 0], x=x, z=z) == "row 1 of mine.npz, from 0, has no value of any modality; leave it out"
    z[:] = np.nan
    assert refused([0, 1, 0], x=x, z=z) == "array 'z' of mine.npz has no values at all; leave it out"


@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.floats(-9, 9, width=32)))
def test_vectors_come_back_as_they_are(x):
    assert np.array_equal(opened(np.arange(len(x)), x=x).inputs["x"], x)


# official test sets


@pytest.mark.parametrize(
    "said",
    [
        [True, False, False],
        [1, 0, 0],
        ["test", "train", "val"],
        ["Test ", "TRAIN", "dev"],
        [b"test", b"train", b"train"],
    ],
)
def test_what_the_authors_keep_for_testing_is_known_however_it_is_said(said):
    arrays = {"y": np.array([0, 1, 0]), "a": np.ones((3, 2)), "part": np.array(said)}
    dataset = from_arrays(arrays, "mine.npz", ArrayOptions(official="part"))
    assert dataset.official.tolist() == [True, False, False] and dataset.modalities == ("a",)
    assert dataset.select([2, 0]).official.tolist() == [False, True]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (["test", "tset"], "array 'part' of mine.npz says tset in row 1, from 0; say true, 1 or test"),
        ([1, 2], "says 2 in row 1"),
        ([1, 0, 0], "array 'part' of mine.npz has 3 rows, but y has 2"),
        ([1.0, 0.0], "array 'part' of mine.npz is float64"),
        (None, "array 'part' of mine.npz is missing; correct data.official"),
    ],
)
def test_what_says_no_test_set_is_refused(said, sentence):
    arrays = {"y": np.array([0, 1]), "a": np.ones((2, 2))} | ({} if said is None else {"part": np.array(said)})
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        from_arrays(arrays, "mine.npz", ArrayOptions(official="part"))


def test_groups_keep_their_names():
    assert opened([0, 1, 0], groups=["b", "a", "b"]).natural_groups == {"a": 0, "b": 1}
    assert opened([0, 1], groups=[b"b", b"a"]).natural_groups == {"a": 0, "b": 1}
    assert opened([0, 1], groups=[9, -7]).natural_groups == {"-7": -7, "9": 9}
    assert opened([0, 1]).natural_groups == {}
