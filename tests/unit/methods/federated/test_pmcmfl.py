"""PmcmFL: prototypes, a whole round, its two losses and its predictions, by hand."""

import math

import pytest
import torch
from plans import dealt, finished, plan

from parse_p2p.core.errors import SpecMismatch
from parse_p2p.core.message import Message
from parse_p2p.core.types import Kind
from parse_p2p.methods.base import Local
from parse_p2p.methods.federated import pmcmfl
from parse_p2p.methods.federated.pmcmfl import Options, network_of

SMALL = {"model": {"network": "prototyped", "latent": 3, "hidden": 4}, "method": "pmcmfl"}
MIX = {"audio": 1, "motion": 1, "audio+motion": 1}


def local(w, me, round=0):
    agent = w.agent_state(me)
    agent.learner.begin(round, w.run.rounds)
    return Local(me, agent.role, round, w.run.rounds, agent.learner, agent.plan(round), {})


def latents(learner, modality):
    return learner.outputs(learner.data).latents[modality][Kind.JOINT]


def test_prototypes_are_means_by_class():
    at = local(plan(MIX, **SMALL), "a0").learner
    found = pmcmfl.means(at)
    z = latents(at, "audio")
    assert set(found) == {"prototypes.audio", "counts.audio"}
    for c in range(at.data.classes):
        rows = at.data.targets == c
        assert found["counts.audio"][c] == rows.sum()
        want = z[rows].mean(0) if rows.any() else torch.zeros(3)
        torch.testing.assert_close(found["prototypes.audio"][c], want)


def test_prototypes_are_those_of_evaluation():
    """Dropout and running statistics have no say in them."""
    model = {"network": "prototyped", "latent": 3, "hidden": 4, "encoder": {"kind": "own_modules:Normed"}}
    at = local(plan(MIX, method="pmcmfl", encoder=None, model=model), "a0").learner
    z = latents(at, "audio")
    at.model.train()
    found, y = pmcmfl.means(at)["prototypes.audio"], at.data.targets
    for c in y.unique():
        torch.testing.assert_close(found[c], z[y == c].mean(0))


def test_the_coordinator_weighs_them_by_the_samples_of_a_class_and_keeps_what_nobody_sent():
    network = network_of(local(plan(MIX, **SMALL), "hub").learner)
    _, classes, _ = network.prototypes.shape
    network.prototypes.fill_(9.0)

    def said(value, counts):
        counted = torch.zeros(classes)
        counted[: len(counts)] = torch.tensor(counts)
        return Message({"prototypes.audio": torch.full((classes, 3), value), "counts.audio": counted})

    pmcmfl.agree(network, {"a0": said(1.0, [3.0, 0.0, 0.0]), "a1": Message({}), "a2": said(5.0, [1.0, 2.0, 0.0])})
    audio, motion = network.prototypes
    assert audio[0].tolist() == [2.0] * 3 and audio[1].tolist() == [5.0] * 3
    assert audio[2].tolist() == [9.0] * 3 and motion.unique().tolist() == [9.0]


def by_layers(network, slots):
    """The fusion written out."""
    first, _, last = network.fusion.layers
    hidden = torch.relu(torch.cat(slots) @ first.weight.T + first.bias)
    return hidden @ last.weight.T + last.bias


@torch.no_grad()
def test_the_mask_and_the_contrast_by_hand():
    w = plan(MIX, **SMALL)
    at = local(w, "a0").learner
    network = network_of(at)
    draw = torch.Generator().manual_seed(3)
    network.prototypes.copy_(torch.randn(network.prototypes.shape, generator=draw))
    unknown = 1
    network.prototypes[0, unknown] = 0.0
    batch = at.data.batch(range(12))
    outputs = network(batch.inputs)
    z = outputs.latents["audio"][Kind.JOINT]
    losses, pulls = [], []
    known = [i for i in range(12) if int(batch.targets[i]) != unknown]
    assert len(known) > 1
    for i in range(12):
        y = int(batch.targets[i])
        logits = by_layers(network, [z[i], network.prototypes[1, y]])
        losses.append(-math.log(float(logits.exp()[y] / logits.exp().sum())))
    for i in known:
        scores = [
            float(z[i] @ network.prototypes[0, batch.targets[j]])
            / float(z[i].norm() * network.prototypes[0, batch.targets[j]].norm()) / 0.5
            for j in known
        ]  # fmt: skip
        own = scores[known.index(i)]
        pulls.append(math.log(sum(map(math.exp, scores))) - own)
    assert float(pmcmfl.masked(network, batch, outputs)) == pytest.approx(sum(losses) / 12, rel=1e-4)
    found = float(pmcmfl.contrast(2.0, 0.5)(network, batch, outputs))
    assert found == pytest.approx(2 * sum(pulls) / len(pulls), rel=1e-4)
    network.prototypes.zero_()
    assert float(pmcmfl.contrast(2.0, 0.5)(network, batch, outputs)) == 0


@torch.no_grad()
def test_a_class_is_found_by_trying_all():
    at = local(plan(MIX, **SMALL), "a0").learner
    network = network_of(at)
    network.prototypes.copy_(torch.randn(network.prototypes.shape, generator=torch.Generator().manual_seed(3)))
    batch = at.data.batch(range(4))
    outputs = network(batch.inputs)
    z = outputs.latents["audio"][Kind.JOINT]
    for i in range(4):
        for c in range(at.data.classes):
            logits = by_layers(network, [z[i], network.prototypes[1, c]])
            want = float(logits[c] - logits.exp().sum().log())
            assert float(outputs.logits()[i, c]) == pytest.approx(want, abs=1e-4)
    whole = local(plan(MIX, **SMALL), "a2").learner
    network, batch = network_of(whole), whole.data.batch(range(4))
    outputs = network(batch.inputs)
    z = [outputs.latents[m][Kind.JOINT] for m in ("audio", "motion")]
    for i in range(4):
        torch.testing.assert_close(outputs.logits()[i], by_layers(network, [z[0][i], z[1][i]]))


def test_a_whole_round_by_hand():
    """Clients train, models are averaged by samples and prototypes by samples of a class, and both go down."""
    w = plan(MIX, rounds=1, partition={"kind": "dirichlet", "alpha": 0.5}, **SMALL)
    assert len({len(rows) for rows in dealt(w).shares.values()}) > 1
    ours, _ = finished(w)
    clients = {me: local(w, me) for me in w.peers}
    for at in clients.values():
        at.learner.train(pmcmfl.masked)  # the contrast sets in with the next round
    learners = {me: at.learner for me, at in clients.items()}
    for slot, m in enumerate(("audio", "motion")):
        holders = [each for each in learners.values() if m in each.model.modalities]
        z = torch.cat([latents(each, m) for each in holders])
        y = torch.cat([each.data.targets for each in holders])
        for agent in ours.values():
            found = network_of(agent.learner).prototypes[slot]
            for c, prototype in enumerate(found):
                want = z[y == c].mean(0) if (y == c).any() else torch.zeros(3)
                torch.testing.assert_close(prototype, want, rtol=1e-4, atol=1e-5)
    for me, at in clients.items():
        for key, region in at.plan.regions.items():
            owners = [other for other in clients.values() if key in other.plan.regions]
            total = sum(other.learner.samples for other in owners)
            shares = [other.learner.samples / total for other in owners]
            copies = [other.learner.buffer.view(other.plan.regions[key]) for other in owners]
            mean = sum(share * copy for share, copy in zip(shares, copies, strict=True))
            torch.testing.assert_close(ours[me].learner.buffer.view(region), mean, rtol=1e-4, atol=1e-5)


def test_everyone_ends_a_round_with_the_prototypes_of_that_round():
    ends = []
    for rounds in (1, 2):
        states, _ = finished(plan(MIX, **SMALL), rounds=rounds)
        found = [network_of(agent.learner).prototypes for agent in states.values()]
        assert all(torch.equal(found[0], each) for each in found)
        ends.append(found[0])
    assert all(each.any(2).all() for each in ends) and not torch.equal(*ends)


def test_the_contrast_sets_in_after_the_warm_up():
    def end(rounds, **options):
        return finished(plan(MIX, options=options, **SMALL), rounds=rounds)[0]["a0"].learner.buffer.values

    assert torch.equal(end(1), end(1, contrast=0.0))
    assert not torch.equal(end(2), end(2, contrast=0.0))
    assert torch.equal(end(2, warm_up=2), end(2, contrast=0.0))


@pytest.mark.parametrize("given", [{}, {"contrast": 0.7}, {"temperature": 0.9}, {"warm_up": 3}], ids=str)
def test_training_after_the_first_round_has_the_contrast_by_its_weight_and_temperature(given):
    def end(train):
        at = local(plan(MIX, **SMALL), "a0", round=1)
        draw = torch.Generator().manual_seed(3)
        network_of(at.learner).prototypes.copy_(torch.randn(network_of(at.learner).prototypes.shape, generator=draw))
        train(at)
        return at.learner.buffer.values

    values = {"contrast": 0.1, "temperature": 0.2} | given
    terms = [
        pmcmfl.masked,
        *([] if "warm_up" in given else [pmcmfl.contrast(values["contrast"], values["temperature"])]),
    ]
    found = end(lambda at: pmcmfl.train(at, Options(**given)))
    assert torch.equal(found, end(lambda at: at.learner.train(*terms)))
    assert given in ({}, {"warm_up": 3}) or not torch.equal(found, end(lambda at: pmcmfl.train(at, Options())))
    assert Options().warm_up == 1


def test_what_is_no_update_is_refused():
    w = plan(MIX, **SMALL)
    hub, a0 = local(w, "hub"), local(w, "a0")
    good = pmcmfl.update(a0)
    pmcmfl.counted(hub)("a0", good)
    name = next(iter(name for name in good.tensors if name.startswith("counts")))
    for wrong in (
        {name: good.tensors[name] - 1000},
        {name: good.tensors[name] * 1e9},
        {name: good.tensors[name] * 1.5},
        {name: good.tensors[name][:-1]},
        {"prototypes.motion": good.tensors["prototypes.audio"]},
        {"prototypes.audio": torch.full_like(good.tensors["prototypes.audio"], float("nan"))},
    ):
        with pytest.raises(SpecMismatch):
            pmcmfl.counted(hub)("a0", Message({**good.tensors, **wrong}, good.meta))
    with pytest.raises(SpecMismatch):
        pmcmfl.counted(hub)("a0", Message({n: t for n, t in good.tensors.items() if n != name}, good.meta))
    with pytest.raises(SpecMismatch):
        pmcmfl.partly(a0)("hub", Message({"prototypes": torch.zeros(1, 2, 3)}))
    pmcmfl.partly(a0)("hub", Message({}))
    assert Options().contrast > 0
