"""Losses of a modality, of synergy as what is left over, and of wrong classes: by loops, and gradients by hand."""

import math

import pytest
import torch
from plans import BOTH, inputs, network
from torch.nn.functional import one_hot

from parse_p2p.core.types import Kind
from parse_p2p.data.base import Batch
from parse_p2p.data.tasks.regression import Regression
from parse_p2p.learning import losses
from parse_p2p.learning.objective import SliceLossOptions, slice_terms
from parse_p2p.models.base import Outputs

TARGETS = torch.tensor([0, 2, 1, 2, 0])
WEIGHTS = torch.tensor([1.0, 0.0, 3.0, 0.5, 0.5])
NAMES = ("redundant", "unique.a", "unique.b", "synergistic")


def said(names=NAMES, seed=0, classes=3):
    """Leaves (5, classes) by the names of branches."""
    draw = torch.Generator().manual_seed(seed)
    return {name: torch.randn(5, classes, generator=draw).requires_grad_() for name in names}


def batch(weights=None, **more):
    return Batch({}, TARGETS, weights=weights, **more)


def entropy(logits, weights=None):
    """Mean of −log softmax at the target, each by its weight."""
    rows, weights = logits.tolist(), [1.0] * 5 if weights is None else weights.tolist()
    each = [math.log(sum(map(math.exp, row))) - row[t] for row, t in zip(rows, TARGETS.tolist(), strict=True)]
    return sum(w * e for w, e in zip(weights, each, strict=True)) / 5


def total(term, branches, views=None, weights=None):
    return term(None, batch(weights), Outputs(branches, {}, branches if views is None else views))


# of a modality


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_of_each_modality_the_redundant_and_unique_head_learn_together(weights):
    views = said(("redundant.a", "redundant.b", "unique.a", "unique.b", "synergistic"))
    wanted = sum(entropy(views[f"redundant.{m}"] + views[f"unique.{m}"], weights) for m in "ab")
    assert total(losses.modality(0.5), {}, views, weights).item() == pytest.approx(wanted / 2, rel=1e-5)
    assert total(losses.unimodal, {}, views, weights).item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("names", [("redundant.a", "unique.a"), ("unimodal.a", "unimodal.b"), ("unique.a", "unique.b")])
def test_what_has_a_loss_already_gets_no_second_one(names):
    assert total(losses.modality(1.0), {}, said(names)).item() == 0


def test_of_numbers_a_modality_says_the_mean_of_its_heads():
    views, targets = said(("redundant.a", "redundant.b", "unique.a", "unique.b"), classes=2), torch.ones(5, 2)
    given = Batch({}, targets, task=Regression())
    wanted = sum(((views[f"redundant.{m}"] + views[f"unique.{m}"]) / 2 - 1).square().mean() for m in "ab")
    torch.testing.assert_close(losses.modality(1.0)(None, given, Outputs({}, {}, views)), wanted)


# synergy as what the others leave over


def test_the_others_learn_as_if_there_were_no_synergy_and_it_on_top_of_them():
    branches = said()
    others = sum(branches[name] for name in NAMES[:3])
    found = total(losses.remainder, branches)
    assert found.item() == pytest.approx(entropy(others) + entropy(others + branches["synergistic"]), rel=1e-5)
    found.backward()
    true = one_hot(TARGETS, 3)
    for name in NAMES[:3]:
        torch.testing.assert_close(branches[name].grad, (others.softmax(1) - true) / 5)
    alone = (others + branches["synergistic"]).softmax(1)
    torch.testing.assert_close(branches["synergistic"].grad, (alone - true) / 5)


@pytest.mark.parametrize(
    ("term", "names"),
    [
        (losses.remainder, NAMES[:2]),
        (losses.remainder, NAMES[3:]),
        (losses.apart, NAMES[3:]),
        (losses.apart, ["joint"]),
    ],
    ids=["no synergy", "synergy alone", "synergy alone, apart", "a fusion of all"],
)
def test_where_nothing_is_left_over_it_is_the_plain_loss(term, names):
    branches = said(names)
    views = {**branches, **said(("unimodal.a", "unimodal.b"), seed=1)}
    assert torch.equal(total(term, branches, views), total(losses.task, branches))


def test_a_network_that_gives_no_views_learns_by_the_sum_of_its_branches():
    branches = said(("unique.a", "unique.b"))
    assert torch.equal(total(losses.apart, branches, {}), total(losses.task, branches, {}))


@pytest.mark.parametrize("kinds", [("redundant", "unique"), ("unique",), ("redundant",), ("unimodal",)], ids="+".join)
def test_apart_modalities_learn_alone_where_there_is_no_synergy_too(kinds):
    views = said([f"{kind}.{m}" for kind in kinds for m in "ab"])
    branches = {name: x for name, x in views.items() if not name.startswith("redundant")}
    if "redundant" in kinds:
        branches["redundant"] = (views["redundant.a"] + views["redundant.b"]) / 2
    alone = {m: sum(views[f"{kind}.{m}"] for kind in kinds) for m in "ab"}
    found = total(losses.apart, branches, views, WEIGHTS)
    assert found.item() == pytest.approx(sum(entropy(x, WEIGHTS) for x in alone.values()), rel=1e-5)
    found.backward()
    for name, x in views.items():
        gap = alone[name.partition(".")[2]].softmax(1) - one_hot(TARGETS, 3)
        torch.testing.assert_close(x.grad, gap * WEIGHTS[:, None] / 5)


def test_apart_each_modality_learns_by_what_it_says_alone_and_synergy_on_top_of_all():
    views = said(("redundant.a", "redundant.b", "unique.a", "unique.b", "synergistic"))
    redundant = (views["redundant.a"] + views["redundant.b"]) / 2
    branches = {"redundant": redundant, **{name: views[name] for name in NAMES[1:]}}
    alone = {m: views[f"redundant.{m}"] + views[f"unique.{m}"] for m in "ab"}
    whole = sum(branches.values())
    found = total(losses.apart, branches, views)
    assert found.item() == pytest.approx(sum(map(entropy, alone.values())) + entropy(whole), rel=1e-5)
    found.backward()
    true = one_hot(TARGETS, 3)
    for m, logits in alone.items():
        for kind in ("redundant", "unique"):
            torch.testing.assert_close(views[f"{kind}.{m}"].grad, (logits.softmax(1) - true) / 5)
    torch.testing.assert_close(views["synergistic"].grad, (whole.softmax(1) - true) / 5)


def test_apart_an_agent_with_two_modalities_moves_a_shared_slice_as_one_with_one_does():
    both, given = network(), Batch(inputs(BOTH, 5), TARGETS)
    named = dict(both.named_parameters())
    rows = [named[f"rows.m·audio.m·{kind}.{which}"] for kind in ("redundant", "unique") for which in ("weight", "bias")]
    found = torch.autograd.grad(losses.apart(both, given, both(given.inputs)), rows)
    alone = both({"audio": given.inputs["audio"]})
    wanted = torch.autograd.grad(losses.task(both, given, alone), rows)
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_the_synergistic_head_has_no_loss_of_its_own_unless_it_is_the_only_one():
    views = said()
    wanted = sum(entropy(views[name]) for name in NAMES[:3])
    assert total(losses.branches(1.0, synergy=False), {}, views).item() == pytest.approx(wanted, rel=1e-5)
    alone = said(NAMES[3:])
    assert total(losses.branches(1.0, synergy=False), {}, alone).item() == pytest.approx(entropy(alone["synergistic"]))


def test_rows_and_head_of_synergy_alone_feel_the_part_on_top():
    model = network()
    given = Batch(inputs(BOTH, 5), TARGETS)
    whole = losses.remainder(model, given, model(given.inputs))
    others = losses.task(model, given, without(model(given.inputs)))
    model.zero_grad()
    (whole - others).backward()
    for name, p in model.named_parameters():
        felt = bool(p.grad is not None and p.grad.abs().max() > 1e-7)
        assert felt == ("synergistic" in name or "trunks" in name), name


def without(outputs):
    return Outputs({name: x for name, x in outputs.branches.items() if name != Kind.SYNERGISTIC})


# wrong classes


def wrong(row, target):
    """The softmax over the classes that are not the target."""
    powers = [math.exp(x) for c, x in enumerate(row) if c != target]
    return [p / sum(powers) for p in powers]


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_the_others_teach_what_they_say_of_wrong_classes(weights):
    branches = said(classes=5)
    teacher, pupil = sum(branches[name] for name in NAMES[:3]).tolist(), branches["synergistic"].tolist()
    counts = [1.0] * 5 if weights is None else weights.tolist()
    wanted = 0.0
    for row, other, target, weight in zip(teacher, pupil, TARGETS.tolist(), counts, strict=True):
        pairs = zip(wrong(row, target), wrong(other, target), strict=True)
        wanted += weight * sum(p * math.log(p / q) for p, q in pairs) / 5
    found = total(losses.teach(2.0), branches, weights=weights)
    assert found.item() == pytest.approx(2 * wanted, rel=1e-4)
    found.backward()
    assert all(branches[name].grad is None for name in NAMES[:3]), "the teachers are held fixed"
    assert branches["synergistic"].grad.any()
    assert not branches["synergistic"].grad[torch.arange(5), TARGETS].any(), "the true class is not taught"


def test_nothing_is_taught_where_there_is_one_wrong_class_or_no_teacher():
    binary = {name: x[:, :2] for name, x in said().items()}
    given = Batch({}, TARGETS.clamp(max=1))
    assert losses.teach(1.0)(None, given, Outputs(binary)).item() == 0
    for names in (NAMES[:2], NAMES[3:]):
        assert total(losses.teach(1.0), said(names)).item() == 0


# all of them


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"synergy": "joint"}, lambda whole, others, own, s: whole + own + s),
        ({"synergy": "joint", "branch": 0.0}, lambda whole, others, own, s: whole),
        ({"synergy": "remainder"}, lambda whole, others, own, s: others + whole + own),
        ({"synergy": "remainder", "branch": 0.5}, lambda whole, others, own, s: others + whole + own / 2),
    ],
    ids=["joint", "no branch", "remainder", "less branch"],
)
def test_the_objective_adds_up(options, wanted):
    branches = said()
    others = sum(branches[name] for name in NAMES[:3])
    parts = (entropy(others + branches["synergistic"]), entropy(others), sum(entropy(branches[n]) for n in NAMES[:3]),
             entropy(branches["synergistic"]))  # fmt: skip
    terms = slice_terms(SliceLossOptions(orthogonal=0, **options))
    assert sum(total(term, branches) for term in terms).item() == pytest.approx(wanted(*parts), rel=1e-5)


def test_by_default_modalities_are_apart():
    views = said(("redundant.a", "redundant.b", "unique.a", "unique.b", "synergistic"))
    redundant = (views["redundant.a"] + views["redundant.b"]) / 2
    branches = {"redundant": redundant, **{name: views[name] for name in NAMES[1:]}}
    wanted = entropy(sum(branches.values())) + sum(entropy(views[f"unique.{m}"]) for m in "ab")
    for m in "ab":
        wanted += entropy(views[f"redundant.{m}"] + views[f"unique.{m}"]) + entropy(views[f"redundant.{m}"]) / 2
    found = sum(total(term, branches, views) for term in slice_terms(SliceLossOptions(orthogonal=0)))
    assert found.item() == pytest.approx(wanted, rel=1e-5)


def test_who_is_taught_has_no_loss_of_its_own():
    branches = said()
    plain, taught = (slice_terms(SliceLossOptions(orthogonal=0, synergy="joint", teach=teach)) for teach in (0.0, 1.0))
    found = sum(total(term, branches) for term in taught) - sum(total(term, branches) for term in plain)
    taught_loss = total(losses.teach(1.0), branches)
    assert found.item() == pytest.approx(taught_loss.item() - entropy(branches["synergistic"]), rel=1e-4)
