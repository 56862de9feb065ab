"""The coordinator's ensemble and the contrasts, as functions of made-up representations."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import normalize

from parse_p2p.core.rng import seeded
from parse_p2p.methods.public_data.ensemble import (
    distance,
    info_nce,
    inter,
    intra,
    likeness,
    other,
    recall,
    retrieval,
    separability,
    teachers,
    weights,
)

P, D = 40, 16


def unit(seed, count=P, size=D):
    return normalize(torch.randn(count, size, generator=seeded("rows", seed)))


def noisy(rows, scale, seed=0):
    return normalize(rows + scale * unit(("noise", seed), *rows.shape))


@given(seed=st.integers(0, 10_000), clients=st.integers(1, 5))
def test_A7_weights_lie_on_the_simplex_in_every_row(seed, clients):
    found = weights([unit((seed, i)) for i in range(clients)], unit(seed))
    assert found.shape == (clients, P)
    assert bool((found >= 0).all())
    torch.testing.assert_close(found.sum(0), torch.ones(P))
    assert float((found.max(0).values / found.min(0).values).max()) < math.e**4  # rows and anchors are unit vectors


def test_A7_identical_uploads_weigh_alike_and_a_single_one_is_the_teacher():
    u, g = unit(1), unit(2)
    torch.testing.assert_close(weights([u] * 3, g), torch.full((3, P), 1 / 3))
    assert torch.equal(teachers({"a": {"x": u}}, {"x": g})["x"], u)
    torch.testing.assert_close(weights([u, g], None), torch.full((2, P), 0.5))


def test_A7_weights_carry_no_gradient():
    u = unit(1).requires_grad_()
    assert not teachers({"a": {"x": u}, "b": {"x": unit(3)}}, {"x": unit(2)})["x"].requires_grad


def test_A7_a_score_is_the_log_probability_of_the_right_item():
    u, g = unit(1), unit(2)
    torch.testing.assert_close(likeness(u, g), (u @ g.T).log_softmax(1).diagonal())
    many, anchor = unit(3, 2300, 4), unit(4, 2300, 4)  # in several stretches
    want = (many @ anchor.T).log_softmax(1).diagonal()
    torch.testing.assert_close(likeness(many, anchor), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_A8_a_client_near_the_coordinator_weighs_more_than_a_noisy_one(seed):
    g = unit(seed)
    near, middle, far = weights([noisy(g, 0.2, seed), noisy(g, 1.0, seed), noisy(g, 8.0, seed)], g).mean(1)
    assert near > middle > far


@pytest.mark.parametrize("seed", range(5))
def test_A8_shuffled_rows_lose_weight(seed):
    g = unit(seed)
    honest, rival = noisy(g, 0.2, seed), noisy(g, 0.3, seed + 1)
    shuffled = honest[torch.randperm(P, generator=seeded(seed))]
    assert weights([shuffled, rival], g).mean(1)[0] < weights([honest, rival], g).mean(1)[0] - 0.1


def test_A8_reordering_the_items_reorders_the_weights():
    us, g, order = [unit(1), unit(2)], unit(3), torch.randperm(P, generator=seeded(0))
    torch.testing.assert_close(weights([u[order] for u in us], g[order]), weights(us, g)[:, order])


def test_A9_a_modality_is_taught_by_its_owners_alone():
    uploads = {"a": {"x": unit(1)}, "b": {"y": unit(2)}, "c": {"x": unit(3), "y": unit(4)}}
    anchors = {"x": unit(5), "y": unit(6), "z": unit(7)}
    found = teachers(uploads, anchors)
    assert found.keys() == {"x", "y"}  # nobody owns z
    assert torch.equal(found["x"], teachers(uploads | {"b": {"y": unit(9)}}, anchors)["x"])
    assert not torch.equal(found["y"], teachers(uploads | {"b": {"y": unit(9)}}, anchors)["y"])
    assert all(bool((a.norm(dim=1) <= 1 + 1e-6).all()) for a in found.values())


def test_A9_teachers_do_not_depend_on_the_order_of_the_messages():
    uploads = {name: {"x": unit(i)} for i, name in enumerate("cab")}
    one, two = (teachers(dict(items), {"x": unit(9)})["x"] for items in (uploads.items(), sorted(uploads.items())))
    assert torch.equal(one, two)


@pytest.mark.parametrize("squared", [False, True])
def test_A10_a_teacher_equal_to_the_student_pulls_nowhere(squared):
    student = unit(1).requires_grad_()
    distance(student, student.detach().clone(), squared).backward()
    assert not student.grad.any()


def test_A10_the_two_distances_are_those_of_the_paper_and_the_code():
    one, two = unit(1), unit(2)
    assert distance(one, two).item() == pytest.approx((one - two).square().sum(1).sqrt().mean().item())
    assert distance(one, two, True).item() == pytest.approx((one - two).square().sum().item() / (P * D))


def test_the_other_modality_is_the_next_in_a_circle():
    assert [other(m, ["c", "a", "b"]) for m in "abc"] == ["b", "c", "a"]
    assert other("a", ["a"]) == "a"


def test_info_nce_falls_with_agreement_and_is_log_n_for_rows_that_are_all_alike():
    g = unit(1)
    assert info_nce(g, g, 0.1) < info_nce(g, noisy(g, 1.0), 0.1) < info_nce(g, unit(2), 0.1)
    assert info_nce(g, g[:1].expand(P, -1) * 0, 0.1).item() == pytest.approx(math.log(P), rel=1e-5)
    torch.testing.assert_close(retrieval({"a": g, "b": g, "c": g}, 0.1), info_nce(g, g, 0.1))
    one, two, three = g, noisy(g, 0.5), unit(2)
    pairs = [info_nce(one, two, 0.1), info_nce(one, three, 0.1), info_nce(two, three, 0.1)]
    torch.testing.assert_close(retrieval({"a": one, "b": two, "c": three}, 0.1), sum(pairs) / 3)


def test_the_contrasts_of_creamfl_pull_where_they_should():
    u, g, before = unit(1).requires_grad_(), unit(2), unit(3)
    [toward] = torch.autograd.grad(intra(u, g, before, 0.5), u)
    assert bool(((toward * (g - before)).sum(1) < 0).all())
    assert intra(g, g, before, 0.5) < intra(before, g, before, 0.5)
    items = torch.tensor([3, 7])
    assert inter(g[items], g, items, 0.5) < inter(g[items], g, items.flip(0), 0.5)
    want = -(u[items] @ g.T / 0.5).log_softmax(1)[[0, 1], items].mean()
    torch.testing.assert_close(inter(u[items], g, items, 0.5), want)


def test_recall_is_one_for_equal_rows_and_chance_for_unrelated_ones():
    g = unit(1)
    assert recall({"a": g, "b": g}) == 1
    assert recall({"a": unit(1, 2500, 4), "b": unit(2, 2500, 4)}) < 0.01
    assert recall({"a": g, "b": g, "c": unit(2)}) == pytest.approx(1 / 3, abs=0.1)


def test_recall_is_the_mean_of_both_ways():
    a, b = torch.eye(3), torch.tensor([[1.0, 0, 0], [0.9, 0.1, 0], [0, 0, 1]])
    # each row of b is nearest to rows 0, 0 and 2 of a; each of a to rows 0, 1 and 2 of b
    assert recall({"a": a, "b": b}) == recall({"a": b, "b": a}) == pytest.approx((2 / 3 + 1) / 2)


def test_recall_counts_every_thousand_items():
    first, second = unit(1, 1000), unit(2, 500)
    found = recall({"a": torch.cat([first, second]), "b": torch.cat([first, second.roll(1, 0)])})
    assert found == pytest.approx(2 / 3)


def test_A13_a_linear_probe_tells_moved_rows_apart_and_equal_ones_not():
    g, rng = unit(1, 400), seeded(0)
    assert separability(g, normalize(g + 2), rng) > 0.95
    assert separability(g, g, rng) == pytest.approx(0.5, abs=0.02)
    assert 0.3 < separability(unit(2, 400), unit(3, 400), rng) < 0.7
