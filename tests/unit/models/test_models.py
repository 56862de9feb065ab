"""The three-slice network, its size twin without slices, and the operators that fuse slices."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plans import BOTH, finished, inputs, learner, network, plan
from torch.nn.functional import linear

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import Kind
from parse_p2p.learning import losses
from parse_p2p.models import fusion
from parse_p2p.models.base import count, initialise, key_of
from parse_p2p.models.encoder import EncoderOptions
from parse_p2p.models.fission import sizes

MIXED = {"a.left": (7,), "b": (3, 20), "c": (1, 8, 8), "d": (2, 4, 9)}
DATA = {
    "bits": ({"audio": (16,), "motion": (16,)}, 16),
    "digits": ({f"q{i}": (16,) for i in range(4)}, 10),
    "pictures": ({f"q{i}": (1, 4, 4) for i in range(4)}, 10),
    "watch": ({"accelerometer": (3, 100), "gyroscope": (3, 100)}, 7),
    "mixed": (MIXED, 5),
}


def types(shapes):
    """Every set of modalities an agent may have, as the shapes of its inputs."""
    return [dict(t) for k in range(1, len(shapes) + 1) for t in combinations(shapes.items(), k)]


# the split


@given(latent=st.integers(1, 2000), split=st.tuples(*[st.integers(0, 50)] * 3).filter(any))
def test_a_split_is_the_ratio_to_within_one(latent, split):
    parts = sizes(latent, split)
    assert sum(parts) == latent
    for part, share in zip(parts, split, strict=True):
        exact = latent * share / sum(split)
        assert math.floor(exact + 1e-9) <= part < exact + 1
        assert share or not part
    for (p, s), (q, t) in combinations(zip(parts, split, strict=True), 2):
        assert p >= q or s <= t
        assert p <= q or s >= t


def test_a_split_gives_what_is_left_over_to_the_largest_fractions():
    assert sizes(512, (1, 1, 1)) == (171, 171, 170)
    assert sizes(48, (2, 1, 1)) == (24, 12, 12)
    assert sizes(10, (1, 1, 2)) == (3, 2, 5)
    assert sizes(7, (1, 0, 1)) == (4, 0, 3)
    for wrong in ((0, 0, 0), (1, -1, 1)):
        with pytest.raises(ConfigError, match="split"):
            sizes(48, wrong)


# the three-slice network


def test_the_row_blocks_are_one_last_layer():
    model = network(latent=17, split=(2, 1, 3))
    x = inputs(BOTH)
    latents = model(x).latents
    for m in BOTH:
        blocks = [model.rows[key_of(m)][key_of(kind)] for kind in ("redundant", "unique", "synergistic")]
        features = model.trunks[key_of(m)](x[m])
        whole = linear(features, *(torch.cat([getattr(b, w) for b in blocks]) for w in ("weight", "bias")))
        cut = torch.split(whole, [layer.out_features for layer in blocks], dim=1)
        assert sum(map(torch.Tensor.numel, cut)) == 5 * 17
        for kind, z in zip(("redundant", "unique", "synergistic"), cut, strict=True):
            torch.testing.assert_close(latents[m][Kind(kind)], z)


def test_the_branches_are_the_heads_on_their_slices():
    model, x = network(), inputs(BOTH)
    said = model(x)
    redundant = [model.heads[key_of("redundant")](said.latents[m][Kind.REDUNDANT]) for m in BOTH]
    torch.testing.assert_close(said.branches["redundant"], (redundant[0] + redundant[1]) / 2)
    unique = model.heads[key_of("unique.motion")](said.latents["motion"][Kind.UNIQUE])
    torch.testing.assert_close(said.branches["unique.motion"], unique)
    fused = model.heads[key_of("synergistic")]([said.latents[m][Kind.SYNERGISTIC] for m in ("audio", "motion")])
    torch.testing.assert_close(said.branches["synergistic"], fused)


@pytest.mark.parametrize("kind", ["fission", "monolithic"])
@pytest.mark.parametrize("shapes", types(MIXED), ids="+".join)
def test_branches_sum_to_the_logits_for_every_set_of_modalities(kind, shapes):
    model, x = network(kind, shapes, 5), inputs(shapes)
    said = model(x)
    assert said.logits().shape == (5, 5)
    torch.testing.assert_close(said.logits(), sum(said.branches.values()))
    if kind == "fission":
        expected = {"redundant"} | {f"unique.{m}" for m in shapes} | ({"synergistic"} if len(shapes) > 1 else set())
        assert said.branches.keys() == expected
    for m in shapes:  # every modality is heard
        other = model(x | {m: x[m] + 1}).logits()
        assert not torch.allclose(other, said.logits())


@pytest.mark.parametrize("shapes", types(MIXED), ids="+".join)
def test_an_agent_with_one_modality_has_no_synergy(shapes):
    parts = {component.part for component, _ in network("fission", shapes).parts()}
    synergy = {"rows.synergistic", "head.synergistic"}
    assert parts & synergy == (synergy if len(shapes) > 1 else set())
    assert parts - synergy == {"trunk", "rows.redundant", "rows.unique", "head.redundant", "head.unique"}


def test_components_are_named_by_part_and_modality_and_hold_every_parameter():
    model = network("fission", MIXED)
    names = [component.name for component, _ in model.parts()]
    assert len(names) == len(set(names)) == 4 * 4 + 4 + 2
    assert {"trunk.a.left", "rows.redundant.b", "head.unique.d", "head.redundant", "head.synergistic"} <= set(names)
    assert sum(p.numel() for _, ps in model.parts() for p in ps.values()) == count(model)


@pytest.mark.parametrize(
    ("split", "modalities", "branches"),
    [
        ((1, 0, 1), 2, {"redundant", "synergistic"}),
        ((1, 0, 1), 1, {"redundant"}),
        ((1, 0, 0), 2, {"redundant"}),
        ((0, 1, 0), 2, {"unique.audio", "unique.motion"}),
        ((0, 0, 1), 2, {"synergistic"}),
    ],
)
def test_a_degenerate_split_leaves_branches_out(split, modalities, branches):
    shapes = dict(list(BOTH.items())[:modalities])
    model = network("fission", shapes, split=split)
    assert model(inputs(shapes)).branches.keys() == branches
    parts = {component.part for component, _ in model.parts()}
    assert {p.removeprefix("rows.") for p in parts if p.startswith("rows.")} == {b.split(".")[0] for b in branches}


def test_a_split_that_leaves_an_agent_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"split \[0, 0, 1\] leaves no branch to agents with audio"):
        network("fission", {"audio": (16,)}, split=(0, 0, 1))


def test_a_branch_is_chosen_by_its_name_or_the_beginning_of_it():
    said = network()(inputs(BOTH))
    both = said.branches["unique.audio"] + said.branches["unique.motion"]
    torch.testing.assert_close(said.logits(["unique"]), both)
    assert torch.equal(said.logits(["unique.audio"]), said.branches["unique.audio"])
    with pytest.raises(ConfigError, match="uniq: this agent has redundant"):
        said.logits(["uniq"])


def test_a_modality_is_not_taken_for_another_whose_name_begins_alike():
    said = network("fission", {"imu": (4,), "imu.left": (4,)})(inputs({"imu": (4,), "imu.left": (4,)}))
    assert torch.equal(said.logits(["unique.imu"]), said.branches["unique.imu"])


@pytest.mark.parametrize("name", ["x.y", "left eye", "θ", "type", "keys"])
def test_a_modality_may_have_any_name(name):
    shapes = {name: (4,), "audio": (4,)}
    for kind in ("fission", "monolithic"):
        assert network(kind, shapes)(inputs(shapes)).logits().shape == (5, 4)


# the network of equal size


@pytest.mark.parametrize("fused", ["mlp", "product", "bilinear", "gated", "sum"])
@pytest.mark.parametrize("split", [(1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2)], ids=str)
@pytest.mark.parametrize("data", DATA)
def test_both_networks_have_as_many_parameters(data, split, fused):
    shapes, classes = DATA[data]
    for some in types(shapes):
        one, other = (count(network(k, some, classes, split=split, fusion=fused)) for k in ("fission", "monolithic"))
        assert abs(one - other) <= 0.02 * one, (list(some), one, other)


@pytest.mark.parametrize("split", [(1, 0, 1), (0, 1, 1)], ids=str)
def test_both_networks_have_as_many_parameters_in_degenerate_splits(split):
    shapes, classes = DATA["bits"]
    one, other = (count(network(kind, shapes, classes, split=split)) for kind in ("fission", "monolithic"))
    assert abs(one - other) <= 0.02 * one


@pytest.mark.parametrize("split", [(1, 0, 0), (1, 1, 0), (0, 0, 1)], ids=str)
def test_a_split_that_leaves_the_monolithic_network_no_fusion_is_refused_in_one_sentence(split):
    with pytest.raises(ConfigError, match=r"model\.split .*monolithic network") as refused:
        learner(model={"network": "monolithic", "split": list(split)}, method="dsgd-task")
    assert "\n" not in str(refused.value) and ". " not in str(refused.value)


def test_an_encoder_of_the_monolithic_network_fits_agents_of_every_type():
    layouts = {}
    for some in types(MIXED):
        for component, parameters in network("monolithic", some).parts():
            if component.modality:
                shape = [tuple(p.shape) for p in parameters.values()]
                assert layouts.setdefault(component.name, shape) == shape


# fusion


@pytest.mark.parametrize("name", fusion.FUSIONS)
@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_a_fusion_gives_logits_and_hears_every_slice(name, modalities):
    layer = fusion.build(name, modalities, 6, 8, 3)
    slices = [torch.randn(5, 6, generator=torch.Generator().manual_seed(i)) for i in range(modalities)]
    said = layer(slices)
    assert said.shape == (5, 3)
    for i in range(modalities):
        assert not torch.allclose(layer([*slices[:i], slices[i] + 1, *slices[i + 1 :]]), said)


def test_bilinear_fusion_of_two_is_the_product_of_their_factors():
    layer = fusion.Bilinear(2, 2, 2, 2)
    (first, second), head = layer.factors, layer.head
    for factor, weight, bias in ((first, [[1.0, 2], [0, 1]], [0.5, 0.0]), (second, [[3.0, 0], [1, 1]], [0.0, -1.0])):
        factor.weight.data, factor.bias.data = torch.tensor(weight), torch.tensor(bias)
    head.weight.data = torch.tensor([[1.0, 0], [2, -1]])
    # factors of (1, 1) and (2, 0): (3.5, 1) and (6, 1), their product (21, 1)
    said = layer([torch.tensor([[1.0, 1]]), torch.tensor([[2.0, 0]])])
    torch.testing.assert_close(said, torch.tensor([[21.0, 41]]))


@given(f=st.lists(st.floats(-3, 3), min_size=2, max_size=4))
def test_bilinear_fusion_sums_the_products_of_every_two_or_more(f):
    layer = fusion.Bilinear(len(f), 1, 1, 1)
    for parameter in layer.parameters():
        parameter.data.fill_(float(parameter.ndim > 1))  # factors are the slices themselves, and no bias
    subsets = [some for k in range(2, len(f) + 1) for some in combinations(f, k)]
    said = layer([torch.tensor([[x]]) for x in f]).item()
    assert said == pytest.approx(sum(math.prod(some) for some in subsets), abs=1e-4)


@pytest.mark.parametrize("silent", [0, 1])
def test_bilinear_fusion_has_nothing_to_say_of_one_modality_alone(silent):
    layer = fusion.Bilinear(2, 6, 8, 3)
    for parameter in layer.factors[silent].parameters():
        parameter.data.zero_()
    assert not layer([torch.randn(5, 6), torch.randn(5, 6)]).any()


@pytest.mark.parametrize("name", ["product", "sum"])
def test_a_set_invariant_fusion_has_one_shape_and_no_order(name):
    two, four = (fusion.build(name, k, 6, 8, 3) for k in (2, 4))
    assert [p.shape for p in two.parameters()] == [p.shape for p in four.parameters()]
    slices = list(torch.randn(4, 5, 6))
    torch.testing.assert_close(four(slices), four(slices[::-1]))


def test_an_unknown_fusion_is_refused_by_name():
    with pytest.raises(ConfigError, match="did you mean 'product'"):
        fusion.build("produkt", 2, 6, 8, 3)


def corner_sums(model):
    """f(0,0) + f(1,1) and f(0,1) + f(1,0), for two values of each of two modalities."""
    x, y = inputs(BOTH, 7, seed=1), inputs(BOTH, 7, seed=2)
    f = [[model({"audio": a["audio"], "motion": b["motion"]}).branches["synergistic"] for b in (x, y)] for a in (x, y)]
    return f[0][0] + f[1][1], f[0][1] + f[1][0]


@given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 5))
def test_additive_fusion_cannot_tell_the_diagonals_of_xor(seed, scale):
    model = network(fusion="sum", latent=9, encoder=EncoderOptions(width=8))
    initialise(model, torch.Generator().manual_seed(seed))
    for p in model.parameters():
        p.data *= scale
    with torch.no_grad():
        same, different = corner_sums(model)
    torch.testing.assert_close(same, different, rtol=1e-4, atol=1e-4 * float(same.abs().max() + 1))


@pytest.mark.parametrize("name", ["mlp", "product", "bilinear", "gated"])
def test_the_other_fusions_can(name):
    same, different = corner_sums(network(fusion=name))
    assert (same - different).abs().max() > 1e-4


@pytest.mark.parametrize("name", fusion.FUSIONS)
def test_xor_is_learnt_by_every_fusion_that_is_not_additive(name):
    agent = learner(
        data={"samples": 1600, "atoms": ["synergistic"]},
        model={"split": [0, 0, 1], "fusion": name, "latent": 16, "hidden": 32},
        encoder={"width": 16},
        train={"epochs": 20},
    )
    agent.train(losses.task)
    low, high = (0.4, 0.6) if name == "sum" else (0.95, 1)
    assert low <= agent.evaluate()["accuracy"] <= high


# frozen and loaded trunks


def test_a_frozen_trunk_is_neither_trained_nor_shared():
    frozen = plan(encoder={"frozen": True}, rounds=2)
    agent_states, _ = finished(frozen)
    for me, start in ((me, frozen.initialised(frozen.specs[me])) for me in agent_states):
        learner = agent_states[me].learner
        for m in learner.holder.modalities:
            before, after = start.trunk_of(m).state_dict(), learner.model.trunk_of(m).state_dict()
            assert all(torch.equal(before[name], after[name]) for name in before)
        assert not any(r.component.part == "trunk" for r in learner.buffer.regions.values())
        rows = [p for component, ps in start.parts() if component.part.startswith("rows.") for p in ps.values()]
        assert not torch.equal(torch.cat([p.flatten() for p in rows]), torch.cat([
            p.flatten() for c, ps in learner.model.parts() if c.part.startswith("rows.") for p in ps.values()
        ]))  # fmt: skip


def test_the_payload_of_a_frozen_trunk_is_the_adapter_and_the_heads():
    free, frozen = plan(), plan(encoder={"frozen": True})
    for me in free.specs:
        both = [w.overlays(0).plan(me) for w in (free, frozen)]
        trunks = sum(
            4 * both[0].regions[key].size for keys in both[0].links.values() for key in keys
            if key.component.startswith("trunk.")
        )  # fmt: skip
        assert trunks > 0
        assert both[1].payload() == both[0].payload() - trunks


def test_a_trunk_starts_from_the_weights_it_is_given(tmp_path):
    plain = learner("audio")
    given = {name: t.numpy() + 1 for name, t in plain.model.trunk_of("audio").state_dict().items()}
    np.savez(tmp_path / "trunk.npz", **given)
    loaded = learner("audio", encoder={"weights": str(tmp_path / "trunk.npz"), "frozen": True})
    for name, tensor in loaded.model.trunk_of("audio").state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), given[name])
    assert torch.equal(loaded.model.heads[key_of("redundant")].weight, plain.model.heads[key_of("redundant")].weight)


def wrong(kind, path):
    good = {"0.weight": np.zeros((8, 16)), "0.bias": np.zeros(8)}
    if kind == "absent":
        return
    if kind in ("text", "nothing"):
        path.write_text("weights\n" if kind == "text" else "")
    elif kind == "an array":
        with path.open("wb") as file:
            np.save(file, good["0.bias"])
    else:
        np.savez(path, **{
            "a part": {"0.bias": good["0.bias"]},
            "another shape": good | {"0.bias": np.zeros(9)},
            "too much": good | {"1.bias": np.zeros(9)},
            "objects": good | {"0.bias": np.array([None] * 8)},
            "words": good | {"0.bias": np.array(["a"] * 8)},
            "half a file": good,
        }[kind])  # fmt: skip
    if kind == "half a file":
        path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize(
    "kind",
    ["absent", "text", "a part", "another shape", "too much", "objects", "nothing", "an array", "words", "half a file"],
)
def test_weights_that_do_not_fit_are_a_config_error_naming_the_file(kind, tmp_path):
    path = tmp_path / "trunk.npz"
    wrong(kind, path)
    with pytest.raises(ConfigError, match=r"encoder weights .*trunk\.npz"):
        learner("audio", encoder={"weights": str(path)})


# first values


def test_equal_components_start_equal_unless_each_is_to_have_its_own():
    common, own = plan(), plan(model={"init": "own"})
    for w, equal in ((common, True), (own, False)):
        first = {}
        for me in w.specs:
            agent = w.agent_state(me).learner
            for name, values in agent.cut(agent.buffer.regions).items():
                if name in first:
                    assert torch.equal(first[name], values) == equal, (me, name)
                first.setdefault(name, values)


def test_first_values_follow_the_seed_alone():
    one = learner().buffer.values
    torch.manual_seed(99)
    assert torch.equal(one, learner().buffer.values)
    assert not torch.equal(one, learner(seed=1).buffer.values)
    assert one.abs().max() <= 1
    assert one.count_nonzero() == len(one)
