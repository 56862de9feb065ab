"""Each loss term against the formula written out in loops, and where it has nothing to say."""

import math
from itertools import combinations

import pytest
import torch
from plans import BOTH, inputs, network
from torch.nn.functional import cross_entropy

from parse_p2p.core.types import Kind, Modality
from parse_p2p.data.base import Batch
from parse_p2p.learning import losses
from parse_p2p.models.base import Outputs

THREE = {"a": (5,), "b": (3, 9), "c": (1, 4, 4)}
TARGETS = torch.tensor([0, 1, 0, 3, 2, 1])


def case(shapes=BOTH, kind="fission"):
    """A network, a batch of six, and what the one says of the other."""
    model = network(kind, shapes)
    batch = Batch(inputs(shapes, len(TARGETS)), TARGETS)
    return model, batch, model(batch.inputs)


def on(term, *latents, kind=Kind.REDUNDANT):
    """A term on slices of that kind, one tensor for each modality, without a network."""
    outputs = Outputs({}, {Modality(f"m{i}"): {kind: z} for i, z in enumerate(latents)})
    return term(None, Batch({}, torch.zeros(len(latents[0]), dtype=torch.int64)), outputs)


def slices(outputs, kind):
    return [zs[kind].tolist() for zs in outputs.latents.values() if kind in zs]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def entropy(rows, targets):
    """Mean of −log softmax at the target."""
    return sum(math.log(sum(map(math.exp, row))) - row[t] for row, t in zip(rows, targets, strict=True)) / len(rows)


def nce(one, other, temperature, positives):
    """Symmetric InfoNCE; ``positives(a, b)`` says whether row b is a positive of row a."""
    n = len(one)

    def cosine(u, v):
        return sum(x * y for x, y in zip(u, v, strict=True)) / math.hypot(*u) / math.hypot(*v)

    total = 0.0
    for left, right in ((one, other), (other, one)):
        for a in range(n):
            scores = [cosine(left[a], right[b]) / temperature for b in range(n)]
            chosen = [scores[b] - math.log(sum(map(math.exp, scores))) for b in range(n) if positives(a, b)]
            total -= sum(chosen) / len(chosen)
    return total / (2 * n)


def moments(rows):
    """Per feature the mean and the population variance."""
    columns = list(zip(*rows, strict=True))
    means = [sum(c) / len(c) for c in columns]
    return means, [sum((x - m) ** 2 for x in c) / len(c) for c, m in zip(columns, means, strict=True)]


def squared_correlation(one, other):
    (m1, v1), (m2, v2) = moments(one), moments(other)
    cells = [
        sum((r[i] - m1[i]) * (s[j] - m2[j]) for r, s in zip(one, other, strict=True))
        / len(one) / math.sqrt((v1[i] + 1e-5) * (v2[j] + 1e-5))
        for i in range(len(m1)) for j in range(len(m2))
    ]  # fmt: skip
    return sum(c**2 for c in cells) / len(cells)


@pytest.mark.parametrize("kind", ["fission", "monolithic"])
@pytest.mark.parametrize("shapes", [BOTH, THREE, {"a": (5,)}], ids=len)
def test_task_is_the_cross_entropy_of_the_summed_branches(shapes, kind):
    model, batch, outputs = case(shapes, kind)
    rows = [[sum(each) for each in zip(*given, strict=True)] for given in zip(
        *(b.tolist() for b in outputs.branches.values()), strict=True)]  # fmt: skip
    assert losses.task(model, batch, outputs).item() == pytest.approx(entropy(rows, TARGETS), rel=1e-5)


@pytest.mark.parametrize("detached", [False, True])
@pytest.mark.parametrize("shapes", [BOTH, THREE, {"a": (5,)}], ids=len)
def test_branches_is_one_cross_entropy_a_head_whatever_the_head_reads(shapes, detached):
    model, batch, outputs = case(shapes)
    heads = {name: entropy(said.tolist(), TARGETS) for name, said in outputs.views.items()}
    redundant = [heads.pop(f"redundant.{m}") for m in shapes]
    want = sum(heads.values()) + sum(redundant) / len(redundant)
    assert losses.branches(0.5, detached)(model, batch, outputs).item() == pytest.approx(want / 2, rel=1e-5)


@pytest.mark.parametrize("kind", ["fission", "monolithic"])
def test_a_detached_branch_loss_trains_the_heads_and_nothing_else(kind):
    model, batch, outputs = case(THREE, kind)
    losses.branches(1.0, detached=True)(model, batch, outputs).backward()
    moved = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved == {"heads"}


def test_a_branch_loss_that_is_not_detached_trains_everything():
    model, batch, outputs = case(THREE)
    losses.branches(1.0)(model, batch, outputs).backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("supervised", [False, True])
@pytest.mark.parametrize("shapes", [BOTH, THREE], ids=len)
def test_contrast_is_info_nce_over_the_pairs_of_modalities(shapes, supervised):
    model, batch, outputs = case(shapes)

    def positives(a, b):
        return TARGETS[a] == TARGETS[b] if supervised else a == b

    pairs = [nce(x, y, 0.3, positives) for x, y in combinations(slices(outputs, Kind.REDUNDANT), 2)]
    found = losses.contrast(0.5, 0.3, supervised)(model, batch, outputs).item()
    assert found == pytest.approx(0.5 * sum(pairs) / len(pairs), rel=1e-4)


def test_contrast_lies_between_nothing_and_a_sure_mistake():
    count, temperature = 8, 0.1
    term, eye = losses.contrast(1.0, temperature), torch.eye(count)
    assert on(term, eye, eye).item() == pytest.approx(math.log(1 + (count - 1) * math.exp(-1 / temperature)), abs=1e-6)
    assert on(term, torch.ones(count, 3), torch.ones(count, 3)).item() == pytest.approx(math.log(count), rel=1e-5)
    for seed in range(20):
        found = on(term, normal(count, 3, seed=seed), normal(count, 3, seed=100 + seed)).item()
        assert 0 < found <= math.log(count) + 2 / temperature
    assert on(term, normal(count, 3), normal(count, 3)) < on(term, normal(count, 3), normal(count, 3).flip(0))


@pytest.mark.parametrize("shapes", [BOTH, THREE], ids=len)
def test_align_is_the_squared_distance_over_the_variance(shapes):
    model, batch, outputs = case(shapes)
    pairs = []
    for x, y in combinations(slices(outputs, Kind.REDUNDANT), 2):
        cells = [(a - b) ** 2 for r, s in zip(x, y, strict=True) for a, b in zip(r, s, strict=True)]
        spread = [sum(v) / len(v) for v in (moments(x)[1], moments(y)[1])]
        pairs.append(sum(cells) / len(cells) / (sum(spread) / 2 + 1e-6))
    assert losses.align(2.0)(model, batch, outputs).item() == pytest.approx(2 * sum(pairs) / len(pairs), rel=1e-4)


def test_align_does_not_reward_small_slices():
    x, y = normal(50, 4), normal(50, 4, seed=1)
    term = losses.align(1.0)
    assert on(term, x, x).item() == 0
    assert on(term, 0.1 * x, 0.1 * y).item() == pytest.approx(on(term, x, y).item(), rel=1e-3)


def test_align_stays_in_proportion_on_a_last_batch_of_one_sample():
    x, y = normal(33, 4), normal(33, 4, seed=1)
    term = losses.align(1.0)
    assert on(term, x[-1:], y[-1:]) < 100 * on(term, x, y)


@pytest.mark.parametrize("shapes", [BOTH, THREE, {"a": (5,)}], ids=len)
def test_orthogonal_is_the_mean_squared_correlation_of_slices(shapes):
    model, batch, outputs = case(shapes)
    pairs = [p for zs in outputs.latents.values() for p in combinations([z.tolist() for z in zs.values()], 2)]
    pairs += combinations(slices(outputs, Kind.UNIQUE), 2)
    want = sum(squared_correlation(x, y) for x, y in pairs) / len(pairs)
    assert losses.orthogonal(3.0)(model, batch, outputs).item() == pytest.approx(3 * want, rel=1e-4)


def test_orthogonal_is_none_for_what_is_uncorrelated_and_one_for_what_is_equal():
    columns = torch.tensor([[1.0, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]).T
    term = losses.orthogonal(1.0)
    assert on(term, columns[:, :1], columns[:, 1:], kind=Kind.UNIQUE).item() == pytest.approx(0, abs=1e-6)
    assert on(term, columns[:, :1], 3 * columns[:, :1] + 7, kind=Kind.UNIQUE).item() == pytest.approx(1, abs=1e-4)
    assert on(term, columns, columns, kind=Kind.UNIQUE).item() == pytest.approx(1 / 3, abs=1e-4)
    within = Outputs({}, {"m": {Kind.REDUNDANT: columns[:, :1], Kind.UNIQUE: -columns[:, :1]}})
    assert term(None, Batch({}, TARGETS), within).item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("kind", ["fission", "monolithic"])
def test_terms_between_modalities_are_zero_for_an_agent_with_one(kind):
    model, batch, outputs = case({"a": (5,)}, kind)
    for term in (losses.contrast(1.0, 0.2), losses.contrast(1.0, 0.2, True), losses.align(1.0)):
        assert term(model, batch, outputs).item() == 0
    loss = losses.task(model, batch, outputs) + losses.align(1.0)(model, batch, outputs)
    loss.backward()  # a term of nothing does not hinder the others


def test_terms_between_slices_are_zero_for_a_network_without_them():
    model, batch, outputs = case(THREE, "monolithic")
    for term in (losses.contrast(1.0, 0.2), losses.align(1.0), losses.orthogonal(1.0)):
        assert term(model, batch, outputs).item() == 0


@pytest.mark.parametrize("term", [losses.contrast(1.0, 0.2), losses.align(1.0), losses.orthogonal(1.0)])
def test_following_a_term_lowers_it(term):
    model, batch, _ = case(THREE)
    step = torch.optim.SGD(model.parameters(), lr=0.05)
    values = []
    for _ in range(20):
        step.zero_grad()
        loss = term(model, batch, model(batch.inputs))
        loss.backward()
        step.step()
        values.append(loss.item())
    assert values[-1] < 0.95 * values[0]
    assert all(map(math.isfinite, values))


def test_a_weight_is_a_factor():
    model, batch, outputs = case()
    for make in (losses.branches, losses.align, losses.orthogonal, lambda w: losses.contrast(w, 0.2)):
        one, three = (make(w)(model, batch, outputs) for w in (1.0, 3.0))
        torch.testing.assert_close(3 * one, three)
    assert torch.equal(losses.task(model, batch, outputs), cross_entropy(outputs.logits(), TARGETS))
