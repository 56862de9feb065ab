"""A and B in networks of two sizes: made to mean the same, and by how much.

M6 to M8 are the properties of the alignment by the numbers of the method's specification.
"""

import pytest
import torch
from mosaics import adapters, loss, prepared, public

from parse_p2p.data.base import Batch
from parse_p2p.methods.fedmosaic import setup
from parse_p2p.models.adapters import slots
from parse_p2p.models.lora import alignment
from parse_p2p.models.lora.alignment import adapter_cca, align_inputs, orthonormal, polar
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
