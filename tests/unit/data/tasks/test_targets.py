"""Labels and numbers as sources hold them, what is refused of them, and what agents agree on."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from parse_p2p.config.source import Source
from parse_p2p.core.errors import ConfigError
from parse_p2p.data.schema import DataSchema, conform, schema_of, united
from parse_p2p.data.sources.python import samples

X = np.arange(8, dtype=np.float32).reshape(4, 2)
LABELS = np.array([[1, 0], [1, 1], [0, 1], [0, 0]])
NUMBERS = np.array([[1.5, -2.0], [0.0, 3.0], [1e3, 0.25], [4.0, 5.0]])
CSV = "u,v,cat,dog,heat\n1,2,1,0,20.5\n3,4,1,1,-3\n5,6,0,1,1e2\n7,8,0,0,4\n"


def table(path, **options):
    path.write_text(CSV)
    return Source({"path": str(path), "columns": {"m": ["u", "v"]}, **options}, "data").open(0)


def test_labels_stand_in_columns(tmp_path):
    data = table(tmp_path / "d.csv", task="multi-label", target=["cat", "dog"])
    assert data.task.name == "multi-label" and data.class_names == ("cat", "dog") and data.classes == 2
    assert data.targets.dtype == torch.float32 and np.array_equal(data.targets, LABELS)
    assert data.inputs["m"].tolist() == [[1, 2], [3, 4], [5, 6], [7, 8]]


def test_numbers_stand_in_columns(tmp_path):
    data = table(tmp_path / "d.csv", task="regression", target="heat")
    assert data.class_names == ("heat",) and data.targets.tolist() == [[20.5], [-3], [100], [4]]
    several = table(tmp_path / "e.csv", task="regression", target=["heat", "cat"], outputs=["temperature", "cats"])
    assert several.class_names == ("temperature", "cats") and several.targets[0].tolist() == [20.5, 1]


def test_parquet_has_columns_of_lists_too(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {"x": X.tolist(), "y": NUMBERS.tolist(), "z": [True, False, True, True]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "d.parquet")
    given = {"path": str(tmp_path / "d.parquet"), "columns": {"m": "x"}}
    data = Source({**given, "task": "regression"}, "data").open(0)
    assert data.class_names == ("0", "1") and np.allclose(data.targets, NUMBERS)
    labels = Source({**given, "task": "multi-label", "target": "z"}, "data").open(0)
    assert labels.targets.tolist() == [[1], [0], [1], [1]]


@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_arrays_hold_them_side_by_side(tmp_path, kind):
    path = tmp_path / ("d.npz" if kind == "npz" else "d")
    if kind == "npz":
        np.savez(path, m=X, y=NUMBERS, z=LABELS)
    else:
        path.mkdir()
        for name, values in (("m", X), ("y", NUMBERS), ("z", LABELS)):
            np.save(path / f"{name}.npy", values)
    both = Source({"path": str(path), "task": "regression", "target": ["y", "z"]}, "data").open(0)
    assert both.class_names == ("y0", "y1", "z0", "z1") and np.allclose(both.targets, np.hstack([NUMBERS, LABELS]))


def test_items_of_a_torch_dataset_have_vectors_as_labels():
    items = [({"m": torch.tensor(x)}, torch.tensor(y)) for x, y in zip(X, NUMBERS, strict=True)]
    data = samples(items, task="regression", outputs=["a", "b"])
    assert data.targets.dtype == torch.float32 and np.allclose(data.targets, NUMBERS)
    single = samples([(each, float(y[0])) for each, y in items], task="regression")
    assert single.targets.tolist() == NUMBERS[:, :1].tolist()
    labels = samples({"m": X, "y": LABELS.astype(bool)}, task="multi-label", classes=["cat", "dog"])
    assert labels.class_names == ("cat", "dog") and np.array_equal(labels.targets, LABELS)


@pytest.mark.parametrize(("y", "options", "said"), [
    (NUMBERS[:, 0], {}, r"array 'y' of data is float64 with 1 axes; give whole .* or say data.task: regression"),
    (NUMBERS, {}, "or say data.task: regression"),
    (LABELS, {}, "or say data.task: multi-label"),
    (LABELS, {"outputs": ["a"]}, "data.outputs: a class is no number"),
    (np.array(["a", "b", "a", "b"]), {"task": "regression"}, "'y' of data is <U1 with 1 axes; give numbers"),
    (np.array(["1", "2", "3", "4"], object), {"task": "regression"}, "is object with 1 axes; give numbers"),
    (np.array([1, 2, np.nan, 4]), {"task": "regression"}, "target that is NaN or infinite in float32 in row 2, from 0"),
    (np.array([1, 2, 1e39, 4]), {"task": "regression"}, "NaN or infinite in float32 in row 2"),
    (NUMBERS[:3], {"task": "regression"}, "has 4 rows, but y has 3"),
    (NUMBERS, {"task": "regression", "outputs": ["a"]}, r"data.outputs names 1, and data has 2 for each sample"),
    (NUMBERS, {"task": "regression", "classes": ["a", "b"]}, "data.classes: regression has none; .*data.outputs"),
    (NUMBERS, {"task": "regression", "labels": {"a": "b"}}, "data.labels: for regression targets are numbers"),
    (LABELS * 2, {"task": "multi-label"}, "array 'y' of data has the value 2 for '0' in row 0, from 0; a label is 1"),
    (LABELS - 0.5, {"task": "multi-label"}, "has the value 0.5"),
    (LABELS, {"task": "multi-label", "outputs": ["a", "b"]}, "data.outputs: multi-label has none"),
    (np.zeros((4, 2, 2)), {"task": "regression"}, "with 3 axes"),
    (np.zeros((0, 2)), {"task": "regression"}, "is empty"),
])  # fmt: skip
def test_targets_that_are_none_are_refused_in_a_sentence(y, options, said):
    with pytest.raises(ConfigError, match=said):
        samples({"m": X, "y": y}, **options)


@pytest.mark.parametrize(("options", "said"), [
    ({"target": "heat"}, "column 'heat' of .* is double; give whole numbers or text, or say data.task: regression"),
    ({"target": ["cat", "dog"]}, "data.target names 2 columns, and a class stands in one: say data.task: multi-label"),
    ({"target": ["cat", "heat"], "task": "multi-label"}, "has the value 20.5 for 'heat' in row 0"),
    ({"target": ["cat", "cow"], "task": "multi-label"}, "there is no column 'cow'.*data.target"),
    ({"target": "word", "task": "regression"}, "column 'word' of .* has the text 'x' in line 2; give numbers"),
    ({"target": "hole", "task": "regression"}, "column 'hole' of .* target that is empty, NaN .* in line 3"),
    ({"target": "heat", "task": "regresion"}, "there is no task 'regresion'.*regression"),
    ({"target": "heat", "task": "os.path"}, "there is no task 'os.path'"),
    ({"target": ["cat", "cat"], "task": "regression"}, "the target 'cat' stands here twice"),
])  # fmt: skip
def test_columns_that_are_no_targets_are_refused_in_a_sentence(tmp_path, options, said):
    lines = CSV.splitlines()
    more = ["word,hole", "x,1", "y,", "z,3", "w,4"]
    path = tmp_path / "d.csv"
    path.write_text("\n".join(f"{line},{extra}" for line, extra in zip(lines, more, strict=True)) + "\n")
    with pytest.raises(ConfigError, match=said):
        Source({"path": str(path), "columns": {"m": ["u", "v"]}, **options}, "data").open(0)


def test_a_folder_of_images_has_labels_and_numbers_in_its_table(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for k in range(2):
        image.new("L", (2, 2), k).save(tmp_path / f"{k}.png")
    (tmp_path / "metadata.csv").write_text("photo,y,z\n0.png,1.5,1\n1.png,-2,0\n")
    given = {"path": str(tmp_path), "kind": "media", "images": {"photo": {"size": [2, 2]}}}
    data = Source({**given, "task": "regression", "target": ["y", "z"]}, "data").open(0)
    assert data.targets.tolist() == [[1.5, 1], [-2, 0]] and data.class_names == ("y", "z")


def test_columns_of_a_saved_data_set(tmp_path):
    datasets = pytest.importorskip("datasets")
    value, kinds = datasets.Value, datasets.ClassLabel(names=["a", "b"])
    kept = {"m": datasets.Sequence(value("float32")), "cat": value("int64"), "dog": value("bool"), "kind": kinds}
    columns = {
        "m": X.tolist(),
        "cat": LABELS[:, 0].tolist(),
        "dog": LABELS[:, 1].astype(bool).tolist(),
        "kind": [0, 1, 0, 1],
    }
    datasets.Dataset.from_dict(columns, datasets.Features(kept)).save_to_disk(str(tmp_path / "d"))
    given = {"path": str(tmp_path / "d"), "task": "multi-label"}
    data = Source({**given, "target": ["cat", "dog"]}, "data").open(0)
    assert np.array_equal(data.targets, LABELS) and data.modalities == ("m",)
    with pytest.raises(ConfigError, match=r"'kind' of .* holds numbers of classes, and data\.task is multi-label"):
        Source({**given, "target": "kind"}, "data").open(0)


def numbers(names=("a", "b"), **options):
    return samples({"m": X, "y": NUMBERS}, task="regression", outputs=list(names), **options)


def test_the_schema_says_the_task_and_the_outputs():
    schema = united({"one": numbers(), "two": numbers()})
    assert schema.task == "regression" and schema.outputs == ("a", "b") and schema.classes == ()
    plain = schema.model_dump(mode="json")
    assert plain["outputs"] == ["a", "b"] and "classes" not in plain and "targets" not in plain
    assert DataSchema.model_validate(plain) == schema
    words = samples({"m": X, "y": np.arange(4)})
    assert set(schema_of(words, "own").model_dump()) == {"modalities", "classes"}


def test_outputs_are_put_in_the_order_of_the_schema():
    schema = united({"one": numbers(("b", "a"))})
    found = conform(numbers(), schema, ["m"], "mine")
    assert found.class_names == ("b", "a") and np.allclose(found.targets, NUMBERS[:, ::-1])
    scaled = schema.model_copy(update={"targets": DataSchema.model_validate(
        schema.model_dump() | {"targets": {"a": {"mean": 2.0, "deviation": 0.5}}}).targets})  # fmt: skip
    task: Any = conform(numbers(), scaled, ["m"], "mine").task
    assert task.mean == (0.0, 2.0) and task.deviation == (1.0, 0.5)


def test_agents_of_two_tasks_or_other_outputs_are_refused_naming_both():
    labels = samples({"m": X, "y": LABELS}, task="multi-label", classes=["a", "b"])
    both = np.hstack([NUMBERS, LABELS[:, :1]])
    three = samples({"m": X, "y": both}, task="regression", outputs=["a", "b", "c"])
    with pytest.raises(ConfigError, match="one is of the task regression and two of multi-label"):
        united({"one": numbers(), "two": labels})
    with pytest.raises(ConfigError, match="'c' is in two and not in one"):
        united({"one": numbers(), "two": three})
    schema = schema_of(numbers(), "own")
    with pytest.raises(ConfigError, match=r"^mine: its task is multi-label here, and regression in data_schema"):
        conform(labels, schema, ["m"], "mine")
    with pytest.raises(ConfigError, match=r"^mine: the output 'c' is not in data_schema\.outputs"):
        conform(numbers(("a", "c")), schema, ["m"], "mine")
    one = samples({"m": X, "y": NUMBERS[:, 0]}, task="regression", outputs=["a"])
    with pytest.raises(ConfigError, match=r"^mine: the output 'b' of data_schema\.outputs is not in it"):
        conform(one, schema, ["m"], "mine")


@pytest.mark.parametrize(("keys", "said"), [
    ({"task": "regression"}, "outputs: name the numbers"),
    ({"task": "multi-label"}, "classes: name the labels"),
    ({"task": "regression", "classes": ["a", "b"]}, "classes: the task regression has none; name them under outputs"),
    ({"outputs": ["a"], "classes": ["a", "b"]}, "stands here twice|outputs: the task classification has none"),
    ({"classes": ["a", "b"], "targets": {"a": {"mean": 1}}}, "targets are numbers to scale by"),
    ({"task": "regression", "outputs": ["a"], "targets": {"b": {"mean": 1}}}, "there is no output 'b'"),
    ({"task": "regression", "outputs": ["a"], "targets": {"a": {"deviation": 0}}}, "greater than or equal"),
    ({"task": "regression", "outputs": ["a"], "targets": {"a": {"deviation": 1e39}}}, "less than or equal"),
    ({"task": "regression", "outputs": ["a"], "targets": {"a": {"mean": -1e39}}}, "greater than or equal"),
    ({"task": "regression", "outputs": ["a"], "targets": {"a": {"mean": float("nan")}}}, "than or equal"),
    ({"task": "os:path", "outputs": ["a"]}, "there is no task 'os:path'"),
])  # fmt: skip
def test_schemas_that_cannot_be_are_refused(keys, said):
    with pytest.raises(ValidationError, match=said):
        DataSchema.model_validate({"modalities": {"m": {"kind": "vector", "shape": [2]}}, **keys})


def test_a_value_that_is_no_label_is_said_of_its_own_column(tmp_path):
    with pytest.raises(ConfigError, match=r"^column 'heat' of .* has the value 20.5 for 'heat'"):
        table(tmp_path / "d.csv", task="multi-label", target=["cat", "heat"])
    with pytest.raises(ConfigError, match=r"give 0 and 1 as \(N,\) or \(N, labels\)"):
        samples({"m": X, "y": np.array(["yes", "no", "no", "yes"])}, task="multi-label")


@pytest.mark.parametrize(("y", "loses"), [
    (1.7e9 + np.arange(4.0), True),
    (2**26 + np.arange(4), True),
    (3e5 + np.arange(4.0) / 7, True),
    (1e3 + np.arange(4.0) / 7, False),
    (np.full(4, 0.1), False),
    (np.full(4, 5.0), False),
    (np.float32(1e7) + np.arange(4, dtype=np.float32), False),  # as exact as they were
])  # fmt: skip
def test_targets_that_lose_digits_in_float32_are_warned_of(y, loses):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        samples({"m": X, "y": y}, task="regression")
    assert [str(each.message).startswith("array 'y' of data varies too little for float32") for each in said] == [
        True
    ] * loses


def test_a_schema_that_cannot_be_is_refused_without_being_printed_back():
    wrong = {"modalities": {"m": {"kind": "vector", "shape": [2]}}, "task": "regression"}
    for keys in ({"outputs": ["a"], "targets": {"b": {"mean": 1}}}, {}, {"classes": ["a", "b"]}):
        with pytest.raises(ValidationError) as caught:
            DataSchema.model_validate(wrong | keys)
        assert [each["type"] for each in caught.value.errors()] == ["sentence"]
