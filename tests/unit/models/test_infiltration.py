"""FedCMI's network: how the projectors, the shared classifiers and the one fusion head are wired."""

from itertools import combinations

import pytest
import torch
from plans import inputs, learner, plan
from torch.nn.functional import linear

from parse_p2p.core.types import Kind
from parse_p2p.models.base import ModelOptions, count, key_of
from parse_p2p.models.encoder import EncoderOptions
from parse_p2p.models.infiltration import Infiltration, infiltrated, own

THREE = {"audio": (16,), "motion": (3, 20), "touch": (1, 8, 8)}
TWO = {m: THREE[m] for m in ("audio", "motion")}
TYPES = [dict(t) for k in (1, 2, 3) for t in combinations(THREE.items(), k)]
ENCODER = EncoderOptions(width=8, depth=1)


def network(shapes=TWO, run=(), classes=4):
    options = ModelOptions(network="infiltration", latent=6, encoder=ENCODER, modalities=tuple(run))
    return Infiltration(shapes, classes, options, dict.fromkeys(shapes, ENCODER))


def changed(layer):
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 1
    return layer


def test_B1_one_classifier_of_each_modality_reads_both_projections():
    model, x = network(), inputs(TWO)
    said = model(x)
    for m in TWO:
        classifier, latent = model.classifiers[key_of(m)], said.latents[m][Kind.JOINT]
        torch.testing.assert_close(said.views[f"unimodal.{m}"], linear(own(latent), *classifier.parameters()))
        torch.testing.assert_close(model.infiltration(said)[m], linear(infiltrated(latent), *classifier.parameters()))
        features = model.trunks[key_of(m)](x[m])
        torch.testing.assert_close(own(latent), model.selves[key_of(m)](features))
        torch.testing.assert_close(infiltrated(latent), model.infiltrations[key_of(m)](features))
    infiltration = model.infiltration(said)["audio"]
    changed(model.classifiers[key_of("audio")])
    again = model(x)
    assert not torch.allclose(again.views["unimodal.audio"], said.views["unimodal.audio"])
    assert not torch.allclose(model.infiltration(again)["audio"], infiltration)
    assert torch.equal(again.views["unimodal.motion"], said.views["unimodal.motion"])
    assert torch.equal(again.logits(), said.logits())


@pytest.mark.parametrize("shapes", [TWO, THREE], ids="+".join)
def test_B1_the_prediction_of_a_complete_agent_is_f_of_the_self_features_alone(shapes):
    model, x = network(shapes, shapes), inputs(shapes)
    said = model(x)
    joined = torch.cat([own(said.latents[m][Kind.JOINT]) for m in sorted(shapes)], dim=1)
    torch.testing.assert_close(said.logits(), linear(joined, *model.fusion.parameters()))
    before = said.logits()
    for m in shapes:
        changed(model.infiltrations[key_of(m)])
    assert torch.equal(model(x).logits(), before)
    for m in shapes:
        changed(model.selves[key_of(m)])
    assert not torch.allclose(model(x).logits(), before)


@pytest.mark.parametrize("modality", TWO)
def test_B10_the_infiltration_feature_fills_the_slot_of_the_missing_modality(modality):
    model, x = network({modality: TWO[modality]}, TWO), inputs({modality: TWO[modality]})
    latent = model(x).latents[modality][Kind.JOINT]
    slots = {m: own(latent) if m == modality else infiltrated(latent) for m in TWO}
    said = model(x).logits()
    torch.testing.assert_close(said, linear(torch.cat(list(slots.values()), 1), *model.fusion.parameters()))
    with torch.no_grad():
        for parameter in model.infiltrations[key_of(modality)].parameters():
            parameter.zero_()
    assert not torch.allclose(model(x).logits(), said)


def test_B10_of_several_the_missing_slot_gets_their_mean():
    model = network(TWO, THREE)
    said = model(inputs(TWO))
    a, m = (said.latents[name][Kind.JOINT] for name in ("audio", "motion"))
    joined = torch.cat([own(a), own(m), (infiltrated(a) + infiltrated(m)) / 2], dim=1)
    torch.testing.assert_close(said.logits(), linear(joined, *model.fusion.parameters()))


def test_a_complete_agent_asked_with_one_modality_says_what_the_agent_with_that_one_says():
    both, x = network(), inputs(TWO)
    alone = network({"audio": TWO["audio"]}, TWO)
    alone.load_state_dict({name: tensor for name, tensor in both.state_dict().items() if name in alone.state_dict()})
    said = both(x)
    torch.testing.assert_close(both.fused(said.latents, ["audio"]), alone(x).logits())
    joined = torch.cat([own(said.latents["audio"][Kind.JOINT]), torch.zeros(5, 6)], dim=1)
    empty = both.fused(said.latents, ["audio"], fill=False)
    torch.testing.assert_close(empty, linear(joined, *both.fusion.parameters()))
    assert torch.equal(both.fused(said.latents, ["audio", "motion"]), said.logits())


@pytest.mark.parametrize("shapes", TYPES, ids="+".join)
def test_B10_an_agent_has_no_modules_of_modalities_it_lacks(shapes):
    model = network(shapes, THREE)
    parts = {"trunk", "projector.self", "projector.infiltration", "head.unimodal"}
    names = {component.name for component, _ in model.parts()}
    assert names == {f"{part}.{m}" for part in parts for m in shapes} | {"head.fusion"}
    assert sum(p.numel() for _, ps in model.parts() for p in ps.values()) == count(model)
    assert model.fusion.in_features == 3 * 6
    assert model(inputs(shapes)).branches.keys() == {"joint"}


def test_one_fusion_head_for_agents_of_every_type_with_equal_first_values():
    made = plan(mix={"audio": 1, "motion": 1, "audio+motion": 2}, method="fedcmi")
    first = {}
    for me in made.specs:
        agent = made.agent_state(me).learner
        for name, values in agent.cut(agent.buffer.regions).items():
            assert torch.equal(first.setdefault(name, values), values), (me, name)
    assert len(first) == 2 * 4 + 1


def test_the_slots_are_the_modalities_of_the_run_and_of_the_agent_without_a_run():
    assert network(TWO).slots == ("audio", "motion")
    assert network(TWO, ("touch", "motion", "audio")).slots == ("audio", "motion", "touch")


def test_the_heads_can_be_read_on_given_latents():
    model, x = network(), inputs(TWO)
    said = model(x)
    again = model.read({m: {k: z.detach() for k, z in zs.items()} for m, zs in said.latents.items()})
    assert torch.equal(again.logits(), said.logits())
    again.logits().sum().backward()
    assert model.fusion.weight.grad is not None
    assert all(p.grad is None for p in model.trunks.parameters())


@pytest.mark.parametrize("name", ["x.y", "left eye", "type"])
def test_a_modality_may_have_any_name(name):
    shapes = {name: (4,), "audio": (4,)}
    assert network(shapes)(inputs(shapes)).logits().shape == (5, 4)


def test_a_frozen_trunk_is_not_shared():
    agent = learner(method="fedcmi", encoder={"frozen": True})
    assert {r.component.part for r in agent.buffer.regions.values()} == {
        "projector.self", "projector.infiltration", "head.unimodal", "head.fusion"
    }  # fmt: skip
