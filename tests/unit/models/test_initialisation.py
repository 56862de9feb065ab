"""First values after He: variances from the paper, layer by layer; and what stands before a rectifier."""

import pytest
import torch
from plans import inputs, network, plan
from torch import nn

from parse_p2p.core.types import Modality
from parse_p2p.data.kinds import TokenShape
from parse_p2p.models.base import initialise, key_of, rectified
from parse_p2p.models.encoder import EncoderOptions, trunk
from parse_p2p.models.lora.backbone import Layer

HE = {"model": {"initialisation": "he"}}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("gain", "before"), [(2, True), (1, False)])
@pytest.mark.parametrize("layer", [nn.Linear(300, 200), nn.Conv1d(30, 200, 10), nn.Conv2d(3, 200, (10, 10))])
def test_he_has_the_variance_of_the_paper_within_its_bound(layer, gain, before):
    initialise(layer, generator(), "he", {layer} if before else ())
    assert layer.weight.var().item() == pytest.approx(gain / 300, rel=0.03)
    bound = (3 * gain / 300) ** 0.5
    assert 0.99 * bound < layer.weight.abs().max().item() <= bound
    assert not layer.bias.any()


def test_uniform_is_drawn_as_ever_weight_before_bias():
    layer, draw = nn.Linear(16, 3), generator(4)
    initialise(layer, generator(4), rectified={layer})
    assert torch.equal(layer.weight, nn.init.uniform_(torch.empty(3, 16), -0.25, 0.25, generator=draw))
    assert torch.equal(layer.bias, nn.init.uniform_(torch.empty(3), -0.25, 0.25, generator=draw))


def test_embeddings_have_no_fan_in_and_stay_as_they_were():
    layers = [nn.Embedding(9, 4) for _ in range(2)]
    for layer, law in zip(layers, ("he", "uniform"), strict=True):
        initialise(layer, generator(), law, layers)
    assert torch.equal(layers[0].weight, layers[1].weight)


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_trunks_and_the_hidden_layer_of_the_fusion_are_rectified_and_nothing_else(norm):
    shapes = {Modality("a"): (5,), Modality("b"): (3, 9), Modality("c"): (1, 4, 4), Modality("d"): TokenShape((6,), 9)}
    model = network(shapes=shapes, encoder=EncoderOptions(norm=norm, width=8), fusion="mlp")
    found = rectified(model)
    heads = model.heads[key_of("synergistic")].layers
    wanted = {m for m in model.trunks.modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d)} | {heads[0]}
    assert found == wanted and len(found) == 2 + 2 + 3 + 2 + 1


def test_what_has_parameters_stands_between_a_layer_and_its_rectifier():
    first, second, third, layer = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2), Layer(2)
    steps = nn.Sequential(first, nn.LayerNorm(2), nn.ReLU(), second, nn.Dropout(), nn.LeakyReLU(), third)
    assert rectified(nn.ModuleList([steps, layer])) == {second, layer.up}


def test_he_keeps_the_size_of_signals_through_a_deep_trunk_where_uniform_loses_it():
    x = inputs({"x": (64,)}, 200)["x"]
    sizes = {}
    for law in ("uniform", "he"):
        deep = trunk((64,), EncoderOptions(width=64, depth=10, norm="none"))
        initialise(deep, generator(), law, rectified(deep))
        sizes[law] = deep(x).square().mean().item()
    assert sizes["uniform"] < 0.05 and 0.2 < sizes["he"] < 5


@pytest.mark.parametrize(
    ("method", "kind"),
    [("parse", "fission"), ("dsgd-task", "monolithic"), ("fedcmi", "infiltration"), ("fedafd", "embedding")],
)
def test_every_network_begins_so_and_equal_agents_alike(method, kind):
    made = plan({"audio+motion": 2}, method=method, model={"network": kind, **HE["model"], "encoder": {"width": 30}})
    first, second = (made.agent_state(me).learner for me in made.peers)
    assert torch.equal(first.buffer.values, second.buffer.values)
    linear = [m for m in first.model.modules() if isinstance(m, nn.Linear) and m.weight.requires_grad]
    before = rectified(first.model)
    assert linear and before
    for layer in linear:
        gain = 2 if layer in before else 1
        assert layer.bias is None or not layer.bias.any()
        assert layer.weight.abs().max() <= (3 * gain / layer.in_features) ** 0.5
    largest = max(each.weight.abs().max().item() * each.in_features**0.5 for each in linear if each in before)
    assert largest > 3**0.5, "a rectified layer is wider than one that is not"


def test_the_rows_of_a_slice_have_the_law_of_the_whole_latent():
    made = plan({"audio+motion": 2}, model={**HE["model"], "latent": 600, "encoder": {"width": 50}})
    rows = made.agent_state("a0").learner.model.rows[key_of("audio")]
    for layer in rows.values():
        assert layer.weight.var().item() == pytest.approx(1 / 50, rel=0.03)


def test_the_backbone_of_fedmosaic_begins_so_too():
    made = plan({"audio+motion": 2}, method="fedmosaic", model={**HE["model"], "encoder": {"width": 40}})
    layer = made.agent_state("a0").learner.model.layers[0]
    assert layer.up.weight.var().item() == pytest.approx(2 / 40, rel=0.1)
    assert layer.down.weight.var().item() == pytest.approx(1 / layer.down.in_features, rel=0.1)
