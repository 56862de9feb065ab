"""FedCMI: the properties of its losses (B2 to B9) and of whole rounds (B5, B8, B10 to B12)."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import kl_div
from worlds import differing, finished, world

from parse_p2p.methods import fedcmi, federation
from parse_p2p.methods.base import Local
from parse_p2p.methods.fedcmi import METHOD, Lesson, Options
from parse_p2p.methods.fedprox import pull
from parse_p2p.models.base import key_of
from parse_p2p.names import Role
from parse_p2p.simulate import simulate

MIXED = {"audio": 1, "motion": 1, "audio+motion": 2}
ALIKE = {"audio+motion": 3}
OTHER = {"audio": "motion", "motion": "audio"}
PROJECTED, CLASSIFIED = "projector.infiltration.", "head.unimodal."


def cmi(mix=MIXED, **options):
    changes = {name: options.pop(name) for name in ("train", "rounds", "data", "model") if name in options}
    return world(mix=mix, method="fedcmi", options=options, **changes)


def turn(made, kind, round=0):
    """What the script of the first agent that senses ``kind`` would see."""
    me = next(me for me, seat in made.seats.items() if "+".join(seat.modalities) == kind and me != "hub")
    agent = made.participant(me)
    agent.learner.begin(round, made.run.rounds)
    return Local(me, agent.role, round, made.run.rounds, agent.learner, agent.plan(round), agent.memory)


def slices(learner):
    return learner.cut(learner.arena.regions)


def moved(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


def reached(learner, term, batch):
    """The components that a loss gives a gradient."""
    learner.arena.grads.zero_()
    term(learner.model, batch, learner.model(batch.inputs)).backward()
    regions = learner.arena.regions.items()
    return {name for name, r in regions if bool(learner.arena.grads[r.start : r.stop].any())}


def branch(modality, *parts):
    return {f"{part}.{modality}" for part in ("trunk", *parts, "head.unimodal")}


# B2 to B4: who teaches whom


@pytest.mark.parametrize(("into", "part"), [("projector", "projector.infiltration"), ("self", "projector.self")])
@pytest.mark.parametrize("weak", OTHER)
def test_B2_the_infiltration_loss_reaches_only_the_weak_modality(weak, into, part):
    local = turn(cmi(), "audio+motion")
    options = Options(infiltration=into)
    taught = replace(fedcmi.lesson(local.learner, options), dominant=OTHER[weak])
    found = reached(local.learner, fedcmi.infiltration(taught, options), next(local.learner.batches()))
    assert found == branch(weak, part)


def test_B3_the_teacher_is_a_frozen_copy_of_the_model_the_round_began_with():
    local = turn(cmi(), "audio+motion", round=1)
    learner = local.learner
    began = learner.outputs(learner.data).views
    learner.model.train()
    taught = fedcmi.lesson(learner, Options())
    assert not any(module.training for module in taught.teacher.modules())
    assert not any(p.requires_grad for p in taught.teacher.parameters())
    learner.train(fedcmi.infiltration(taught, Options()), fedcmi.losses.task)
    said = taught.teacher(learner.data.inputs).views
    assert all(torch.equal(said[name], began[name]) for name in began)
    assert not torch.equal(learner.outputs(learner.data).views["unimodal.audio"], said["unimodal.audio"])


def test_B3_a_change_of_the_local_dominant_branch_leaves_the_loss():
    local = turn(cmi(), "audio+motion")
    taught = replace(fedcmi.lesson(local.learner, Options()), dominant="audio")
    batch = next(local.learner.batches())

    def loss():
        model = local.learner.model
        return fedcmi.infiltration(taught, Options())(model, batch, model(batch.inputs)).item()

    before = loss()
    with torch.no_grad():
        for name in branch("audio", "projector.self", "projector.infiltration"):
            local.learner.arena.view(local.learner.arena.regions[name]).add_(1)
    assert loss() == before


def leaning(local, **mass):
    """Make the local classifiers say nothing but a constant logit ``mass`` for class 0; a batch of that class."""
    for m, logit in mass.items():
        classifier = local.learner.model.classifiers[key_of(m)]
        with torch.no_grad():
            classifier.weight.zero_()
            classifier.bias.zero_()
            classifier.bias[0] = logit
    batch = next(local.learner.batches())
    return replace(batch, targets=torch.zeros_like(batch.targets))


@pytest.mark.parametrize(
    ("masses", "weak"),
    [
        ({"audio": 2.0, "motion": 1.0}, "motion"),
        ({"audio": 1.0, "motion": 2.0}, "audio"),
        ({"audio": 1.0, "motion": 1.0}, "audio"),  # a tie: the last by name teaches
    ],
)
def test_B4_the_modality_with_more_true_class_mass_in_the_batch_teaches(masses, weak):
    local = turn(cmi(), "audio+motion")
    taught = fedcmi.lesson(local.learner, Options())
    batch = leaning(local, **masses)
    found = reached(local.learner, fedcmi.infiltration(taught, Options()), batch)
    # a classifier without weights lets no gradient through to what lies below it
    assert found == {f"head.unimodal.{weak}"}


def test_B4_the_direction_may_be_the_global_models_for_a_whole_round():
    local = turn(cmi(), "audio+motion")
    options = Options(direction="client_global")
    leaning(local, audio=-5.0, motion=0.0)
    taught = fedcmi.lesson(local.learner, options)
    masses = fedcmi.own_logits(local.learner.model, local.learner.data)
    sums = {m: fedcmi.true_mass(z, local.learner.data.targets).sum() for m, z in masses.items()}
    assert taught.dominant == max(sums, key=sums.get)
    batch = leaning(local, audio=9.0, motion=0.0) if taught.dominant == "motion" else leaning(local, motion=9.0)
    found = reached(local.learner, fedcmi.infiltration(taught, options), batch)
    assert found <= branch(OTHER[taught.dominant], "projector.infiltration") and found


# B6: temperatures


def flat(means, count=2):
    """Samples of every class whose true-class mass is that class's mean; and their targets."""
    return torch.tensor(means).repeat_interleave(count), torch.arange(len(means)).repeat_interleave(count)


def temperatures(first, second, kappa=2.0, sign=-1):
    a, targets = flat(first)
    b, _ = flat(second)
    steep = fedcmi.steepness(fedcmi.gap(a, b, targets, len(first)), kappa)
    return fedcmi.class_wise(steep, Options(cta_sign=sign))[0]


means = st.lists(st.tuples(st.floats(1e-6, 1), st.floats(1e-6, 1)), min_size=1, max_size=6)


@given(means=means, kappa=st.floats(0, 20))
def test_B6_temperatures_lie_in_0_to_1_and_are_1_at_or_below_the_mean_gap(means, kappa):
    first, second = zip(*means, strict=True)
    found = temperatures(first, second, kappa)
    assert ((found > 0) & (found <= 1)).all()
    ratio = torch.tensor(first).double() / torch.tensor(second).double()
    mean = ratio.mean()
    lead = ratio / mean if mean > 1 else mean / ratio
    assert (found[lead < 1 - 1e-9] == 1).all()
    torch.testing.assert_close(found, 1 / (1 + kappa * lead.clamp(min=1).log()))


@pytest.mark.parametrize("ratio", [0.25, 1.0, 4.0])
def test_B6_equal_ratios_give_the_temperature_1(ratio):
    first = [0.2 * ratio, 0.1 * ratio, 0.05 * ratio]
    torch.testing.assert_close(temperatures(first, [0.2, 0.1, 0.05]), torch.ones(3).double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("gap", "temperature"), [(0.2, 1.0), (1.0, 1.0), (1.5, 0.55), (2.0, 0.42), (4.0, 0.27)])
def test_B6_the_temperature_falls_with_the_gap(gap, temperature):
    steep = fedcmi.steepness(torch.tensor([gap]).double(), 2.0)
    assert fedcmi.class_wise(steep, Options())[0].item() == pytest.approx(temperature, abs=0.005)
    assert fedcmi.class_wise(steep, Options(cta_sign=1))[0].item() == pytest.approx(1 / temperature, rel=0.02)


@given(low=st.floats(1, 100), more=st.floats(0.01, 100), kappa=st.floats(0.1, 20))
def test_B6_the_temperature_is_strictly_monotone(low, more, kappa):
    one, other = (1 / fedcmi.steepness(torch.tensor([q]).double(), kappa).item() for q in (low, low + more))
    assert other < one


def test_B6_an_absent_class_has_the_temperature_1_and_no_say_in_the_mean():
    mass, other, targets = torch.tensor([0.8, 0.2]), torch.tensor([0.2, 0.2]), torch.tensor([0, 2])
    found = fedcmi.gap(mass, other, targets, 4)
    torch.testing.assert_close(found, torch.tensor([4 / 2.5, 1, 1 / 2.5, 1]).double())
    assert fedcmi.steepness(found, 2.0)[[1, 3]].tolist() == [1, 1]


def test_B6_the_lead_of_the_second_modality_counts_where_it_leads_in_the_mean():
    found = fedcmi.gap(torch.tensor([0.1, 0.1]), torch.tensor([0.8, 0.2]), torch.tensor([0, 1]), 2)
    torch.testing.assert_close(found, torch.tensor([2.5, 0.625]).double())  # r = 1/8, 1/2; r̄ = 5/16


def test_B6_a_class_whose_mass_is_zero_still_has_a_temperature():
    found = temperatures([0.5, 0.5], [0.0, 0.5])
    assert ((found > 0) & (found <= 1)).all()


def test_B6_a_lesson_measures_the_model_on_all_local_samples():
    learner = turn(cmi(), "audio+motion").learner
    found = fedcmi.lesson(learner, Options(kappa=3.0)).steepness[frozenset(OTHER)]
    p = {m: learner.outputs(learner.data).views[f"unimodal.{m}"].softmax(1).double() for m in OTHER}
    classes = sorted(set(learner.data.targets.tolist()))
    ratio = {c: float(p["audio"][rows, c].mean() / p["motion"][rows, c].mean()) for c in classes
             for rows in [learner.data.targets == c]}  # fmt: skip
    mean = sum(ratio.values()) / len(ratio)
    for c in range(learner.data.classes):
        lead = 1.0 if c not in ratio else ratio[c] / mean if mean > 1 else mean / ratio[c]
        assert found[c].item() == pytest.approx(1 + 3 * math.log(max(lead, 1)), rel=1e-5)


# B7: the loss


def logits(seed, count=6, classes=5):
    return torch.randn(count, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


TAU = torch.tensor([1.0, 0.5, 0.3, 0.9, 1.0, 0.7], dtype=torch.float64)
ONE = torch.ones(6, dtype=torch.float64)


def test_B7_the_loss_is_the_divergence_plus_the_teachers_entropy():
    student, teacher = logits(0), logits(1)
    p, q = (teacher / TAU[:, None]).softmax(1), (student / TAU[:, None]).log_softmax(1)
    divergence = kl_div(q, p, reduction="none").sum(1)
    entropy = -(p * p.log()).sum(1)
    torch.testing.assert_close(fedcmi.distillation(student, teacher, TAU, ONE), (divergence + entropy).mean())
    weighted = fedcmi.distillation(student, teacher, TAU, 3 * ONE)
    torch.testing.assert_close(weighted, 3 * (divergence + entropy).mean())


def test_B7_the_gradient_is_the_difference_of_the_probabilities_over_the_temperature():
    student, teacher = logits(0).requires_grad_(), logits(1).requires_grad_()
    fedcmi.distillation(student, teacher, TAU, ONE).backward()
    p, q = ((z.detach() / TAU[:, None]).softmax(1) for z in (teacher, student))
    torch.testing.assert_close(student.grad, (q - p) / TAU[:, None] / 6)
    assert teacher.grad is None


def test_B7_a_student_that_says_what_the_teacher_says_learns_nothing():
    student = logits(0).requires_grad_()
    fedcmi.distillation(student, logits(0), TAU, ONE).backward()
    torch.testing.assert_close(student.grad, torch.zeros(6, 5, dtype=torch.float64))


@pytest.mark.parametrize(("kind", "which"), [("temperature", 0), ("weight", 1), ("none", None)])
def test_B7_the_gap_goes_into_the_temperature_or_the_weight_or_nowhere(kind, which):
    steep = torch.tensor([1.0, 2.0])
    found = [list(x.tolist()) for x in fedcmi.class_wise(steep, Options(class_wise=kind))]
    assert found == [{0: [1.0, 0.5]}.get(which, [1, 1]), {1: [1.0, 2.0]}.get(which, [1, 1])]


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
    scripts = {Role.CLIENT: federation.client, Role.COORDINATOR: federation.coordinator}
    averaged.method = replace(averaged.method, scripts=scripts)
    start = slices(plain.participant("a0").learner)
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
    arena, adjust = local.learner.arena, pull(local, 0.3)
    start = arena.values.clone()
    arena.values.add_(torch.linspace(-1, 1, arena.size))
    arena.grads.fill_(0.5)
    adjust(arena)
    torch.testing.assert_close(arena.grads, 0.5 + 0.3 * (arena.values - start))


def test_B9_the_first_step_is_unaffected_and_later_ones_are_not():
    for epochs, same in ((1, True), (2, False)):
        train = {"batch": 1000, "epochs": epochs}
        runs = [finished(cmi(mu=mu, train=train), rounds=1)[0] for mu in (0.0, 2.0)]
        assert (differing(*runs) == []) == same


def test_B9_the_displacement_shrinks_with_mu():
    found = []
    for mu in (0.0, 0.1, 1.0, 5.0):
        local = turn(cmi(mu=mu, train={"epochs": 8, "momentum": 0.0}), "audio+motion")
        start = local.learner.arena.values.clone()
        fedcmi.train(local, Options(mu=mu))
        found.append((local.learner.arena.values - start).norm().item())
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
        found.append(local.learner.arena.values.clone())
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
        agent = made.participant(me)
        agent.learner.begin(0, 1)
        fedcmi.train(Local(me, agent.role, 0, 1, agent.learner, agent.plan(0)), made.options)
        alone[me] = (agent.learner.samples, slices(agent.learner))
    participants, _ = finished(made)
    for name, found in slices(participants["hub"].learner).items():
        owners = [(n, mine[name].double()) for n, mine in alone.values() if name in mine]
        assert len(owners) == (4 if name == "head.fusion" else 3)
        expected = sum(n * x for n, x in owners) / sum(n for n, _ in owners)
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
        for me in made.peers:
            if name in (mine := slices(participants[me].learner)):
                assert torch.equal(mine[name], found)  # the model and the teacher of the next round


def test_B11_modules_without_an_owner_among_the_chosen_stay():
    made = cmi({"audio": 3, "motion": 1}, clients=1, rounds=6)
    participants = made.participants()
    hub = next(p for p in participants if p.me == "hub").learner
    states, chosen = [slices(hub)], []

    def watch(round, metrics, ledger):
        states.append(slices(hub))
        chosen.extend(made.seats[me].modalities[0] for me in ledger if me != "hub" and "hub" in ledger[me])

    simulate(participants, 6, watch=watch)
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
            count = len(made.seats[me].modalities)
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
    start = slices(made.participant("hub").learner)
    participants, _ = finished(made)
    kept = {name for name in start if name.startswith((PROJECTED, CLASSIFIED))}
    assert moved(start, slices(participants["hub"].learner)) == set(start) - kept
    one, other = (slices(participants[me].learner) for me in ("a0", "a1"))
    # a projector is a student's only in batches in which the other modality is dominant
    assert {f"{CLASSIFIED}{m}" for m in OTHER} < moved(one, other) <= kept


# what the coordinator says of the global model, and whole runs


def test_B13_the_coordinator_says_what_each_modality_alone_is_worth():
    made = cmi(data={"samples": 800}, rounds=3)
    participants, metrics = finished(made)
    said = metrics["hub"]
    kinds = {f"{how}.{m}" for how in ("alone", "zero", "own") for m in OTHER}
    assert said.keys() == kinds | {"fused", "updates"}
    assert said["fused"] == participants["hub"].learner.evaluate()["accuracy"]
    for me in made.peers:  # all hold the global model now
        if len(made.seats[me].modalities) == 1:
            [modality] = made.seats[me].modalities
            assert said[f"alone.{modality}"] == pytest.approx(participants[me].learner.evaluate()["accuracy"])


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
    second = cmi(**options).participants()
    for agent in second:
        agent.restore(kept[agent.me])
    simulate(second, 4, start=2)
    assert differing(whole, {agent.me: agent for agent in second}) == []
    assert all(agent.learner.arena.values.isfinite().all() for agent in second)


def test_of_three_modalities_all_but_the_dominant_one_are_students():
    data = {"modalities": ["audio", "motion", "touch"], "atoms": ["redundant", "unique"]}
    mix = {"audio+motion+touch": 1, "audio+motion": 1, "touch": 1}
    local = turn(cmi(mix, data=data), "audio+motion+touch", round=1)
    taught = fedcmi.lesson(local.learner, Options())
    assert len(taught.steepness) == 3
    found = reached(local.learner, fedcmi.infiltration(replace(taught, dominant="motion"), Options()),
                    next(local.learner.batches()))  # fmt: skip
    assert found == branch("audio", "projector.infiltration") | branch("touch", "projector.infiltration")
    local = turn(cmi(mix, data=data), "audio+motion", round=0)
    before = slices(local.learner)
    fedcmi.train(local, Options())
    assert moved(before, slices(local.learner)) == set(before)  # the slot of touch needs both infiltrations
    participants, metrics = finished(cmi(mix, data=data), rounds=3)
    assert {f"alone.{m}" for m in data["modalities"]} <= metrics["hub"].keys()
    assert all(p.learner.arena.values.isfinite().all() for p in participants.values())


def test_a_lesson_is_made_for_a_client_alone_and_once_a_round(monkeypatch):
    made, seen = cmi(), []
    original = fedcmi.lesson

    def counted(learner, options) -> Lesson:
        seen.append(learner.me)
        return original(learner, options)

    monkeypatch.setattr(fedcmi, "lesson", counted)
    finished(made, rounds=3)
    several = [me for me in made.peers if len(made.seats[me].modalities) == 2]
    assert sorted(seen) == sorted(several * 2)
