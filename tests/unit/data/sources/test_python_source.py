"""Samples from a module of one's own in the current folder: whatever it gives is taken, or refused in a sentence."""

import sys

import numpy as np
import pytest
import torch

from parse_p2p.core.errors import ConfigError, DataWarning
from parse_p2p.data.sources import python

CODE = """
import numpy as np
import torch
from torch.utils.data import IterableDataset, TensorDataset

from parse_p2p.core.errors import ConfigError
from parse_p2p.data import Dataset


class Pairs(torch.utils.data.Dataset):
    def __init__(self, samples=4, wrong=None):
        self.items = [({"x": torch.full((2,), i), "t": i / 2}, "ab"[i % 2]) for i in range(samples)]
        self.reads = []
        if wrong is not None:
            self.items[2] = wrong
        ALL.append(self)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        self.reads.append(i)
        return self.items[i]


ALL = []


def ready(classes=2):
    return Dataset("ready", {"x": torch.zeros(3, 1)}, torch.tensor([0, 1, 0]), classes)


def arrays(scale=1.0):
    x = torch.arange(6.0, dtype=torch.bfloat16, requires_grad=True).reshape(3, 2)
    return {"x": x * scale, "z": [[1], [2], [3]], "y": ["b", "a", "b"], "groups": np.array([4, 4, 5])}


def mappings():
    return [{"x": np.ones((3, 2)) * i, "y": torch.tensor(i), "groups": "pq"[i]} for i in range(2)]


def tensors():
    return TensorDataset(torch.arange(8.0).reshape(4, 2), torch.tensor([5, 3, 5, 3]))


def lazily():
    import neighbour
    return neighbour.arrays


def fails(how="badly"):
    raise ValueError(f"it went\\n  {how}")


def says():
    raise ConfigError("the site is closed")


def ragged():
    return {"x": [[1], [2, 3]], "y": [0, 1]}


def nothing():
    return None


def leaves():
    raise SystemExit(0)


def prints():
    print("hello")
    return {"x": [[1], [2]], "y": [0, 1]}


def doubles(value=0.5):
    return Dataset("d", {"x": torch.tensor([[1.0], [value]], dtype=torch.float64)}, torch.tensor([0, 1]), 2)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(())


def given(items):
    return items


class Broken(Pairs):
    def __getitem__(self, i):
        return self.items[i] if i < 1 else 1 / 0
"""


@pytest.fixture(autouse=True)
def mine(tmp_path, monkeypatch):
    """A folder that is current, with a package; the path is as a console script has it."""
    (tmp_path / "mypkg").mkdir()
    (tmp_path / "mypkg" / "data.py").write_text(CODE)
    (tmp_path / "neighbour.py").write_text("arrays = {'x': [[1], [2]], 'y': [0, 1]}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] in ("mypkg", "neighbour")]:
        del sys.modules[name]


def opened(name, *, modality=None, **options):
    dotted = name if "." in name or ":" in name else f"mypkg.data:{name}"
    return python.open(python.Options(object=dotted, modality=modality, **options), 0)


def refused(name, **options):
    with pytest.raises(ConfigError) as caught:
        opened(name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# what is right


def test_a_dataset_is_taken_as_it_is():
    before = [*sys.path]
    dataset = opened("ready", arguments={"classes": 5})
    assert (dataset.name, dataset.classes, dataset.targets.tolist()) == ("ready", 5, [0, 1, 0])
    assert sys.path == before
    assert refused("ready", labels={0: "a"}) == (
        "data.object: 'mypkg.data:ready' gave a Dataset, which is taken as it is; leave out data.labels"
    )


def test_arrays_by_name_are_as_those_of_a_file():
    dataset = opened("mypkg.data.arrays", arguments={"scale": 2.0}, labels={"a": "ant"})
    assert dataset.inputs["x"].tolist() == [[0, 2], [4, 6], [8, 10]] and dataset.inputs["z"].tolist() == [[1], [2], [3]]
    assert dataset.labels == ("ant", "b") and dataset.targets.tolist() == [1, 0, 1]
    assert dataset.groups.tolist() == [4, 4, 5] and dataset.name == "mypkg.data.arrays"


def test_pairs_of_inputs_and_label_are_read_once():
    dataset = opened("Pairs", arguments={"samples": 3})
    assert dataset.inputs["x"].tolist() == [[0, 0], [1, 1], [2, 2]] and dataset.inputs["t"].tolist() == [
        [0],
        [0.5],
        [1],
    ]
    assert dataset.labels == ("a", "b") and dataset.targets.tolist() == [0, 1, 0]
    assert sys.modules["mypkg.data"].ALL[0].reads == [0, 1, 2]


def test_items_may_hold_their_label():
    dataset = opened("mappings", layout={"x": "channels-last"})
    assert dataset.shape("x") == (2, 3) and dataset.targets.tolist() == [0, 1] and dataset.groups.tolist() == [0, 1]
    assert opened("given", arguments={"items": [{"x": 3, "k": 1}, {"x": 4, "k": 0}]}, target="k").labels == ("0", "1")


def test_a_single_input_gets_the_name_that_is_given():
    dataset = opened("tensors", modality="pixels")
    assert np.array_equal(dataset.inputs["pixels"], torch.arange(8).reshape(4, 2)) and dataset.labels == ("3", "5")


def test_what_is_imported_late_is_found_in_the_current_folder_too():
    assert opened("lazily").inputs["x"].tolist() == [[1], [2]]


# what is wrong

OBJECT = "data.object: 'mypkg.data:{}' "
WRONG = {
    "raises": ("fails", {}, "raised ValueError: it went badly; correct it or data.arguments"),
    "other arguments": ("ready", {"arguments": {"clases": 2}}, "raised TypeError: ready() got an unexpected keyword"),
    "ragged": ("ragged", {}, "raised ValueError: setting an array element"),
    "nothing": ("nothing", {}, "gave an object of type NoneType; give a Dataset, a mapping of arrays by name"),
    "no end": ("Stream", {}, "gave an object of type Stream; give a Dataset"),
    "no items": ("Pairs", {"arguments": {"samples": 0}}, "gave no items; give at least one"),
    "no name": ("tensors", {}, "gave an object of type Tensor without a name before the label of item 0; name"),
    "no callable": ("ALL", {}, "raised TypeError: 'list' object is not callable"),
    "item raises": ("Broken", {}, "raised ZeroDivisionError: division by zero at item 1; correct it"),
}  # fmt: skip
WRONG_ITEMS = {
    "shape": (({"x": [1, 2, 3], "t": 1}, "a"), "gave 'x' of shape (3,) as item 2, but (2,) as item 0; cut or pad them"),
    "name": (({"x": [1, 2]}, "a"), "gave x, y as item 2, but t, x, y as item 0; give the same in each"),
    "triple": ((1, 2, 3), "gave an object of type tuple as item 2; give (inputs, label) or a mapping with the label"),
    "number": (3, "gave an object of type int as item 2; give"),
}


@pytest.mark.parametrize(("name", "options", "said"), WRONG.values(), ids=WRONG)
def test_what_goes_wrong_is_said_in_a_sentence(name, options, said):
    assert refused(name, **options).startswith(OBJECT.format(name) + said)


@pytest.mark.parametrize(("item", "said"), WRONG_ITEMS.values(), ids=WRONG_ITEMS)
def test_an_item_unlike_the_others_is_named(item, said):
    assert refused("Pairs", arguments={"wrong": item}).startswith(OBJECT.format("Pairs") + said)


def test_what_arrays_say_names_the_object():
    assert refused("given", arguments={"items": [{"x": 1}]}).startswith("array 'y' of mypkg.data:given is missing; ")
    said = refused("given", arguments={"items": [({"x": 1}, None)]})
    assert said.startswith("array 'y' of mypkg.data:given is object with 1 axes; give whole numbers or text")


def test_a_sentence_of_its_own_is_kept():
    assert refused("says") == "the site is closed"


def test_an_object_that_is_not_there():
    assert "the module 'mypkg.data' has no 'tensor'; did you mean 'tensors'? Known: Broken" in refused("tensor")
    for name in ("mypkg.dta:ready", "mypkg.dta.ready", "nopkg:ready"):
        place = name.replace(".ready", ":").partition(":")[0]
        assert refused(name) == (
            f"data.object: there is no module {place!r} for {name!r}, installed or in this folder; write "
            "package.module:name"
        )
    assert "there is no module '' for '.ready', installed" in refused(".ready")


def test_a_module_that_cannot_be_imported_says_why(mine):
    (mine / "mypkg" / "broken.py").write_text("import numpy as np\n\nx = np.zeros(3\n")
    assert refused("mypkg.broken:make") == (
        "the module 'mypkg.broken' cannot be imported (SyntaxError: '(' was never closed (broken.py, line 3)); "
        "correct it"
    )


def test_options_are_of_their_types():
    with pytest.raises(ValueError, match="arguments"):
        python.Options(object="mypkg.data:ready", arguments=[1])


def test_a_function_that_ends_the_program_is_named():
    assert refused("leaves").startswith("data.object: 'mypkg.data:leaves' raised SystemExit")


def test_what_a_function_prints_is_not_mixed_with_what_we_print(capsys):
    opened("prints")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "hello\n")


def test_items_bring_their_weights():
    items = [{"a": [1.0], "w": 2, "y": 0}, {"a": [4.0], "w": 0.5, "y": 1}]
    found = python.samples(items, weight="w")
    assert found.weights.tolist() == [2, 0.5] and found.modalities == ("a",)
    found = python.samples([each | {"w": k == 1} for k, each in enumerate(items)], official="w")
    assert found.official.tolist() == [False, True] and found.modalities == ("a",)


def test_an_item_with_none_lacks_the_modality():
    with pytest.warns(DataWarning, match="1 of 3 samples of data lack 'b'"):
        found = python.samples(
            [{"a": 1, "b": [2.0, 3.0], "y": 0}, {"a": 4, "b": None, "y": 1}, {"a": 7, "b": [8, 9], "y": 0}]
        )
    assert found.present["b"].tolist() == [True, False, True] and "a" not in found.present
    assert found.inputs["b"].tolist() == [[2, 3], [0, 0], [8, 9]] and found.inputs["a"].flatten().tolist() == [1, 4, 7]
    for items, said in [
        ([{"a": None, "y": 0}], "data gave None for 'a' in every item; leave it out"),
        (
            [{"a": None, "y": 0}, {"a": [1], "y": 0}, {"a": [1, 2], "y": 1}],
            "gave 'a' of shape (2,) as item 2, but (1,) as",
        ),
        ([{"a": [1], "y": 0}, {"y": 1}], "give the same in each, None where one lacks a modality"),
    ]:
        with pytest.raises(ConfigError) as caught:
            python.samples(items)
        assert said in str(caught.value)


def test_a_data_set_is_of_float32_and_finite():
    assert opened("doubles").inputs["x"].dtype == torch.float32
    said = "gave 1 values of 'x' that are NaN or infinite in float32; fill or drop them"
    for value in (float("nan"), 1e300):
        assert refused("doubles", arguments={"value": value}) == f"data.object: 'mypkg.data:doubles' {said}"
