"""A task sees some samples of a data set, each with the label that its class has there."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from parse_p2p.core.errors import ConfigError
from parse_p2p.data.base import Dataset
from parse_p2p.data.label_spaces import TaskOptions, refuse_unknown, seen_as
from parse_p2p.data.schema import schema_of

CLASSES = 6


def dataset(targets):
    rows = torch.arange(len(targets))
    return Dataset("d", {"a": rows[:, None].float()}, torch.tensor(targets), CLASSES, rows % 3, lambda seen: 1.0)


@st.composite
def tasks(draw):
    chosen = draw(st.permutations(range(CLASSES)))[: draw(st.integers(2, CLASSES))]
    cut = draw(st.integers(1, len(chosen) - 1))
    return TaskOptions(classes=(chosen[:cut], chosen[cut:]))


@given(tasks(), st.lists(st.integers(0, CLASSES - 1), min_size=1, max_size=20))
def test_every_sample_of_a_named_class_is_there_once_and_in_order_with_its_new_label(task, targets):
    found = seen_as(task, dataset(targets))
    want = [(row, k) for row, c in enumerate(targets) for k, group in enumerate(task.classes) if c in group]
    assert list(zip(found.inputs["a"].flatten().int().tolist(), found.targets.tolist(), strict=True)) == want
    assert found.groups.tolist() == [row % 3 for row, _ in want]
    assert found.classes == 2 and found.targets.dtype == torch.int64
    assert found.ceiling is None, "the closed form is that of all classes"


def test_a_task_of_every_class_by_itself_is_the_data_set():
    whole = dataset([3, 1, 5, 0, 2, 4, 1])
    found = seen_as(TaskOptions(classes=tuple((c,) for c in range(CLASSES))), whole)
    assert torch.equal(found.targets, whole.targets) and torch.equal(found.inputs["a"], whole.inputs["a"])


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ([], "needs two lists of classes or more"),
        ([[0, 1]], "needs two lists of classes or more"),
        ([[0], []], "none of them empty"),
        ([[0, 1], [2, 1]], "the class 1 stands here twice"),
        ([[0, 0], [1]], "the class 0 stands here twice"),
    ],
)
def test_what_is_no_label_space_is_refused(classes, said):
    with pytest.raises(ValidationError, match=said):
        TaskOptions(classes=classes)


@pytest.mark.parametrize("odd", [-1, 6])
def test_a_class_that_the_data_lack_is_named(odd):
    with pytest.raises(ConfigError, match=f"^tasks.t.classes: the data have no class {odd}; their classes are 0 to 5$"):
        refuse_unknown("t", TaskOptions(classes=((0,), (odd,))), schema_of(dataset([0]), "all"))


def named(*names):
    return Dataset("d", {"a": torch.zeros(4, 1)}, torch.tensor([0, 1, 2, 1]), 3, labels=names)


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (("run", "sit", "walk"), [["walk"], ["run", "sit"]]),
        (("run", "sit", "walk"), [[2], ["run", 1]]),  # places where no class is called by a number
        (("1", "5", "2"), [[2], [1, "5"]]),  # and else names
        (("false", "no", "true"), [[True], [False, "no"]]),
    ],
)
def test_a_class_is_called_by_its_name_or_its_number(names, classes):
    task = TaskOptions.model_validate({"classes": classes})
    refuse_unknown("t", task, schema_of(named(*names), "all"))
    found = seen_as(task, named(*names))
    assert found.targets.tolist() == [1, 1, 0, 1]
    assert found.labels == (names[2], f"{names[0]}+{names[1]}")


@pytest.mark.parametrize(
    ("names", "classes", "said"),
    [
        (("run", "sit", "walk"), [["walk"], ["runn"]], "the data have no class 'runn': did you mean 'run'"),
        (("run", "sit", "walk"), [["walk"], [3]], "the data have no class 3; their classes are 0 to 2"),
        (("1", "5", "2"), [[1], [0]], "the data have no class 0: Known: 1, 2, 5"),
        (("run", "sit", "walk"), [["walk"], [2]], "the class 'walk' stands there twice; name it once"),
    ],
)
def test_a_class_that_is_none_or_two_is_refused(names, classes, said):
    with pytest.raises(ConfigError) as caught:
        refuse_unknown("t", TaskOptions.model_validate({"classes": classes}), schema_of(named(*names), "all"))
    assert str(caught.value).startswith(f"tasks.t.classes: {said}")
