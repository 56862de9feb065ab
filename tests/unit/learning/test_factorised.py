"""Bounds of what slices share: closed forms, a batch by hand, and what their gradients move."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import BOTH, inputs, learner, network
from pydantic import ValidationError

from parse_p2p.core.types import Modality
from parse_p2p.data.base import Batch
from parse_p2p.learning.factorised import critic, factorised, lower_bound, upper_bound
from parse_p2p.learning.objective import SliceLossOptions, slice_terms

TARGETS = torch.tensor([0, 1, 2, 3, 1, 0])


def softmax(row):
    return [math.exp(x) / sum(map(math.exp, row)) for x in row]


def gaussians(correlation, size=1500):
    """The scores of the critic that is optimal for two normal numbers of this correlation, of a batch of them."""
    one, rest = torch.randn(2, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    other, left = correlation * one + math.sqrt(1 - correlation**2) * rest, 1 - correlation**2
    return (other[None].square() - (other[None] - correlation * one[:, None]).square() / left - math.log(left)) / 2


@pytest.mark.parametrize("correlation", [0.3, 0.6, 0.8])
def test_the_bounds_are_on_both_sides_of_what_correlated_gaussians_share(correlation):
    scores, shared = gaussians(correlation), -math.log(1 - correlation**2) / 2
    # the upper one is the divergence both ways, of which the first is what they share
    assert upper_bound(scores).item() == pytest.approx(correlation**2 / (1 - correlation**2), rel=0.15)
    assert lower_bound(scores).item() == pytest.approx(shared, abs=0.04)
    assert lower_bound(scores) < shared < upper_bound(scores)


def test_what_is_independent_shares_nothing_by_either_bound():
    assert abs(lower_bound(gaussians(0.0))) < 1e-9
    assert abs(upper_bound(gaussians(0.0))) < 1e-9


def test_bounds_by_hand():
    scores = torch.tensor([[2.0, 0.0, 1.0], [0.5, 1.0, 0.0], [0.0, -1.0, 3.0]], dtype=torch.float64)
    across = sum(math.log(sum(math.exp(x) for x in row)) for row in scores.tolist())
    down = sum(math.log(sum(math.exp(x) for x in row)) for row in scores.T.tolist())
    assert lower_bound(scores).item() == pytest.approx(math.log(3) + 6 / 3 - (across + down) / 6)
    assert upper_bound(scores).item() == pytest.approx(6 / 3 - 0.5 / 6)


def test_one_sample_says_nothing():
    assert lower_bound(torch.tensor([[3.0]])) == 0
    assert upper_bound(torch.tensor([[3.0]])) == 0


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 6), st.integers(0, 1000), st.floats(0.1, 30))
def test_the_lower_bound_ends_at_the_logarithm_of_the_batch_and_an_offset_changes_neither(size, seed, scale):
    scores = scale * torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert lower_bound(scores) <= math.log(size) + 1e-9
    for bound in (lower_bound, upper_bound):
        assert bound(scores + 3).item() == pytest.approx(bound(scores).item(), abs=1e-9)
    sharp = lower_bound(1000 * torch.eye(size, dtype=torch.float64))
    assert sharp.item() == pytest.approx(math.log(size))


# the critic


def test_the_critic_by_hand():
    one, other = [[1.0, 0.0], [0.0, 2.0], [0.5, -1.0]], [[0.0, 0.0], [3.0, 1.0], [-1.0, 1.0]]
    p, q = [softmax(row) for row in one], [softmax(row) for row in other]
    frequent = [sum(row[y] for row in p + q) / 6 for y in range(2)]
    wanted = [[math.log(sum(a[y] * b[y] / frequent[y] for y in range(2))) for b in q] for a in p]
    torch.testing.assert_close(critic(torch.tensor(one), torch.tensor(other)), torch.tensor(wanted))


def test_it_is_the_optimal_one_where_slices_share_the_class_alone():
    # two readings of a fair bit, wrong with probability 1/10 and 1/5: 100 pairs as frequent as they are
    wrong = (0.1, 0.2)
    together = 0.9 * 0.8 + 0.1 * 0.2  # both say the same
    counts = {(0, 0): 37, (1, 1): 37, (0, 1): 13, (1, 0): 13}
    assert counts[0, 0] == round(100 * together / 2)
    rows = [pair for pair, count in counts.items() for _ in range(count)]
    sides = [
        torch.tensor([[1 - e, e] if row[k] == 0 else [e, 1 - e] for row in rows], dtype=torch.float64).log()
        for k, e in enumerate(wrong)
    ]
    scores = critic(*sides)
    ratio = {True: math.log(2 * together), False: math.log(2 * (1 - together))}
    wanted = torch.tensor([[ratio[a == b] for _, b in rows] for a, _ in rows], dtype=torch.float64)
    torch.testing.assert_close(scores, wanted)
    shared = together * ratio[True] + (1 - together) * ratio[False]
    both_ways = shared - (ratio[True] + ratio[False]) / 2
    assert lower_bound(scores).item() == pytest.approx(shared, rel=1e-6)
    assert upper_bound(scores).item() == pytest.approx(both_ways * 100 / 99, rel=1e-6)  # of pairs of two samples


def test_it_bears_classes_of_which_nobody_speaks():
    logits = torch.tensor([[80.0, 0.0, -200.0], [-80.0, 0.0, -200.0]], requires_grad=True)
    scores = critic(logits, logits.flip(0))
    scores.sum().backward()
    assert scores.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


# the term


def case(**model):
    made = network(**model)
    batch = Batch(inputs(BOTH, len(TARGETS)), TARGETS)
    return made, batch, made(batch.inputs)


def parts(outputs, prior=0.0):
    """What unique slices share at most, and redundant ones at least."""
    said = {name: logits + prior for name, logits in outputs.views.items()}
    return (
        upper_bound(critic(said["unique.audio"], said["unique.motion"])),
        lower_bound(critic(said["redundant.audio"], said["redundant.motion"])),
    )


def test_it_is_the_upper_bound_of_unique_slices_less_the_lower_one_of_redundant_ones():
    model, batch, outputs = case()
    most, least = parts(outputs)
    torch.testing.assert_close(factorised(0.5)(model, batch, outputs), 0.5 * (most - least))


def test_heads_say_what_is_true_of_an_agents_own_classes():
    model, batch, outputs = case()
    prior = torch.tensor([1.0, 0.0, -1.0, 2.0])
    most, least = parts(outputs, prior)
    found = factorised(1.0)(model, Batch(batch.inputs, TARGETS, prior=prior), outputs)
    torch.testing.assert_close(found, most - least)


def test_unique_slices_learn_to_share_less_while_their_heads_stay():
    model, batch, outputs = case()
    most, least = parts(outputs)
    of = {name: p for name, p in model.named_parameters() if not name.startswith("trunks")}
    wanted_most, wanted_least = (
        dict(zip(of, torch.autograd.grad(bound, list(of.values()), retain_graph=True, allow_unused=True), strict=True))
        for bound in (most, least)
    )
    factorised(1.0)(model, batch, outputs).backward()
    for name, parameter in of.items():
        if "heads" in name and "unique" in name:
            assert parameter.grad is None, name
        elif "unique" in name:
            torch.testing.assert_close(parameter.grad, wanted_most[name])
        elif "redundant" in name:  # rows and head: a critic may learn by a lower bound
            torch.testing.assert_close(parameter.grad, -wanted_least[name])
        else:
            assert parameter.grad is None, name


@pytest.mark.parametrize(("split", "present"), [((1, 0, 1), "redundant"), ((0, 1, 1), "unique"), ((0, 0, 1), "")])
def test_slices_that_are_not_there_have_no_part(split, present):
    model, batch, outputs = case(split=split)
    found = factorised(1.0)(model, batch, outputs).item()
    said = outputs.views
    wanted = {
        "redundant": lambda: -lower_bound(critic(said["redundant.audio"], said["redundant.motion"])).item(),
        "unique": lambda: upper_bound(critic(said["unique.audio"], said["unique.motion"])).item(),
        "": lambda: 0.0,
    }
    assert found == pytest.approx(wanted[present]())


def test_of_several_modalities_every_pair_counts_alike():
    shapes = BOTH | {Modality("touch"): (16,)}
    model = network(shapes=shapes)
    batch = Batch(inputs(shapes, len(TARGETS)), TARGETS)
    outputs = model(batch.inputs)
    pairs = [("audio", "motion"), ("audio", "touch"), ("motion", "touch")]
    each = [
        upper_bound(critic(outputs.views[f"unique.{a}"], outputs.views[f"unique.{b}"]))
        - lower_bound(critic(outputs.views[f"redundant.{a}"], outputs.views[f"redundant.{b}"]))
        for a, b in pairs
    ]
    torch.testing.assert_close(factorised(1.0)(model, batch, outputs), sum(each) / 3)


def test_one_modality_or_another_network_has_nothing_to_share():
    alone = {m: shape for m, shape in BOTH.items() if m == "audio"}
    for kind, shapes in (("fission", alone), ("monolithic", BOTH)):
        model = network(kind, shapes)
        batch = Batch(inputs(shapes, len(TARGETS)), TARGETS)
        assert factorised(1.0)(model, batch, model(batch.inputs)).item() == 0


def test_without_gradients_it_has_its_value():
    model, batch, outputs = case()
    with torch.no_grad():
        found = factorised(1.0)(model, batch, model(batch.inputs))
    torch.testing.assert_close(found, factorised(1.0)(model, batch, outputs).detach())


# as an option


def test_it_is_off_unless_asked_for_and_then_stands_beside_the_others():
    model, batch, outputs = case()

    def loss(**options):
        return sum(term(model, batch, outputs) for term in slice_terms(SliceLossOptions(**options)))

    assert len(slice_terms(SliceLossOptions())) == len(slice_terms(SliceLossOptions(factor=0.3))) - 1
    torch.testing.assert_close(loss(factor=0.3) - loss(), factorised(0.3)(model, batch, outputs))


def test_without_losses_of_heads_it_is_refused():
    with pytest.raises(ValidationError, match=r"factor\n.*give branch above 0"):
        SliceLossOptions(factor=0.1, branch=0.0)


def test_unique_slices_share_less_after_training_with_it_and_are_as_useful():
    def trained(factor):
        agent = learner(data={"samples": 480}, encoder={"norm": "layer"}, train={"lr": 0.1})
        for round in range(10):
            agent.begin(round, 10)
            agent.train(*slice_terms(SliceLossOptions(factor=factor)))
        return parts(agent.outputs(agent.test))[0].item(), agent.evaluate()["accuracy"]

    (most, score), (less, kept) = trained(0.0), trained(0.5)
    assert less < 0.8 * most
    assert kept > 0.9 * score
