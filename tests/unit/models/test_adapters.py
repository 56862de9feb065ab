"""A frozen backbone and its adapters: what begins as nothing, what is frozen, what fits every size.

M1 to M5 and M13 are the properties of Co-LoRA by the numbers of the method's specification.
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mosaics import adapters, loss, samples, scrambled
from plans import BOTH, inputs

from parse_p2p.core.errors import ConfigError
from parse_p2p.models.adapters import slots, targets
from parse_p2p.models.base import ModelOptions
from parse_p2p.models.encoder import EncoderOptions

GATES = ("scalar", "input", "fixed", "local")
SMALL, LARGE = (12, 3), (16, 6)


def bare(model):
    """The backbone of a network, without adapters."""
    backbone = model.sibling(*model.dimensions)
    backbone.load_state_dict(model.base)
    return backbone


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_M1_adapters_begin_as_nothing_and_their_gradient_does_not(size, gate):
    model, batch = adapters(*size, gate=gate), samples()
    assert torch.equal(model(batch.inputs).logits(), bare(model)(batch.inputs).logits())
    loss(model, batch).backward()
    for adapter in model.slots.values():
        assert adapter.P.grad.abs().max() > 0
        assert adapter.Q.grad.abs().max() > 0
    for adapter in model.others.values():
        assert adapter.B.grad.abs().max() > 0  # the one that begins at zero


def test_M1_A_of_an_ordinary_adapter_begins_as_in_a_linear_layer():
    """Uniform in ±1/√d_i, whose variance is 1/(3 d_i)."""
    model = adapters(64, 5, blocks=1, rank=16)
    assert {adapter.A.shape[1] for adapter in model.others.values()} == {64, 128}
    for adapter in model.others.values():
        bound = adapter.A.shape[1] ** -0.5
        assert adapter.A.abs().max() <= bound
        assert adapter.A.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)
        assert not adapter.B.any()


@pytest.mark.parametrize("gate", GATES)
def test_M2_only_my_adapters_and_the_gates_learn(gate):
    model = scrambled(adapters(*LARGE, gate=gate))
    learnt = {id(p) for _, parameters in model.parts() for p in parameters.values()}
    assert learnt == {id(p) for p in model.parameters()}
    mine = {id(t) for adapter in model.shared.values() for t in adapter.local}
    gates = {id(p) for a in model.shared.values() for p in a.gate.parameters()}
    assert learnt == mine | gates
    assert bool(gates) == (gate in ("scalar", "input"))
    before = {name: t.clone() for name, t in model.named_buffers()}
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(3):
        optimiser.zero_grad()
        loss(model, samples(seed=step)).backward()
        optimiser.step()
    assert all(torch.equal(t, before[name]) for name, t in model.named_buffers())


def test_M2_whatever_a_network_consists_of_is_frozen_or_shared_or_a_gate():
    model = adapters(*LARGE)
    parts = {component.name: (component.architecture, set(ps)) for component, ps in model.parts()}
    assert parts.keys() == {"adapter.pq", "adapter.lora", "adapter.gate"}
    assert parts["adapter.pq"] == ("", {f"{b}.{role}.{n}" for b in range(3) for role in ("in", "out") for n in "PQ"})
    assert parts["adapter.lora"][0] == parts["adapter.gate"][0] == "16x6"
    assert {name.split(".")[0] for name in model.base} == {"trunks", "layers", "head"}
    assert "adapter.lora" not in {component.name for component, _ in adapters(*SMALL).parts()}


def directions(adapter):
    """B E_ij A for every i, j, as rows."""
    eye = torch.eye(4, dtype=torch.float64)
    products = [adapter.B.double() @ torch.outer(i, j) @ adapter.A.double() for i in eye for j in eye]
    return torch.stack(products).flatten(1)


def test_M3_orthonormal_frames_span_all_of_r_squared_and_keep_lengths():
    for adapter in adapters(*LARGE).slots.values():
        assert torch.linalg.matrix_rank(directions(adapter)) == 16
        p = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close((adapter.B @ p @ adapter.A).norm(), p.norm(), rtol=1e-5, atol=0)
        adapter.A[1] = adapter.A[0]
        assert torch.linalg.matrix_rank(directions(adapter)) == 12


def test_M4_slots_fit_every_size_and_frames_do_not():
    small, large = adapters(*SMALL), scrambled(adapters(*LARGE))
    assert small.slots.keys() == large.slots.keys() == slots(3, 3).keys()
    for slot, adapter in small.slots.items():
        other = large.slots[slot]
        assert [t.shape for t in adapter.local] == [t.shape for t in other.local] == [(4, 4), (4,)]
        assert adapter.A.shape != other.A.shape and adapter.B.shape != other.B.shape
        adapter.receive(*other.local)
        assert torch.equal(adapter.P_G, other.P) and torch.equal(adapter.Q_G, other.Q)
    assert small(samples().inputs).logits().isfinite().all()
    layouts = []
    for model in (small, large):
        parameters = next(ps for component, ps in model.parts() if component.name == "adapter.pq")
        layouts.append([(name, p.shape) for name, p in parameters.items()])
    assert layouts[0] == layouts[1]


@pytest.mark.parametrize(
    ("depth", "blocks", "ends"),
    [
        (16, 4, [3, 7, 11, 15]),
        (28, 4, [6, 13, 20, 27]),
        (24, 4, [5, 11, 17, 23]),
        (36, 3, [11, 23, 35]),
        (6, 4, [0, 1, 2, 5]),
        (6, 3, [1, 3, 5]),
        (3, 3, [0, 1, 2]),
        (3, 2, [0, 2]),
    ],
)
def test_M5_the_targets_are_the_last_layers_of_the_blocks(depth, blocks, ends):
    assert targets(depth, blocks) == ends


@given(depth=st.integers(1, 200), data=st.data())
def test_M5_the_last_target_is_the_last_layer(depth, data):
    blocks = data.draw(st.integers(1, depth))
    found = targets(depth, blocks)
    assert len(found) == blocks and found[-1] == depth - 1
    assert found == sorted(set(found)) and found[0] >= 0


def test_M5_more_blocks_than_layers_are_refused_and_a_network_takes_what_it_has():
    for blocks in (0, 4):
        with pytest.raises(ConfigError, match="blocks"):
            targets(3, blocks)
    assert slots(1, 2) == {"0.in": (0, "in"), "0.out": (0, "out")}


@pytest.mark.parametrize("gate", GATES)
def test_M13_a_gate_begins_in_the_middle_and_the_local_one_shut(gate):
    model = adapters(gate=gate)
    for adapter in model.slots.values():
        x = torch.randn(5, adapter.A.shape[1], generator=torch.Generator().manual_seed(0))
        want = 0.0 if gate == "local" else 0.5
        assert (adapter.gate(x) == want).all()


def only(model, which):
    """The same network with nothing but one of its two branches, as a network of the local gate."""
    alone = adapters(*model.dimensions, gate="local")
    alone.load_state_dict({n: t for n, t in model.state_dict().items() if "gate" not in n})
    for key, adapter in alone.shared.items():
        for mine, theirs in zip(adapter.local, getattr(model.shared[key], which), strict=True):
            mine.data.copy_(theirs)
    return alone


def test_M13_a_shut_gate_is_my_model_and_an_open_one_the_received():
    model, batch = scrambled(adapters(*LARGE)), samples()
    said = {}
    for beta in (-40.0, 40.0):
        for adapter in model.shared.values():
            adapter.gate.beta.data.fill_(beta)
        said[beta] = model(batch.inputs).logits()
    torch.testing.assert_close(said[-40.0], only(model, "local")(batch.inputs).logits())
    torch.testing.assert_close(said[40.0], only(model, "received")(batch.inputs).logits())
    assert not torch.allclose(said[-40.0], said[40.0])


@pytest.mark.parametrize("gate", ["scalar", "input"])
def test_M13_gates_learn_where_the_branches_differ_and_say_the_same_twice(gate):
    model, batch = scrambled(adapters(gate=gate)), samples()
    loss(model, batch).backward()
    assert all(a.gate.beta.grad.abs().max() > 0 for a in model.shared.values())
    assert torch.equal(model.eval()(batch.inputs).logits(), model.train()(batch.inputs).logits())


def test_M13_an_input_gate_weighs_each_sample_by_itself():
    model, batch = scrambled(adapters(gate="input")), samples()
    for adapter in model.shared.values():
        adapter.gate.beta.data.normal_(generator=torch.Generator().manual_seed(2))
    whole = model(batch.inputs).logits()
    each = [model({m: x[i : i + 1] for m, x in batch.inputs.items()}).logits() for i in range(len(whole))]
    torch.testing.assert_close(whole, torch.cat(each))


# the network as one among the package's


def test_equal_networks_begin_equal_whatever_was_drawn_before():
    one = adapters(*LARGE).state_dict()
    torch.manual_seed(7)
    torch.randn(3)
    other = adapters(*LARGE).state_dict()
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_a_backbone_reads_any_of_its_modalities():
    model = adapters()
    x = inputs(BOTH)
    both, audio, motion = (model({m: x[m] for m in some}).logits() for some in (BOTH, ["audio"], ["motion"]))
    assert not torch.allclose(audio, motion)
    alone = adapters(shapes={"audio": BOTH["audio"]})
    alone.load_state_dict({n: t for n, t in model.state_dict().items() if "motion" not in n})
    assert torch.equal(alone({"audio": x["audio"]}).logits(), audio)
    assert not torch.allclose(both, audio)


@pytest.mark.parametrize("shapes", [{"s": (3, 20)}, {"p": (1, 8, 8), "v": (7,)}], ids="+".join)
def test_stems_are_chosen_by_the_shape_of_what_they_read(shapes):
    assert adapters(shapes=shapes)(inputs(shapes)).logits().shape == (5, 16)


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match=r"model\.rank 13"):
        adapters(rank=13)
    own = {"audio": EncoderOptions(width=12, depth=3), "motion": EncoderOptions(width=12, depth=1)}
    with pytest.raises(ConfigError, match="'motion' has an encoder of its own"):
        type(adapters())(BOTH, 4, ModelOptions(encoder=own["audio"]), own)
