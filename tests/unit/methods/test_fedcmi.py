"""FedCMI in rounds: reductions, clients of every type, averages, bytes (properties B5 and B8 to B13)."""

import math
from dataclasses import replace

import pytest
import torch
from infiltrating import ALIKE, CLASSIFIED, MIXED, OTHER, PROJECTED, branch, cmi, moved, reached, slices, turn
from plans import differing, finished, plan

from parse_p2p.core.types import Role
from parse_p2p.learning.objective import terms
from parse_p2p.methods import fedcmi, federation
from parse_p2p.methods.base import Local
from parse_p2p.methods.fedcmi import METHOD, FrozenTeacher, Options
from parse_p2p.methods.fedprox import pull
from parse_p2p.models.base import key_of
from parse_p2p.runtime.simulator import simulate

# B5, B8, B9: reductions


def test_B5_before_the_warm_up_is_over_lambda2_does_not_matter():
    runs = [finished(cmi(lambda2=x, warm_up=2), rounds=2)[0] for x in (0.0, 1.0)]
    assert differing(*runs) == []
    runs = [finished(cmi(lambda2=x, warm_up=2), rounds=3)[0] for x in (0.0, 1.0)]
    assert any("hub: parameters" in line for line in differing(*runs))


def test_B5_the_loss_sets_in_with_the_second_round_by_default():
    one, other = (finished(cmi(lambda2=x), rounds=1)[0] for x in (0.0, 1.0))
    assert differing(one, other) == []
    one, other = (finished(cmi(infiltration=x), rounds=2)[0] for x in ("none", "projector"))
    assert differing(one, other) != []
    assert differing(one, finished(cmi(lambda2=0.0), rounds=2)[0]) == []


def test_B8_without_its_losses_it_is_fedavg_on_the_same_network():
    plain = cmi(ALIKE)
    plain.options = Options(lambda1=0.0, lambda2=0.0)
    averaged = cmi(ALIKE)
    averaged.options = plain.options

    def client(local, options):
        return federation.client(local, options, lambda local: local.learner.train(*terms(options)))

    scripts = {Role.CLIENT: client, Role.COORDINATOR: federation.coordinator}
    averaged.method = replace(averaged.method, scripts=scripts)
    start = slices(plain.agent_state("a0").learner)
    one, other = (finished(made, rounds=3)[0] for made in (plain, averaged))
    for me in one:
        a, b = slices(one[me].learner), slices(other[me].learner)
        learnt = {name for name in a if not name.startswith((PROJECTED, CLASSIFIED))}
        assert all(torch.equal(a[name], b[name]) for name in learnt)
        assert moved(start, a) == learnt  # the others rest: not even decay reaches them


def test_B8_without_its_losses_no_gradient_reaches_projectors_and_classifiers():
    learner = turn(cmi(ALIKE), "audio+motion").learner
    found = reached(learner, fedcmi.losses.task, next(learner.batches()))
    assert found == {f"{part}.{m}" for part in ("trunk", "projector.self") for m in OTHER} | {"head.fusion"}


def test_B8_a_steepness_of_zero_is_a_temperature_of_1():
    one, other = (finished(cmi(**o), rounds=3)[0] for o in ({"kappa": 0.0}, {"class_wise": "none"}))
    assert differing(one, other) == []
    for kind in ("temperature", "weight"):
        assert differing(other, finished(cmi(class_wise=kind), rounds=3)[0]) != []


def test_B9_the_proximal_term_adds_the_displacement_to_the_gradient():
    local = turn(cmi(), "audio+motion")
    buffer, adjust = local.learner.buffer, pull(local, 0.3)
    start = buffer.values.clone()
    buffer.values.add_(torch.linspace(-1, 1, buffer.size))
    buffer.grads.fill_(0.5)
    assert adjust is not None
    adjust(buffer)
    torch.testing.assert_close(buffer.grads, 0.5 + 0.3 * (buffer.values - start))


def test_B9_the_first_step_is_unaffected_and_later_ones_are_not():
    for epochs, same in ((1, True), (2, False)):
        train = {"batch": 1000, "epochs": epochs}
        runs = [finished(cmi(mu=mu, train=train), rounds=1)[0] for mu in (0.0, 2.0)]
        assert (differing(*runs) == []) == same


def test_B9_the_displacement_shrinks_with_mu():
    found = []
    for mu in (0.0, 0.1, 1.0, 5.0):
        local = turn(cmi(mu=mu, train={"epochs": 8, "momentum": 0.0}), "audio+motion")
        start = local.learner.buffer.values.clone()
        fedcmi.train(local, Options(mu=mu))
        found.append((local.learner.buffer.values - start).norm().item())
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0.5 * found[0]


# B10: clients with one modality


@pytest.mark.parametrize("kind", OTHER)
def test_B10_a_client_with_one_modality_trains_its_infiltration_but_not_its_classifier(kind):
    local = turn(cmi(), kind, round=2)
    before = slices(local.learner)
    fedcmi.train(local, Options())
    parts = ("trunk", "projector.self", "projector.infiltration")
    assert moved(before, slices(local.learner)) == {f"{part}.{kind}" for part in parts} | {"head.fusion"}


@pytest.mark.parametrize("kind", OTHER)
def test_B10_nothing_is_distilled_into_a_client_with_one_modality(kind):
    found = []
    for options in (Options(), Options(lambda1=0.0, lambda2=0.0), Options(lambda2=9.0, direction="client_global")):
        local = turn(cmi(), kind, round=2)
        fedcmi.train(local, options)
        found.append(local.learner.buffer.values.clone())
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


@pytest.mark.parametrize(("round", "rests"), [(0, True), (1, False)])
def test_B10_a_complete_client_trains_its_infiltration_only_by_distillation(round, rests):
    local = turn(cmi(), "audio+motion", round=round)
    before = slices(local.learner)
    fedcmi.train(local, Options())
    resting = set(before) - moved(before, slices(local.learner))
    assert all(name.startswith(PROJECTED) for name in resting)
    assert bool(resting) == rests


# B11: the average


def test_B11_each_slice_is_averaged_over_its_owners_by_sample_count():
    made = cmi(MIXED, rounds=1)
    alone = {}
    for me in made.peers:
        agent = made.agent_state(me)
        agent.learner.begin(0, 1)
        fedcmi.train(Local(me, agent.role, 0, 1, agent.learner, agent.plan(0)), made.options)
        alone[me] = (agent.learner.samples, slices(agent.learner))
    agent_states, _ = finished(made)
    for name, found in slices(agent_states["hub"].learner).items():
        owners = [(n, mine[name].double()) for n, mine in alone.values() if name in mine]
        assert len(owners) == (4 if name == "head.fusion" else 3)
        expected = sum(n * x for n, x in owners) / sum(n for n, _ in owners)
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
        for me in made.peers:
            if name in (mine := slices(agent_states[me].learner)):
                assert torch.equal(mine[name], found)  # the model and the teacher of the next round


def test_B11_modules_without_an_owner_among_the_chosen_stay():
    made = cmi({"audio": 3, "motion": 1}, clients=1, rounds=6)
    agent_states = made.agent_states()
    hub = next(p for p in agent_states if p.me == "hub").learner
    states, chosen = [slices(hub)], []

    def watch(round, metrics, ledger):
        states.append(slices(hub))
        chosen.extend(made.specs[me].modalities[0] for me in ledger if me != "hub" and "hub" in ledger[me])

    simulate(agent_states, 6, watch=watch)
    assert set(chosen) == {"audio", "motion"} and len(chosen) == 6
    for kind, before, after in zip(chosen, states, states[1:], strict=False):
        found = moved(before, after)
        assert "head.fusion" in found and f"trunk.{kind}" in found
        assert not any(name.endswith(OTHER[kind]) for name in found)


# B12: bytes


@pytest.mark.parametrize("personalised", [False, True])
def test_B12_the_bytes_are_those_of_the_formula_both_ways(personalised):
    trunk, projector, classifier, fusion = 16 * 8 + 8, 8 * 12 + 12, 12 * 16 + 16, 2 * 12 * 16 + 16
    modality = trunk + projector + (0 if personalised else projector + classifier)
    made = cmi(MIXED, personalised=personalised)
    seen = []

    def watch(round, metrics, ledger):
        for me in made.peers:
            count = len(made.specs[me].modalities)
            assert sum(ledger[me]["hub"].values()) == 4 * (count * modality + fusion)
            assert ledger["hub"][me] == ledger[me]["hub"]
            assert ledger[me].keys() == {"hub"}
        seen.append(round)

    finished(made, watch=watch)
    assert seen == [0, 1, 2, 3]


def test_B12_there_are_no_messages_but_those_of_fedavg():
    topics = {}

    def tapped(script, role):
        def tap(local, options):
            inner, answer = script(local, options), None
            while True:
                try:
                    exchange = inner.send(answer)
                except StopIteration as stop:
                    return stop.value
                topics.setdefault(role, set()).add(exchange.topic)
                answer = yield exchange

        return tap

    made = cmi()
    made.method = replace(METHOD, scripts={role: tapped(script, role) for role, script in METHOD.scripts.items()})
    finished(made, rounds=2)
    assert topics == {role: {"update", "global"} for role in METHOD.scripts}


def test_B12_what_is_personalised_never_leaves_home():
    made = cmi(ALIKE, personalised=True)
    start = slices(made.agent_state("hub").learner)
    agent_states, _ = finished(made)
    kept = {name for name in start if name.startswith((PROJECTED, CLASSIFIED))}
    assert moved(start, slices(agent_states["hub"].learner)) == set(start) - kept
    one, other = (slices(agent_states[me].learner) for me in ("a0", "a1"))
    # a projector is a student's only in batches in which the other modality is dominant
    assert {f"{CLASSIFIED}{m}" for m in OTHER} < moved(one, other) <= kept


# what the coordinator says of the global model, and whole runs


def test_B13_the_coordinator_says_what_each_modality_alone_is_worth():
    made = cmi(data={"samples": 800}, rounds=3)
    agent_states, metrics = finished(made)
    said = metrics["hub"]
    kinds = {f"{how}.{m}" for how in ("alone", "zero", "own") for m in OTHER}
    assert said.keys() == kinds | {"fused", "updates"}
    assert said["fused"] == agent_states["hub"].learner.evaluate()["accuracy"]
    for me in made.peers:  # all hold the global model now
        if len(made.specs[me].modalities) == 1:
            [modality] = made.specs[me].modalities
            assert said[f"alone.{modality}"] == pytest.approx(agent_states[me].learner.evaluate()["accuracy"])


@torch.no_grad()
def test_B13_a_modality_alone_is_read_with_the_other_slot_filled_or_empty_and_by_its_own_classifier():
    learner = turn(cmi(), "audio+motion").learner
    model, x = learner.model, learner.test.inputs
    h = {m: model.trunks[key_of(m)](x[m]) for m in OTHER}
    s, i = ({m: each[key_of(m)](h[m]) for m in OTHER} for each in (model.selves, model.infiltrations))
    nothing = torch.zeros_like(s["audio"])
    want = {
        "fused": (s["audio"], s["motion"]),
        "alone.audio": (s["audio"], i["audio"]), "zero.audio": (s["audio"], nothing),
        "alone.motion": (i["motion"], s["motion"]), "zero.motion": (nothing, s["motion"]),
    }  # fmt: skip
    found = fedcmi.predictions(learner)
    assert found.keys() == want.keys() | {f"own.{m}" for m in OTHER}
    for name, slots in want.items():
        torch.testing.assert_close(found[name], torch.cat(slots, 1) @ model.fusion.weight.T + model.fusion.bias)
    for m in OTHER:
        torch.testing.assert_close(found[f"own.{m}"], model.classifiers[key_of(m)](s[m]))


def test_B13_predictions_are_those_of_evaluation():
    """Dropout and running statistics have no say in them."""
    model = {"latent": 12, "encoder": {"kind": "own_modules:Normed"}}
    learner = turn(plan({"audio+motion": 2}, method="fedcmi", encoder=None, model=model), "audio+motion").learner
    want = learner.outputs(learner.test)
    learner.model.train()
    found = fedcmi.predictions(learner)
    assert torch.equal(found["fused"], want.logits())
    assert all(torch.equal(found[f"own.{m}"], want.views[f"unimodal.{m}"]) for m in OTHER)


def test_B13_the_spread_is_the_deviation_of_the_accuracy_over_the_classes_there_are():
    targets = torch.tensor([0, 0, 1, 1, 3])
    said = torch.nn.functional.one_hot(torch.tensor([0, 1, 1, 1, 0]), 4).float()
    assert fedcmi.spread(said, targets) == pytest.approx(torch.tensor([0.5, 1.0, 0.0]).std(correction=0).item())


VARIANTS = [
    {"direction": "client_global", "personalised": True, "clients": 2, "mu": 0.1},
    {"class_wise": "weight", "infiltration": "self", "warm_up": 0, "branch": 0.5},
    {"cta_sign": 1, "lambda1": 0.0},
]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_a_resumed_run_is_the_run_that_was_not_interrupted(options):
    whole = finished(cmi(**options))[0]
    kept = {me: agent.state() for me, agent in finished(cmi(**options), rounds=2)[0].items()}
    second = cmi(**options).agent_states()
    for agent in second:
        agent.restore(kept[agent.me])
    simulate(second, 4, start=2)
    assert differing(whole, {agent.me: agent for agent in second}) == []
    assert all(agent.learner.buffer.values.isfinite().all() for agent in second)


def test_of_three_modalities_all_but_the_dominant_one_are_students():
    data = {"modalities": ["audio", "motion", "touch"], "atoms": ["redundant", "unique"]}
    mix = {"audio+motion+touch": 1, "audio+motion": 1, "touch": 1}
    local = turn(cmi(mix, data=data), "audio+motion+touch", round=1)
    taught = fedcmi.frozen_teacher(local.learner, Options())
    assert len(taught.steepness) == 3
    found = reached(local.learner, fedcmi.infiltration(replace(taught, dominant="motion"), Options()),
                    next(local.learner.batches()))  # fmt: skip
    assert found == branch("audio", "projector.infiltration") | branch("touch", "projector.infiltration")
    local = turn(cmi(mix, data=data), "audio+motion", round=0)
    before = slices(local.learner)
    fedcmi.train(local, Options())
    assert moved(before, slices(local.learner)) == set(before)  # the slot of touch needs both infiltrations
    agent_states, metrics = finished(cmi(mix, data=data), rounds=3)
    assert {f"alone.{m}" for m in data["modalities"]} <= metrics["hub"].keys()
    assert all(p.learner.buffer.values.isfinite().all() for p in agent_states.values())


def said(network, inputs, kind):
    """C_m(s_m), or C_m(i_m), of every modality."""
    found = {}
    for m in network.modalities:
        h = network.trunks[key_of(m)](inputs[m])
        projector = (network.selves if kind == "self" else network.infiltrations)[key_of(m)]
        found[m] = network.classifiers[key_of(m)](projector(h)).double()
    return found


@torch.no_grad()
def test_of_three_modalities_each_student_has_the_temperatures_of_its_pair_and_their_losses_are_summed():
    data = {"modalities": ["audio", "motion", "touch"], "atoms": ["redundant", "unique"], "samples": 600}
    learner = turn(cmi({"audio+motion+touch": 2}, data=data), "audio+motion+touch", round=1).learner
    for i, p in enumerate(learner.model.classifiers.parameters()):
        p.mul_(3.0 + i)  # so that no two gaps are alike
    options = Options(lambda2=0.7, kappa=3.0)
    taught = fedcmi.frozen_teacher(learner, options)
    y = learner.data.targets
    rows = torch.arange(len(y))
    mass = {m: z.softmax(1)[rows, y] for m, z in said(learner.model, learner.data.inputs, "self").items()}
    batch = learner.data.batch(torch.arange(64))
    views, others = (said(learner.model, batch.inputs, kind) for kind in ("self", "infiltration"))
    here = {m: z.softmax(1)[torch.arange(64), batch.targets].sum() for m, z in views.items()}
    best = max(here, key=here.get)
    want, seen = 0.0, []
    for m in sorted(set(here) - {best}):
        a, b = sorted((best, m))
        present = [c for c in range(learner.data.classes) if (y == c).any()]
        ratio = {c: float(mass[a][y == c].mean() / mass[b][y == c].mean()) for c in present}
        mean = sum(ratio.values()) / len(ratio)
        lead = {c: r / mean if mean > 1 else mean / r for c, r in ratio.items()}
        tau = {c: 1 / (1 + 3 * math.log(q)) if q > 1 else 1.0 for c, q in lead.items()}
        seen.append(tau)
        for i, c in enumerate(batch.targets.tolist()):
            target, student = (z[i] / tau[c] for z in (views[best], others[m]))
            want -= float((target.softmax(0) * student.log_softmax(0)).sum()) / 64
    assert max(abs(seen[0][c] - seen[1][c]) for c in seen[0]) > 0.1
    found = fedcmi.infiltration(taught, options)(learner.model, batch, learner.model(batch.inputs))
    assert float(found) == pytest.approx(0.7 * want, rel=1e-5)


def test_teacher_outputs_are_made_for_a_client_alone_and_once_a_round(monkeypatch):
    made, seen = cmi(), []
    original = fedcmi.frozen_teacher

    def counted(learner, options) -> FrozenTeacher:
        seen.append(learner.me)
        return original(learner, options)

    monkeypatch.setattr(fedcmi, "frozen_teacher", counted)
    finished(made, rounds=3)
    several = [me for me in made.peers if len(made.specs[me].modalities) == 2]
    assert sorted(seen) == sorted(several * 2)
