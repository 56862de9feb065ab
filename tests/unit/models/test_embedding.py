"""The network whose modalities end in unit vectors: rows, gates, discriminators, and the coordinator's encoders."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plans import BOTH, inputs

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.rng import seeded
from parse_p2p.core.types import Kind
from parse_p2p.models.base import ModelOptions, count, initialise, key_of
from parse_p2p.models.embedding import Embedding, Gate
from parse_p2p.models.encoder import EncoderOptions
from parse_p2p.models.parameter_buffer import ParameterBuffer

SIZE = 16
AUDIO = {"audio": (16,)}
MIXED = {"a.left": (7,), "b": (3, 20), "c": (1, 8, 8)}


def made(shapes=BOTH, seed=0, encoder=EncoderOptions(width=8, depth=1), own=None):  # noqa: B008 -- frozen
    options = ModelOptions(network="embedding", latent=SIZE, hidden=8, encoder=encoder)
    model = Embedding(shapes, 4, options, dict.fromkeys(shapes, own or encoder))
    for name, module in model.initialised_apart():
        initialise(module, seeded(seed, name))
    return model


def served(model, seed=1):
    """The network with the encoders of a coordinator, and the coordinator."""
    hub = made({m: tuple(BOTH[m]) for m in BOTH}, seed)
    model.receive({m: hub.encoder(m) for m in model.modalities})
    return model, hub


def force(model, value):
    """Every gate wholly open (1) or wholly closed (0)."""
    for m in model.modalities:
        for branch in (*model.gate(m).first, *model.gate(m).second):
            torch.nn.init.zeros_(branch[-1].weight)
            torch.nn.init.constant_(branch[-1].bias, 100.0 if value else -100.0)


@pytest.mark.parametrize("shapes", [AUDIO, BOTH, MIXED], ids=len)
def test_rows_are_unit_vectors_of_the_common_width(shapes):
    model = made(shapes, own=EncoderOptions(width=5, depth=3))
    for m, x in inputs(shapes, 20).items():
        rows = model.embed(m, x)
        assert rows.shape == (20, SIZE)
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(20))


def test_components_hold_every_parameter_once_and_no_buffer():
    for shapes in (AUDIO, BOTH, MIXED):
        model = made(shapes)
        names = [component.name for component, _ in model.parts()]
        assert len(names) == len(set(names)) == 5 * len(shapes) + (len(shapes) > 1)
        assert sum(p.numel() for _, ps in model.parts() for p in ps.values()) == count(model)
        assert ParameterBuffer(model.parts(), torch.device("cpu")).size == count(model)
    parts = {component.part for component, _ in made().parts()}
    assert parts == {"trunk", "rows.joint", "head.unimodal", "head.joint", "gate", "discriminator"}


def test_an_agent_with_one_modality_says_one_thing_and_one_with_several_a_joint_one():
    assert made(AUDIO)(inputs(AUDIO)).branches.keys() == {"unimodal.audio"}
    said = made()(inputs(BOTH))
    assert said.branches.keys() == {"joint"}
    assert said.views.keys() == {"unimodal.audio", "unimodal.motion"}
    assert said.logits().shape == (5, 4)


@torch.no_grad()
def test_of_samples_that_lack_a_modality_the_heads_of_the_others_speak():
    model, x = made(MIXED), inputs(MIXED)
    said = model({"a.left": x["a.left"], "c": x["c"]})
    features = {m: SIZE**0.5 * model.embed(m, x[m]) for m in ("a.left", "c")}
    logits = [model.heads[key_of(m)](z) for m, z in features.items()]
    assert said.branches.keys() == said.views.keys() == {"unimodal.a.left", "unimodal.c"}
    torch.testing.assert_close(said.logits(), logits[0] + logits[1])


def test_heads_read_given_latents():
    model = made()
    said = model(inputs(BOTH))
    assert torch.equal(model.read(said.latents).logits(), said.logits())


def test_without_an_encoder_of_the_coordinator_the_local_rows_are_the_latents():
    model, x = made(), inputs(BOTH)
    latents = model(x).latents
    assert all(torch.equal(latents[m][Kind.JOINT], model.embed(m, x[m])) for m in BOTH)
    served(model)
    assert not any(torch.equal(model(x).latents[m][Kind.JOINT], latents[m][Kind.JOINT]) for m in BOTH)


@pytest.mark.parametrize("shapes", [AUDIO, BOTH], ids=len)
def test_a_received_encoder_gives_the_coordinators_rows(shapes):
    model, hub = served(made(shapes, own=EncoderOptions(width=5, depth=3)))
    for m, x in inputs(shapes).items():
        assert torch.equal(model.embed_globally(m, x), hub.embed(m, x))
        assert model.encoder_size(m) == hub.encoder(m).numel()


def test_a_received_encoder_is_kept_with_the_state_and_takes_no_gradient():
    model, _ = served(made())
    again = made()
    again.load_state_dict(model.state_dict())
    x = inputs(BOTH)
    assert torch.equal(again(x).logits(), model(x).logits())
    assert not any(name.startswith("coordinators") for name, _ in model.named_parameters())
    assert not model.embed_globally("audio", x["audio"]).requires_grad


def test_a_frozen_trunk_of_the_coordinator_is_sent_too():
    frozen = EncoderOptions(width=8, depth=1, frozen=True)
    model, hub = made(AUDIO, encoder=frozen), made(AUDIO, 1, encoder=frozen)
    model.receive({"audio": hub.encoder("audio")})
    x = inputs(AUDIO)["audio"]
    assert torch.equal(model.embed_globally("audio", x), hub.embed("audio", x))


def test_A4_open_gates_give_the_local_path_and_closed_ones_the_coordinators():
    model, x = made(), inputs(BOTH)
    alone = model(x).logits()
    _, hub = served(model)
    force(model, 1)
    assert torch.equal(model(x).logits(), alone)
    force(model, 0)
    theirs = {m: {Kind.JOINT: hub.embed(m, x[m])} for m in BOTH}
    assert torch.equal(model(x).logits(), model.read(theirs).logits())


@given(seed=st.integers(0, 10_000), reuse=st.booleans())
def test_A4_fused_rows_lie_between_both_in_every_coordinate(seed, reuse):
    gate = Gate(SIZE)
    rng = torch.Generator().manual_seed(seed)
    gate.reset(rng)
    a, g = torch.randn(2, 6, SIZE, generator=rng)
    fused = gate(a, g, reuse)
    assert bool((fused >= torch.minimum(a, g) - 1e-6).all()) and bool((fused <= torch.maximum(a, g) + 1e-6).all())
    assert torch.equal(gate(a, a, reuse), a)


def test_gates_of_the_authors_code_share_the_second_branch_and_serve_all_modalities():
    model, x = served(made())[0], inputs(BOTH)
    apart = model(x).logits()
    model.shared.fill_(1)
    assert model.gate("motion") is model.gate("audio") is model.gates[key_of("audio")]
    assert model.discriminators("motion") == model.discriminators("audio")
    together = model(x).logits()
    assert not torch.equal(together, apart)
    torch.nn.init.normal_(model.gates[key_of("audio")].second[1][0].weight)
    assert torch.equal(model(x).logits(), together)  # built, never used


def test_a_gate_drawn_anew_forgets_all_it_learnt():
    gate, fresh = Gate(SIZE), Gate(SIZE)
    for p in gate.parameters():
        torch.nn.init.normal_(p)
    gate.reset(seeded(3))
    fresh.reset(seeded(3))
    assert all(torch.equal(p, q) for p, q in zip(gate.parameters(), fresh.parameters(), strict=True))


def test_discriminators_give_one_logit_a_row_each_from_parameters_of_its_own():
    model = made()
    rows = model.embed("audio", inputs(BOTH)["audio"])
    said = [judge(rows) for m in BOTH for judge in model.discriminators(m)]
    assert all(s.shape == (5, 1) for s in said)
    assert len({id(p) for m in BOTH for judge in model.discriminators(m) for p in judge.parameters()}) == 4 * 6


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_very_narrow_network_still_runs(size):
    model = Embedding(AUDIO, 4, ModelOptions(latent=size), {"audio": EncoderOptions()})
    model.receive({"audio": torch.ones(model.encoder_size("audio"))})
    assert model(inputs(AUDIO)).logits().shape == (5, 4)


def test_an_encoder_of_another_size_is_refused_by_torch_before_anything_is_written():
    model = made(AUDIO)
    with pytest.raises(RuntimeError):
        model.receive({"audio": torch.zeros(model.encoder_size("audio") + 1)})
    assert not model.present


def test_an_encoder_that_does_not_fit_the_input_is_a_config_error():
    with pytest.raises(ConfigError, match="encoder"):
        made(AUDIO, encoder=EncoderOptions(kind="image"))
