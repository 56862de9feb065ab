"""A and B in networks of two sizes: made to mean the same, and by how much.

M6 to M8 are the properties of the alignment by the numbers of the method's specification.
"""

from dataclasses import replace

import pytest
import torch
from mosaics import adapters, loss, prepared, public

from parse_p2p.core.rng import seeded
from parse_p2p.data.base import Batch
from parse_p2p.methods.fedmosaic import setup
from parse_p2p.models.adapters import slots
from parse_p2p.models.lora import alignment
from parse_p2p.models.lora.alignment import adapter_cca, align_inputs, aligned, orthonormal, polar, ridge
from parse_p2p.models.lora.backbone import Tap, tapped

SMALL, LARGE = (24, 3), (36, 6)
RANK = 6


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def tap(n, inputs, outputs, seed):
    rng = generator(seed)
    return Tap(*(torch.randn(n, k, generator=rng, dtype=torch.float64) for k in (inputs, outputs, outputs)))


def frame(inputs, outputs, rank, seed):
    rng = generator(seed)
    return orthonormal(inputs, rank, rng).T.double(), orthonormal(outputs, rank, rng).double()


def power(x, exponent):
    values, vectors = torch.linalg.eigh(x)
    return vectors * values**exponent @ vectors.T


def test_a_tap_sees_inputs_outputs_and_gradients_of_a_linear_map():
    model = adapters().sibling(8, 2)
    batch = Batch({"audio": torch.randn(6, 16, generator=generator())}, torch.arange(6))
    seen = tapped(model, batch)
    assert seen.keys() == {(layer, role) for layer in (0, 1) for role in ("in", "out")}
    (6 * loss(model, batch)).backward()
    for (layer, role), found in seen.items():
        linear = model.layers[layer].up if role == "in" else model.layers[layer].down
        torch.testing.assert_close(found.outputs, found.inputs @ linear.weight.T)
        torch.testing.assert_close(found.gradients.T @ found.inputs, linear.weight.grad)


def test_M6_A_has_orthonormal_rows_and_recovers_a_map_that_is_there():
    rng = generator()
    large = torch.randn(500, 12, generator=rng)
    turn = polar(torch.randn(12, 8, generator=rng))
    small = large @ turn
    a_small = orthonormal(8, 5, rng).T
    a = align_inputs(small, large, a_small)
    torch.testing.assert_close(a @ a.T, torch.eye(5).double(), rtol=0, atol=1e-5)
    torch.testing.assert_close((large.double() @ a.T).float(), small @ a_small.T, rtol=0, atol=2e-2)


@pytest.fixture(scope="module")
def data():
    return public()


@pytest.fixture(scope="module", autouse=True)
def _trained_once():
    """Backbones of a size are trained once for all that is asked of them here: how they are aligned comes after."""
    trained, pretrain = {}, setup.pretrain

    def once(backbone, data, steps, generator):
        key = (id(data), steps, generator.initial_seed())  # the seed is that of the size
        if key not in trained:
            pretrain(backbone, data, steps, generator)
            trained[key] = backbone.state_dict()
        backbone.load_state_dict(trained[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setup, "pretrain", once)
        yield


@pytest.fixture(scope="module")
def network():
    return adapters(*LARGE, rank=RANK)


def test_every_size_begins_with_a_frame_and_a_backbone_of_its_own():
    sizes = [(8, 2), (8, 3)]  # one width, so that the shapes of what they begin with are equal
    made = prepared(adapters(*sizes[0], rank=4, blocks=2), public(samples=100)[0], sizes, "random", steps=0)
    (one, other), (first, second) = ([of(size) for size in sizes] for of in (made.frame, made.backbone))
    assert one.keys() == other.keys() and not any(torch.equal(one[name], other[name]) for name in one)
    assert not torch.equal(first["layers.0.up.weight"], second["layers.0.up.weight"])


def test_the_pivot_is_the_size_with_the_fewest_parameters():
    sizes = [(10, 2), (5, 7), (9, 3), (30, 1)]
    counts = {size: sum(p.numel() for p in adapters().sibling(*size).layers.parameters()) for size in sizes}
    assert min(counts, key=counts.get) == setup.smallest(sizes) == (5, 7)


def begun(train, b_align):
    """A setup of two sizes whose backbones have learnt nothing."""
    return prepared(adapters(8, 2, rank=4, blocks=2), train, [(8, 2), (9, 3)], b_align, steps=0)


def drawn(backbone):
    """The backbone with weights that do not depend on what was drawn before."""
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, generator=generator())
    return backbone


def test_M6_sizes_are_aligned_on_samples_with_all_modalities_and_with_each_alone():
    train, _ = public(samples=100)
    made, backbone = begun(train, "random"), drawn(adapters().sibling(8, 2))
    seen = made._taps(backbone)[0, "in"].inputs
    batch = train.batch(torch.randperm(len(train), generator=seeded(0, "alignment")))
    kinds = [{m: batch.inputs[m] for m in some} for some in (["audio", "motion"], ["audio"], ["motion"])]
    want = torch.cat([tapped(backbone, Batch(x, batch.targets))[0, "in"].inputs for x in kinds])
    torch.testing.assert_close(seen, want)
    assert [sorted(view.inputs) for view in setup.views(Batch(kinds[1], batch.targets))] == [["audio"]]


def test_M6_of_many_public_samples_a_thousand_or_so_are_drawn_by_the_seed():
    train, _ = public()
    assert len(train) > setup.SAMPLES == 1024
    backbone = drawn(adapters().sibling(8, 2))
    found = [prepared(adapters(8, 2, rank=4, blocks=2), train, [(8, 2)], "random", steps=0, seed=seed)
             ._taps(backbone)[0, "in"].inputs for seed in (0, 0, 1)]  # fmt: skip
    assert [len(rows) for rows in found] == 3 * [3 * 1024]
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_M8_the_labels_of_public_samples_have_no_say_in_the_alignment():
    train, _ = public(samples=100)
    relabelled = replace(train, targets=(train.targets + 1) % train.classes)
    one, other = (begun(data, "grad_map").frame((9, 3)) for data in (train, relabelled))
    assert all(torch.equal(one[name], other[name]) for name in one)


def held_out_error(network, made, test):
    """‖z_l − z_s‖² / ‖z_s‖², averaged over the slots, on samples that neither network has seen."""
    seen = {}
    for size in (SMALL, LARGE):
        backbone = network.sibling(*size)
        backbone.load_state_dict(made.backbone(size))
        taps = tapped(backbone, test)
        seen[size] = {s: taps[at].inputs @ made.frame(size)[f"{s}/A"].T for s, at in slots(size[1], 3).items()}
    errors = [(seen[LARGE][s] - z).square().sum() / z.square().sum() for s, z in seen[SMALL].items()]
    return float(sum(errors) / len(errors))


def test_M6_aligned_latents_agree_on_held_out_samples(data, network):
    train, test = data
    error = {}
    for how in ("random", "adapter_cca"):
        made = prepared(network, train, [SMALL, LARGE], how)
        error[how] = held_out_error(network, made, test.batch(torch.arange(512)))
        for size in (SMALL, LARGE):
            for slot in slots(size[1], 3):
                a = made.frame(size)[f"{slot}/A"]
                torch.testing.assert_close(a @ a.T, torch.eye(RANK), rtol=0, atol=1e-5)
    assert error["adapter_cca"] < 0.5 * error["random"]
    assert error["adapter_cca"] < 0.4


def test_M7_the_published_B_step_whitens_turns_and_colours():
    small, large = tap(300, 9, 9, 1), tap(300, 14, 14, 2)
    first, start = frame(9, 9, 4, 3), frame(14, 14, 4, 4)
    b = adapter_cca(small, large, first, start)

    def scatter(tap, a, b):
        x = tap.inputs @ a.T @ b.T
        x = x - x.mean(0)
        return x, x.T @ x + 1e-4 * torch.eye(len(b), dtype=x.dtype)

    (x_s, c_s), (x_l, c_l) = scatter(small, *first), scatter(large, *start)
    u, _, vt = torch.linalg.svd(power(c_l, -0.5) @ x_l.T @ x_s @ power(c_s, -0.5), full_matrices=False)
    want = u @ vt @ power(c_s, -0.5) @ first[1]
    torch.testing.assert_close(power(c_l, -0.5) @ b, want, rtol=0, atol=1e-6)
    outside = b - start[1] @ (start[1].T @ b)
    assert outside.norm() < 1e-5 * b.norm()


def test_M7_with_equal_latents_the_published_B_step_changes_nothing():
    small, large = tap(400, 9, 9, 1), tap(400, 14, 14, 2)
    first, start = frame(9, 9, 4, 3), frame(14, 14, 4, 4)
    z = small.inputs @ first[0].T
    large = Tap(z @ start[0], large.outputs, large.gradients)  # whose latents are z, since A Aᵀ = I
    torch.testing.assert_close(adapter_cca(small, large, first, start), start[1], rtol=0, atol=1e-6)


def ridged(x, y):
    """argmin ‖x M − y‖² + λ‖M‖², λ a thousandth of the mean squared norm of the columns of x, as least squares."""
    root = (1e-3 * x.square().sum(0).mean()).sqrt()
    rows = torch.cat([x, root * torch.eye(x.shape[1], dtype=x.dtype)])
    return torch.linalg.lstsq(rows, torch.cat([y, torch.zeros(x.shape[1], y.shape[1], dtype=y.dtype)])).solution


def nearest(matrix):
    """The orthonormal matrix of a polar decomposition: M (MᵀM)^-½."""
    return matrix @ power(matrix.T @ matrix, -0.5)


def test_M6_regressions_are_held_small():
    x, y = tap(40, 9, 3, 1), tap(40, 2, 3, 2)
    torch.testing.assert_close(ridge(x.inputs, y.outputs), ridged(x.inputs, y.outputs))
    torch.testing.assert_close(
        align_inputs(y.inputs, x.inputs, torch.eye(2)), nearest(ridged(x.inputs, y.inputs)).T, rtol=0, atol=1e-9
    )


def test_M7_the_extensions_map_outputs_less_their_means_and_gradients():
    small, large = tap(60, 9, 9, 1), tap(60, 14, 14, 2)
    small, large = (Tap(t.inputs, t.outputs + 5, t.gradients + 1) for t in (small, large))
    first, start = frame(9, 9, 4, 3), frame(14, 14, 4, 4)
    y_s, y_l = (t.outputs - t.outputs.mean(0) for t in (small, large))
    wanted = {"output_map": (y_l, y_s), "grad_map": (large.gradients, small.gradients)}
    for step, (x, y) in wanted.items():
        found = alignment.B_STEPS[step](small, large, first, start)
        torch.testing.assert_close(found, nearest(ridged(x, y @ first[1])), rtol=0, atol=1e-9)


def test_M7_the_B_step_sees_what_the_aligned_A_reads():
    small, large = tap(300, 9, 9, 1), tap(300, 14, 14, 2)
    first, start = frame(9, 9, 4, 3), frame(14, 14, 4, 4)
    a, b = aligned(small, large, first, start, "adapter_cca")
    torch.testing.assert_close(a, align_inputs(small.inputs, large.inputs, first[0]).float())
    torch.testing.assert_close(b, adapter_cca(small, large, first, (a.double(), start[1])).float(), rtol=0, atol=1e-5)
    assert not torch.allclose(b, adapter_cca(small, large, first, start).float(), rtol=0, atol=1e-2)


@pytest.mark.parametrize("step", ["output_map", "grad_map"])
def test_M7_the_extensions_give_orthonormal_columns(step):
    b = alignment.B_STEPS[step](tap(300, 9, 9, 1), tap(300, 14, 14, 2), frame(9, 9, 4, 3), frame(14, 14, 4, 4))
    assert b.shape == (14, 4)
    torch.testing.assert_close(b.T @ b, torch.eye(4).double(), rtol=0, atol=1e-6)


def transported(train, test, how, steps=300):
    """Mean over slots and two relabelled tasks of the cosine between ∂L/∂P of the small and the large network."""
    models = {size: adapters(*size, rank=RANK) for size in (SMALL, LARGE)}
    made = prepared(models[LARGE], train, models, how, steps)
    cosines = []
    for seed in range(2):
        batch = test.batch(torch.arange(256))
        batch = Batch(batch.inputs, torch.randperm(16, generator=generator(seed))[batch.targets])
        for size, model in models.items():
            for name, tensor in made.backbone(size).items():
                model.base[name].copy_(tensor)
            for slot, adapter in model.slots.items():
                adapter.align(made.frame(size)[f"{slot}/A"], made.frame(size)[f"{slot}/B"])
            model.zero_grad()
            loss(model, batch).backward()
        for slot, adapter in models[SMALL].slots.items():
            pair = adapter.P.grad.flatten(), models[LARGE].slots[slot].P.grad.flatten()
            cosines.append(float(torch.cosine_similarity(*pair, dim=0)))
    return sum(cosines) / len(cosines)


def test_M8_gradients_carry_over_where_both_factors_are_aligned(data, record_property):
    train, test = data
    found = {how: transported(train, test, how) for how in ("random", "adapter_cca", "output_map", "grad_map")}
    for how, cosine in found.items():
        record_property(how, cosine)
    assert abs(found["random"]) < 0.2
    assert found["grad_map"] > 0.4
    assert found["grad_map"] > max(found["output_map"], found["adapter_cca"], found["random"])


def test_M8_without_pretraining_the_weaker_alignments_carry_nothing_over(data):
    train, test = data
    for how in ("random", "adapter_cca", "output_map"):
        assert abs(transported(train, test, how, steps=0)) < 0.25, how
