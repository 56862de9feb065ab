"""Every encoder that is found: shapes, depths, gradients, and first values that come from one generator alone."""

import pytest
import torch
from plans import inputs, plan
from pydantic import ValidationError

from parse_p2p.core import plugins
from parse_p2p.core.errors import ConfigError
from parse_p2p.data.kinds import TokenShape
from parse_p2p.data.schema import BY_AXES
from parse_p2p.models.base import initialise
from parse_p2p.models.encoder import EncoderOptions, args_of, trunk

SHAPES: dict[int, list[tuple[int, ...]]] = {
    1: [(1,), (16,), (561,)],
    2: [(1, 1), (3, 20), (6, 128)],
    3: [(1, 1, 1), (1, 4, 4), (3, 9, 5)],
}
TOKENS = [TokenShape((1,), 2), TokenShape((9,), 40, padding=3)]
KINDS = [kind for kind in plugins.known(plugins.ENCODERS) if args_of(kind) is None]
"""Those that are as wide and deep as asked for; others, see ``test_trunks_of_libraries.py``, are told what to be."""


def accepted(kind):
    """The shapes an encoder is tried on: those of its kind of input, and for a new kind whatever it can take."""
    if kind == "tokens":
        return TOKENS
    mine = [shape for axes, name in BY_AXES.items() if name == kind for shape in SHAPES[axes]]
    return mine or [s for shapes in SHAPES.values() for s in shapes if takes(kind, s)]


def takes(kind, shape):
    try:
        trunk(shape, EncoderOptions(kind=kind))(torch.zeros(5, *shape))
    except (RuntimeError, ValueError, IndexError, ConfigError):
        return False
    return True


CASES = [(kind, shape) for kind in KINDS for shape in accepted(kind)]


def test_every_kind_of_input_has_an_encoder():
    assert set(BY_AXES.values()) <= set(KINDS)
    assert {kind for kind, _ in CASES} == set(KINDS)


@pytest.mark.parametrize(("kind", "shape"), CASES)
@pytest.mark.parametrize(("width", "depth"), [(1, 1), (8, 2), (24, 4)])
def test_an_encoder_gives_as_many_features_as_asked_for(kind, shape, width, depth):
    encoder = trunk(shape, EncoderOptions(kind=kind, width=width, depth=depth))
    for count in (1, 5):
        features = encoder(inputs({"x": shape}, count)["x"])
        assert features.shape == (count, width)
        assert features.isfinite().all()


@pytest.mark.parametrize(("kind", "shape"), CASES)
def test_depth_adds_parameters_and_width_too(kind, shape):
    def size(**options):
        return sum(p.numel() for p in trunk(shape, EncoderOptions(kind=kind, **options)).parameters())

    assert size(depth=1) < size(depth=2) < size(depth=3)
    assert size(width=16) < size(width=32)


@pytest.mark.parametrize(("kind", "shape"), CASES)
def test_a_row_is_encoded_by_itself(kind, shape):
    encoder, x = trunk(shape, EncoderOptions(kind=kind)).eval(), inputs({"x": shape})["x"]
    torch.testing.assert_close(encoder(x)[2:3], encoder(x[2:3]), rtol=1e-4, atol=1e-6)


@torch.no_grad()
def larger(module):
    """All layers, but for embeddings, times a hundred."""
    for name, p in module.named_parameters():
        p.mul_(1 if name.startswith("embedding") else 100)


@pytest.mark.parametrize(("kind", "shape"), CASES)
def test_a_norm_takes_the_scale_of_a_layer_out_and_adds_no_parameter(kind, shape):
    plain, encoder = (trunk(shape, EncoderOptions(kind=kind, width=8, norm=norm)) for norm in ("none", "layer"))
    assert [p.shape for p in encoder.parameters()] == [p.shape for p in plain.parameters()]
    x = inputs({"x": shape})["x"]
    for module in (encoder, plain):
        initialise(module, torch.Generator().manual_seed(0))
        larger(module)  # so that a variance is far above what is added to it
    before, shallow = encoder(x), plain(x)
    torch.testing.assert_close(before[2:3], encoder(x[2:3]), rtol=1e-4, atol=1e-6)
    for module in (encoder, plain):
        larger(module)
    torch.testing.assert_close(encoder(x), before, rtol=1e-2, atol=1e-2)
    assert not torch.allclose(plain(x), shallow, rtol=0.5, atol=0.5)


@pytest.mark.parametrize("kind", ["vector", "image", "tokens"])
def test_the_features_of_a_sample_have_mean_0_and_variance_1(kind):
    shape = {"vector": (7,), "image": (1, 6, 6), "tokens": TokenShape((5,), 9)}[kind]
    encoder = trunk(shape, EncoderOptions(kind=kind, width=40, norm="layer"))
    initialise(encoder, torch.Generator().manual_seed(0))
    said = encoder(inputs({"x": shape})["x"])
    torch.testing.assert_close(said.mean(1), torch.zeros(5), rtol=0, atol=1e-5)
    torch.testing.assert_close(said.var(1, correction=0), torch.ones(5), rtol=1e-2, atol=1e-2)


def test_a_norm_of_tokens_does_not_see_padding():
    encoder = trunk(TokenShape((4,), 40, padding=3), EncoderOptions(kind="tokens", width=8, norm="layer"))
    initialise(encoder, torch.Generator().manual_seed(0))
    longer = torch.tensor([[5, 7, 9, 3, 3, 3]])
    torch.testing.assert_close(encoder(longer[:, :3]), encoder(longer))


def test_a_norm_is_there_by_default_and_in_the_label_where_it_is_not():
    assert EncoderOptions().norm == "layer" and EncoderOptions().label == "auto-64x2"
    assert EncoderOptions(norm="none").label == "auto-64x2-no-norm"


def test_a_norm_is_refused_where_it_means_nothing_and_left_out_where_nobody_asked_for_it():
    with pytest.raises(ValidationError, match="of one feature nothing is left once it is normalised"):
        EncoderOptions(width=1, norm="layer")
    with pytest.raises(ValidationError, match="the encoder 'timm' does not know it: give it what it knows as args"):
        EncoderOptions(kind="timm", args={"name": "resnet18"}, norm="layer")
    changed = EncoderOptions(norm="layer").changed({"kind": "timm", "args": {"name": "resnet18"}})
    assert not {"norm", "width", "depth"} & EncoderOptions.model_validate(changed).model_dump().keys()
    assert EncoderOptions(width=1).norm == "none"
    narrow = EncoderOptions.model_validate(EncoderOptions(width=1).model_dump())
    assert narrow == EncoderOptions(width=1) and narrow.label == "auto-1x2-no-norm"
    wider = EncoderOptions(width=1).changed({"width": 64})
    assert EncoderOptions.model_validate(wider).norm == "layer", "it was left out for one feature alone"
    for common in (EncoderOptions(), EncoderOptions.model_validate(EncoderOptions(norm="layer").model_dump())):
        assert EncoderOptions.model_validate(common.changed({"width": 1})).norm == "none"
        with pytest.raises(ValidationError, match="of one feature nothing is left"):
            EncoderOptions.model_validate(common.changed({"width": 1, "norm": "layer"}))
        assert EncoderOptions.model_validate(common.changed({"width": 2})).norm == "layer"


@pytest.mark.parametrize(("kind", "shape"), CASES)
def test_gradients_reach_every_parameter_unless_it_is_frozen(kind, shape):
    encoder = trunk(shape, EncoderOptions(kind=kind))
    (encoder(inputs({"x": shape}, 40)["x"]) * torch.arange(64)).sum().backward()  # of what is normalised the sum is 0
    assert all(p.grad is not None and p.grad.any() for p in encoder.parameters())
    frozen = trunk(shape, EncoderOptions(kind=kind, frozen=True))
    assert not any(p.requires_grad for p in frozen.parameters())


@pytest.mark.parametrize(("kind", "shape"), CASES)
def test_first_values_come_from_the_generator_given_and_no_other(kind, shape):
    def first(seed, seed_outside):
        torch.manual_seed(seed_outside)
        encoder = trunk(shape, EncoderOptions(kind=kind))
        initialise(encoder, torch.Generator().manual_seed(seed))
        return torch.cat([t.flatten() for t in encoder.state_dict().values()])

    assert torch.equal(first(0, 1), first(0, 2))
    assert not torch.equal(first(0, 1), first(1, 1))


@pytest.mark.parametrize("axes", BY_AXES)
def test_auto_chooses_by_the_shape_of_the_input(axes):
    shape = SHAPES[axes][1]
    chosen, named = (trunk(shape, EncoderOptions(kind=kind)) for kind in ("auto", BY_AXES[axes]))
    assert [p.shape for p in chosen.parameters()] == [p.shape for p in named.parameters()]


def test_an_unknown_encoder_is_refused_by_name():
    with pytest.raises(ConfigError, match="there is no encoder 'serie': did you mean 'series'"):
        plan(encoder={"kind": "serie"})


@pytest.mark.parametrize("kind", ["series", "image", "tokens"])
def test_an_encoder_for_another_kind_of_input_is_a_config_error(kind):
    with pytest.raises(ConfigError, match="encoder"):
        plan(encoder={"kind": kind}).agent_state("a0").learner.evaluate()
