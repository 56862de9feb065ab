"""FedCMI's losses: who teaches whom, temperatures, the distillation (properties B2 to B4, B6 and B7)."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from infiltrating import OTHER, branch, cmi, reached, turn
from torch.nn.functional import kl_div

from parse_p2p.methods import fedcmi
from parse_p2p.methods.fedcmi import Options
from parse_p2p.models.base import key_of

# B2 to B4: who teaches whom


@pytest.mark.parametrize(("into", "part"), [("projector", "projector.infiltration"), ("self", "projector.self")])
@pytest.mark.parametrize("weak", OTHER)
def test_B2_the_infiltration_loss_reaches_only_the_weak_modality(weak, into, part):
    local = turn(cmi(), "audio+motion")
    options = Options(infiltration=into)
    taught = replace(fedcmi.frozen_teacher(local.learner, options), dominant=OTHER[weak])
    found = reached(local.learner, fedcmi.infiltration(taught, options), next(local.learner.batches()))
    assert found == branch(weak, part)


def test_B3_the_teacher_is_a_frozen_copy_of_the_model_the_round_began_with():
    local = turn(cmi(), "audio+motion", round=1)
    learner = local.learner
    began = learner.outputs(learner.data).views
    learner.model.train()
    taught = fedcmi.frozen_teacher(learner, Options())
    assert not any(module.training for module in taught.teacher.modules())
    assert not any(p.requires_grad for p in taught.teacher.parameters())
    learner.train(fedcmi.infiltration(taught, Options()), fedcmi.losses.task)
    said = taught.teacher(learner.data.inputs).views
    assert all(torch.equal(said[name], began[name]) for name in began)
    assert not torch.equal(learner.outputs(learner.data).views["unimodal.audio"], said["unimodal.audio"])


def test_B3_a_change_of_the_local_dominant_branch_leaves_the_loss():
    local = turn(cmi(), "audio+motion")
    taught = replace(fedcmi.frozen_teacher(local.learner, Options()), dominant="audio")
    batch = next(local.learner.batches())

    def loss():
        model = local.learner.model
        return fedcmi.infiltration(taught, Options())(model, batch, model(batch.inputs)).item()

    before = loss()
    with torch.no_grad():
        for name in branch("audio", "projector.self", "projector.infiltration"):
            local.learner.buffer.view(local.learner.buffer.regions[name]).add_(1)
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
    taught = fedcmi.frozen_teacher(local.learner, Options())
    batch = leaning(local, **masses)
    found = reached(local.learner, fedcmi.infiltration(taught, Options()), batch)
    # a classifier without weights lets no gradient through to what lies below it
    assert found == {f"head.unimodal.{weak}"}


def test_B4_the_direction_may_be_the_global_models_for_a_whole_round():
    local = turn(cmi(), "audio+motion")
    options = Options(direction="client_global")
    leaning(local, audio=-5.0, motion=0.0)
    taught = fedcmi.frozen_teacher(local.learner, options)
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


def test_B6_the_loss_measures_the_model_on_all_local_samples():
    learner = turn(cmi(), "audio+motion").learner
    found = fedcmi.frozen_teacher(learner, Options(kappa=3.0)).steepness[frozenset(OTHER)]
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
