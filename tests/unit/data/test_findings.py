"""Each finding is there where it has to be, just beyond its bound, and not before it."""

import numpy as np
import pytest
import torch

from parse_p2p.core.errors import ConfigError
from parse_p2p.data.base import Dataset
from parse_p2p.data.findings import ModalitySummary, findings, lacking, summary
from parse_p2p.data.schema import DataSchema


def values(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def dataset(y=None, labels=(), groups=None, **inputs):
    """Sixty rows of two classes with nothing odd in them, but for what is given."""
    inputs = inputs or {"audio": values(60 if y is None else len(y), 4)}
    y = torch.arange(len(next(iter(inputs.values())))) % 2 if y is None else torch.tensor(y)
    return Dataset("d", inputs, y, len(labels) or max(int(y.max()) + 1, 2), groups, labels=labels)


def found(**changes):
    return list(findings({"s": dataset(**changes)}))


def with_column(column, at=1, **others):
    """Vectors of three features, one of them as given."""
    x = values(len(column), 3)
    x[:, at] = torch.tensor(column)
    return found(audio=x, **others)


def test_nothing_is_odd_in_what_is_as_it_should_be():
    assert found() == []
    assert found(y=[0, 1] * 25, motion=values(50, 3, 8), camera=values(50, 1, 2, 2)) == []


def test_what_there_is_is_summed_up():
    x = torch.tensor([[[1.0, 2.0]], [[3.0, 6.0]], [[1.0, 2.0]]])
    made = dataset([0, 2, 2], ("sit", "lie", "walk"), torch.tensor([7, 9, 7]), motion=x, audio=torch.ones(3, 2))
    assert summary(made).modalities["motion"] == ModalitySummary("series", (1, 2), 1, 6, 2.5, (17.5 / 6) ** 0.5)
    assert summary(made).modalities["audio"] == ModalitySummary("vector", (2,), 1, 1, 1, 0)
    assert list(summary(made).modalities) == ["audio", "motion"]
    assert summary(made).targets == [("sit", "1", "33.3%"), ("lie", "0", "0.0%"), ("walk", "2", "66.7%")]
    assert summary(made).rows == 3 and summary(made).groups == ["7", "9"] and summary(dataset()).groups is None


def test_the_mean_of_large_numbers_is_exact():
    x = torch.full((4096, 1), 2.0**24)
    x[::2] += 2
    assert summary(dataset(audio=x)).modalities["audio"].mean == 2**24 + 1


def test_what_has_more_axes_than_any_kind_is_refused():
    with pytest.raises(ConfigError, match=r"a sample of 'film' in 'd' has the shape \[1, 2, 2, 2\]"):
        summary(dataset(film=values(60, 1, 2, 2, 2)))


@pytest.mark.parametrize(
    ("rows", "said"),
    [(50, []), (49, ["s: 49 rows are few to train on and test with: give 50 or more"])],
)
def test_few_rows(rows, said):
    assert found(audio=values(rows, 4)) == said


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ([40, 10], []),
        ([40, 9, 20, 2, 0], ["s: 2 classes have fewer than 10 rows ('1', '3')"]),
        ([60, 1], ["s: 1 class has one row, which cannot be tested ('1')", "s: 98.4% of the rows are of the class '0': "
                   "to say so always is as accurate"]),
        ([40, 1, 9, 1], ["s: 2 classes have one row, which cannot be tested ('1', '3')",
                         "s: 1 class has fewer than 10 rows ('2')"]),
        ([50, *[2] * 6], ["s: 6 classes have fewer than 10 rows ('1', '2', '3', '4', '5', …)"]),
        ([90, 10], []),
        ([10, 91], ["s: 90.1% of the rows are of the class '1': to say so always is as accurate"]),
    ],
)  # fmt: skip
def test_classes_of_few_rows_and_of_nearly_all(counts, said):
    assert found(y=np.repeat(np.arange(len(counts)), counts).tolist(), labels=tuple("012345678"[: len(counts)])) == said


def test_features_and_channels_that_are_constant():
    x, series = values(60, 9), values(60, 3, 8)
    x[:, 2:9] = 0.1
    series[:, [0, 2]] = 5
    series[:, 1] = torch.arange(8.0)  # the same in every row, and not constant
    said = found(audio=x, motion=series)
    assert said[0] == "s: 7 of 9 features of 'audio' (2, 3, 4, 5, 6, …) have one value only: nothing can be learnt " \
                      "from that"  # fmt: skip
    assert said[1] == "s: 2 of 3 channels of 'motion' (0, 2) have one value only: nothing can be learnt from that"
    assert len(said) == 2
    assert found(y=[0, 1] * 30, audio=x[:, :4]) == [
        "s: 2 of 4 features of 'audio' (2, 3) have one value only: nothing can be learnt from that"
    ]
    assert "5, 6)" in found(audio=x[:, :7])[0], "five are named"


def test_what_is_constant_is_not_far_from_its_mean():
    assert sum("deviations" in said for rows in (997, 10007) for said in with_column([0.1] * rows)) == 0


@pytest.mark.parametrize("sign", [1, -1])
def test_large_values(sign):
    large = np.linspace(0, sign * 1e6, 60)
    assert with_column(large) == []
    large[-1] += sign
    assert with_column(large) == [
        "s: 1 of 3 features of 'audio' (1) has values beyond 1,000,000: do they mark what is missing?"
    ]


@pytest.mark.parametrize("sign", [1, -1])
def test_values_far_from_all_others(sign):
    """One of N that are alike but for it is √(N − 1) deviations off."""
    said = (
        "s: 1 of 3 features of 'audio' (2) has values over 100 deviations from the mean: do they mark what is missing?"
    )
    for rows, expected in ((9990, []), (10010, [said])):
        column = np.zeros(rows)
        column[7] = sign * 9.0
        assert with_column(column, at=2) == expected


@pytest.mark.parametrize(("distinct", "asked"), [(2, False), (3, True), (50, True), (51, False)])
def test_vectors_of_few_whole_numbers_are_asked_about(distinct, asked):
    x = torch.from_numpy(np.random.default_rng(0).integers(0, distinct, (300, 40))).float()
    x[0, 0], x[0, 1] = 0, distinct - 1
    said = (
        f"s: all features of 'audio' are whole numbers with {distinct} distinct values, as tokens or categories are: "
        "are they numbers, of which more is more? If not, name them in data.tokens"
    )
    assert found(audio=x) == [said] * asked
    assert found(motion=x.reshape(300, 1, 40)) == [], "a series is not"
    x[5, 5] += 0.5
    assert found(audio=x) == []


def test_short_series():
    said = "are channels and steps swapped, or is it a vector?"
    assert found(motion=values(60, 9, 8)) == []
    assert found(motion=values(60, 9, 7)) == [f"s: a series of 'motion' has 7 steps: {said}"]
    assert found(motion=values(60, 9, 1)) == [f"s: a series of 'motion' has 1 step: {said}"]


REPEATED = "repeat inputs and class of an earlier one, and may be tested after that was trained on"
UNCLEAR = "there with different classes, which no model can tell apart"


def test_rows_that_repeat_others():
    x = values(60, 4)
    x[10] = x[12] = x[14] = x[0]  # all of class 0
    assert found(audio=x) == [f"s: 3 rows {REPEATED}"]
    x[12:15] = values(3, 4, seed=1)
    assert found(audio=x) == [f"s: 1 row {REPEATED.replace('repeat', 'repeats', 1)}"]
    assert found(audio=x, motion=values(60, 2, 8)) == [], "it differs in the other modality"


def test_inputs_that_are_there_with_different_classes():
    x = values(60, 4)
    x[11] = x[0]
    assert found(audio=x) == [f"s: 1 input is {UNCLEAR}"]
    x[13], x[6] = x[4], x[0]
    assert found(audio=x) == [f"s: 1 row {REPEATED.replace('repeat', 'repeats', 1)}", f"s: 2 inputs are {UNCLEAR}"]


def test_a_zero_has_no_sign_and_other_numbers_do():
    x = values(60, 4)
    x[2:5] = torch.tensor([[0.0], [1.0], [-0.0]])
    assert found(audio=x) == [f"s: 1 row {REPEATED.replace('repeat', 'repeats', 1)}"]
    x[4] = -1.0
    assert found(audio=x) == []


def test_rows_that_differ_little_are_not_the_same():
    """Of all rows of eight bits in which exactly the signs or lowest bits differ, none repeats another."""
    bits = torch.from_numpy((np.arange(256)[:, None] >> np.arange(8) & 1).astype(np.float32))
    assert not any("repeat" in said or "input" in said for x in (bits * 2 - 1, 1 + bits * 2**-23, bits * 2.0**-126)
                   for said in found(y=[0] * 255 + [1], audio=x))  # fmt: skip
    x = values(60, 4)
    x[2] = x[0].flip(0)
    assert found(audio=x) == []


def test_values_that_change_places_between_modalities_are_others():
    one, other = values(60, 4), values(60, 4, seed=1)
    one[2], other[2] = other[0], one[0]
    assert found(audio=one, motion=other) == []


def test_memory_of_another_order_is_read_as_it_is():
    x = values(4, 60)
    x[:, 2] = x[:, 0]
    assert found(audio=x.T) == [f"s: 1 row {REPEATED.replace('repeat', 'repeats', 1)}"]


def test_rows_of_two_sources_are_compared_by_what_both_have():
    one = dataset(audio=values(60, 4), motion=values(60, 3, 8))
    audio = values(70, 4, seed=1)
    audio[5:8], audio[8] = one.inputs["audio"][:3], one.inputs["audio"][0]
    both = {"one": one, "other": dataset(audio=audio, camera=values(70, 1, 2, 2))}
    leak = "what one agent is tested with, the other may have trained on"
    assert list(findings(both)) == [f"one: 3 rows are in other too: {leak}"]
    both = dict(reversed(both.items()))
    assert list(findings(both)) == [f"other: 4 rows are in one too: {leak}"]
    motion = values(70, 3, 8, seed=2)
    motion[5] = one.inputs["motion"][0]
    both["other"] = dataset(audio=audio, motion=motion)
    assert list(findings(both)) == [f"other: 1 row is in one too: {leak}"], "in both modalities"


def test_sources_of_nothing_in_common_are_not_compared():
    x = values(60, 4)
    assert list(findings({"one": dataset(audio=x), "other": dataset(motion=x)})) == []
    assert list(findings({"one": dataset(a=x.view(60, 2, 2, 1)), "other": dataset(a=x.view(60, 1, 2, 2))})) == [
        "one: 'a' has the shape [2, 2, 1] and in other [1, 2, 2], but agents share one shape"
    ]


def test_every_pair_of_sources_is_compared_and_each_named():
    x = values(180, 4)
    sources = {"a": dataset(audio=x[:60]), "b": dataset(audio=x[50:120]), "c": dataset(audio=x[115:])}
    assert [said[:15] for said in findings(sources)] == ["a: 10 rows are ", "b: 5 rows are i"]
    sources["a"] = dataset(audio=x[:40])
    assert [said.partition(" too")[0] for said in findings(sources)] == [
        "a: 40 rows are few to train on and test with: give 50 or more", "b: 5 rows are in c",
    ]  # fmt: skip


SCHEMA = DataSchema.model_validate(
    {"modalities": {"audio": {"kind": "vector", "shape": [4]}}, "classes": ["sit", "lie", "walk"]}
)


def test_what_only_the_schema_or_only_the_source_names():
    whole = dataset([0, 1, 2] * 20, ("walk", "sit", "lie"))
    assert list(lacking("s", whole, SCHEMA)) == []
    assert list(lacking("s", dataset([0, 1] * 30, ("walk", "sit")), SCHEMA)) == [
        "s: no row is of 1 class of data_schema ('lie')"
    ]
    unused = dataset([0] * 60, ("walk", "sit", "lie"), audoi=values(60, 4))
    assert list(lacking("s", unused, SCHEMA)) == [
        "s: the modality 'audoi' is not in data_schema: did you mean 'audio'? Known: audio",
        "s: no row is of 2 classes of data_schema ('sit', 'lie')",
    ]
