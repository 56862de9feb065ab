"""What each task makes of outputs and targets, by hand: its loss, its score, what it says, and what it finds odd."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from parse_p2p.core.errors import ConfigError
from parse_p2p.data.base import Dataset, split, split_groups
from parse_p2p.data.findings import findings, summary
from parse_p2p.data.partition import PARTITIONS
from parse_p2p.data.schema import TargetScale
from parse_p2p.data.tasks.classification import Classification
from parse_p2p.data.tasks.multi_label import MultiLabel
from parse_p2p.data.tasks.regression import Regression
from parse_p2p.learning.losses import nats
from parse_p2p.models.base import Outputs

LABELS = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
NUMBERS = torch.tensor([[1.0, 7.0], [2.0, 7.0], [3.0, 7.0], [6.0, 7.0]])
EVERY = torch.arange(4)


def made(targets, task, **facts):
    x = torch.arange(len(targets)).float()[:, None]
    return Dataset("d", {"audio": x}, targets, targets.shape[1], task=task, **facts)


def test_the_loss_of_labels_is_the_mean_binary_cross_entropy_in_nats():
    outputs = torch.tensor([[0.0, math.log(3), 2.0]])
    likely = 1 / (1 + math.exp(-2))
    wanted = -(math.log(0.5) + math.log(1 / 4) + math.log(1 - likely)) / 3
    assert MultiLabel().loss(outputs, LABELS[:1]).item() == pytest.approx(wanted)
    both = MultiLabel().loss(outputs.expand(4, 3), LABELS, "none")
    assert both[0].item() == pytest.approx(wanted) and both.sum() == MultiLabel().loss(
        outputs.expand(4, 3), LABELS, "sum"
    )


def test_the_loss_of_numbers_is_the_mean_squared_error_of_what_they_are_scaled_to():
    outputs = torch.tensor([[0.5, 0.0]])
    assert Regression().loss(outputs, NUMBERS[:1]).item() == (0.25 + 49) / 2
    scaled = Regression.of(("x", "y"), {"y": TargetScale(mean=5.0, deviation=4.0)})
    assert scaled.loss(outputs, NUMBERS[:1]).item() == (0.25 + 0.25) / 2
    assert scaled.said(outputs).tolist() == [[0.5, 5.0]]  # in their own units


def test_the_loss_of_classes_is_cross_entropy_to_the_last_bit():
    logits, targets = torch.randn(50, 7), torch.randint(7, (50,))
    for how in ("mean", "sum", "none"):
        assert torch.equal(Classification().loss(logits, targets, how), cross_entropy(logits, targets, reduction=how))


def test_samples_weigh_in_every_task():
    weights = torch.tensor([0.0, 2.0, 0.0, 2.0])
    for targets, task in ((LABELS, MultiLabel()), (NUMBERS, Regression())):
        outputs = torch.randn(targets.shape)
        batch = made(targets, task, weights=weights).batch(EVERY)
        wanted = task.loss(outputs[[1, 3]], targets[[1, 3]])
        assert nats(outputs, batch).item() == pytest.approx(wanted.item(), rel=1e-6)


def test_macro_f1_is_of_the_labels_that_there_are():
    # the first: right once, missed once, said wrongly once; the second: twice right; the third is nowhere
    outputs = torch.tensor([[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0], [1.0, 1.0, -1.0], [-1.0, -1.0, -1.0]])
    data = made(LABELS, MultiLabel())
    assert data.task.scored(data, outputs, EVERY) == pytest.approx((0.5 + 1.0) / 2)
    assert data.task.scored(data, outputs, EVERY[3:]) == 1.0  # none there and none said
    assert data.task.scored(data, -outputs, EVERY[3:]) == 0.0
    found = data.task.details(data, outputs, ("a", "b", "c"))
    assert found["a"] == {"rows": 2, "f1": 0.5, "accuracy": 0.5}
    assert found["c"] == {"rows": 0, "f1": 0.0, "accuracy": 0.75}


def test_r2_is_of_the_outputs_that_vary_and_in_their_own_units():
    outputs = NUMBERS + torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 2.0], [-1.0, 0.0]])
    data = made(NUMBERS, Regression())
    assert data.task.scored(data, outputs, EVERY) == pytest.approx(1 - 4 / 14)  # of mean 3: 4 + 1 + 0 + 9
    assert data.task.scored(data, NUMBERS, EVERY[:1]) == 1.0 and data.task.scored(data, outputs, EVERY[:1]) == 0.0
    found = data.task.details(data, outputs, ("x", "y"))
    assert found["x"] == pytest.approx({"rows": 4, "r2": 1 - 4 / 14, "rmse": 1.0, "mae": 1.0})
    assert found["y"] == {"rows": 4, "rmse": 1.0, "mae": 0.5}
    scaled = made(NUMBERS, Regression.of(("x", "y"), {"x": TargetScale(mean=3.0, deviation=2.0)}))
    assert scaled.task.scored(
        scaled, (outputs - torch.tensor([3.0, 0.0])) / torch.tensor([2.0, 1.0]), EVERY
    ) == pytest.approx(10 / 14)


def test_branches_are_added_up_but_of_numbers_each_is_an_estimate():
    outputs = Outputs({"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([[3.0, 6.0]])})
    assert outputs.logits(task=Regression()).tolist() == [[2.0, 4.0]]
    assert outputs.logits(["b"], Regression()).tolist() == [[3.0, 6.0]]
    assert outputs.logits(task=MultiLabel()).tolist() == outputs.logits().tolist() == [[4.0, 8.0]]


def test_what_is_answered():
    likely = torch.tensor([[0.9, 0.5, 0.6]])
    assert MultiLabel().answer(likely, ("a", "b", "c"))["labels"] == [["a", "c"]]
    assert Regression().answer(torch.tensor([[1.5]]), ("x",)) == {"values": [[1.5]], "outputs": ["x"]}
    with pytest.raises(ConfigError, match="says numbers and no labels"):
        Regression().named(likely, ("a", "b", "c"))


@pytest.mark.parametrize(("targets", "task", "said"), [
    (LABELS * 2, MultiLabel(), "targets other than 0 and 1"),
    (LABELS[:, 0], MultiLabel(), r"targets torch.float32 \[4\], which are float32 \(N, 3\)"),
    (LABELS.long(), MultiLabel(), "targets torch.int64"),
    (torch.full((4, 3), math.nan), Regression(), "NaN or infinite"),
    (LABELS, Classification(), r"which are int64 \(N,\)"),
])  # fmt: skip
def test_targets_that_are_not_what_the_task_says_are_refused(targets, task, said):
    with pytest.raises(ConfigError, match=f"data set 'd' has .*{said}"):
        Dataset("d", {"audio": torch.zeros(4, 1)}, targets, 3, task=task)


def test_splits_are_random_where_there_are_no_strata_and_groups_stay_whole():
    data = made(torch.rand(40, 2), Regression(), groups=torch.arange(40) // 4)
    train, test = split(data, 0.25, 1)
    assert len(test) == 10 and sorted(torch.cat([train.inputs["audio"], test.inputs["audio"]])[:, 0].tolist()) == list(
        range(40)
    )
    assert torch.equal(split(data, 0.25, 1)[1].inputs["audio"], test.inputs["audio"])
    assert not torch.equal(split(data, 0.25, 2)[1].inputs["audio"], test.inputs["audio"])
    train, test = split_groups(data, 0.2, 0)
    assert len(test) == 8 and set(test.groups.tolist()).isdisjoint(train.groups.tolist())


def test_what_is_dealt_by_class_is_not_dealt_by_number():
    import numpy as np

    data = made(torch.rand(40, 2), Regression(), groups=torch.arange(40) // 4)
    with pytest.raises(
        ConfigError,
        match="dirichlet partition deals samples by their class, and data set 'd' is for regression; use iid",
    ):
        PARTITIONS["dirichlet"](data, 2, np.random.default_rng(0), 0.5)
    for kind in ("iid", "group"):
        rows = PARTITIONS[kind](data, 2, np.random.default_rng(0), 0.5)
        assert sorted([*rows[0], *rows[1]]) == list(range(40))


def test_a_look_at_labels_and_numbers():
    data = made(LABELS, MultiLabel(), labels=("a", "b", "c"))
    assert summary(data).targets == [("a", "2", "50.0%", "b (1)"), ("b", "2", "50.0%", "a (1)"), ("c", "0", "0.0%", "")]
    assert "d: 1 label is the same in all rows ('c')" in list(findings({"d": data}))
    numbers = made(NUMBERS.repeat(20, 1) * torch.tensor([10.0, 1.0]), Regression(), labels=("x", "y"))
    assert summary(numbers).targets == [("x", "10", "60", "30", "18.71"), ("y", "7", "7", "7", "0")]
    said = list(findings({"d": numbers}))
    assert "d: 1 output is the same in all rows ('y')" in said
    assert any("data_schema.targets: {x: {mean: 30, deviation: 18.71}}" in each for each in said)


def test_scores_beside_a_large_offset_are_as_exact_as_without():
    targets = torch.tensor([[-0.5], [-0.25], [0.25], [0.5]])
    outputs = targets + torch.tensor([[0.01], [-0.01], [0.01], [-0.01]])
    scaled = Regression.of(("x",), {"x": TargetScale(mean=1e6)})
    near, far = made(targets, Regression()), made(targets + 1e6, scaled)
    wanted = 1 - 4 * 0.01**2 / float(targets.square().sum())
    assert near.task.scored(near, outputs, EVERY) == pytest.approx(wanted, rel=1e-6)
    assert far.task.scored(far, outputs, EVERY) == pytest.approx(wanted, rel=1e-6)
    assert far.task.details(far, outputs, ("x",))["x"]["rmse"] == pytest.approx(0.01, rel=1e-5)
    assert far.task.scored(far, outputs + 1, EVERY[:1]) == 0 and far.task.scored(far, targets, EVERY[:1]) == 1
