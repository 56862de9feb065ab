"""FedCMI (Fan et al., arXiv 2401.00894): the dominant modality of the global model teaches the weaker ones.

FedAvg on the network of models/infiltration.py, modality by modality. A client with several modalities adds to
the task's loss λ1 times the cross-entropy of every C_m(s_m) and, from round ``warm_up`` on, λ2 times the
infiltration loss: what the *frozen* model the round began with (the global one, so this needs no message of its
own) says with C_d(s_d) of the dominant modality d is distilled into C_w(i_w) of every other modality w. The
infiltration projector is apart from the self-projector, so w's own features are not written over. Temperatures
per class even out classes in which d is far ahead.

The loss, the temperatures and the defaults follow the first author's public code, since the paper's equations
were not at hand: constants and the temperatures' direction are reconstructed from there, as is any rule for more
than two modalities (every modality but the dominant one is a student; a pair of them has temperatures of its
own). B samples, C classes.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Literal, cast

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import one_hot

from parse_p2p.core.slices import Sharing, everyone, having, nobody
from parse_p2p.core.types import Metrics, Modality, Role
from parse_p2p.data.base import Batch, Dataset
from parse_p2p.learning import losses
from parse_p2p.learning.learner import EVALUATION_BATCH, Learner, LossTerm
from parse_p2p.learning.objective import terms
from parse_p2p.methods import federation
from parse_p2p.methods.base import Local, Method, Script
from parse_p2p.methods.federation import FederatedOptions
from parse_p2p.methods.fedprox import pull
from parse_p2p.models.base import Network, Outputs
from parse_p2p.models.infiltration import Infiltration

LEAST = 1e-12  # of a mean probability, so that a ratio of two is a number

TABLE: Sharing = {
    "trunk": having,
    "projector.self": having,
    "projector.infiltration": having,
    "head.unimodal": having,
    "head.fusion": everyone,
}
PERSONALISED: Sharing = dict(TABLE) | {"projector.infiltration": nobody, "head.unimodal": nobody}


class Options(FederatedOptions):
    """The losses of FedCMI and its ablations; all clients must have the same."""

    branch: float = Field(0.0, ge=0, description="weight of each head's own cross-entropy on every client")
    lambda1: float = Field(2.0, ge=0, description="the same on clients with several modalities alone, as in FedCMI")
    lambda2: float = Field(1.0, ge=0, description="weight of the infiltration loss")
    warm_up: int = Field(1, ge=0, description="rounds before the infiltration loss sets in")
    infiltration: Literal["projector", "self", "none"] = Field(
        "projector", description="what the teacher is distilled into: a projector of its own, the self-projector, none"
    )
    direction: Literal["batch_local", "client_global"] = Field(
        "batch_local", description="dominant by the local model on a batch, or by the global one on all local samples"
    )
    class_wise: Literal["temperature", "weight", "none"] = Field(
        "temperature", description="what follows a class's gap between modalities: temperature, weight of the loss"
    )
    kappa: float = Field(2.0, ge=0, description="how strongly it follows the gap")
    cta_sign: Literal[-1, 1] = Field(-1, description="-1: temperatures fall with the gap, 1: they rise")
    personalised: bool = Field(False, description="keep infiltration projectors and unimodal classifiers at home")
    mu: float = Field(0.0, ge=0, description="weight of FedProx's pull to the global model; 0: none")


# what the losses are made of


def true_mass(logits: Tensor, targets: Tensor) -> Tensor:
    """The probability that logits (B, C) give to the true class, (B,)."""
    return logits.softmax(1).gather(1, targets[:, None])[:, 0]


def dominant(masses: Mapping[Modality, Tensor]) -> Modality:
    """The modality with the largest sum of true-class mass; of equals the last by name."""
    return max(masses, key=lambda m: (float(masses[m].sum()), m))


def gap(first: Tensor, second: Tensor, targets: Tensor, classes: int) -> Tensor:
    """q_c, (C,) in double: how far one modality leads in class c, over its lead in the mean; 1 for absent classes.

    ``first`` and ``second``: true-class mass of two modalities on the same samples, (B,). With r_c the ratio of
    their means in class c and r̄ the mean of r over the classes present: r_c / r̄ where r̄ > 1, else r̄ / r_c. (So
    the two modalities are not treated alike, as in the reference.)
    """
    member = one_hot(targets, classes).double()
    count = member.sum(0)
    a, b = ((member.T @ mass.double() / count.clamp(min=1)).clamp(min=LEAST) for mass in (first, second))
    ratio = a / b
    mean = ratio[count > 0].mean()
    return torch.where(count > 0, ratio / mean if mean > 1 else mean / ratio, 1.0)


def steepness(gap: Tensor, kappa: float) -> Tensor:
    """1 + κ ln q_c where q_c > 1, else 1: at least 1 and continuous. Its inverse is the class's temperature."""
    return 1 + kappa * gap.clamp(min=1).log()


def distillation(student: Tensor, teacher: Tensor, temperature: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy of two softmaxes of logits (B, C) at a temperature per sample, (B,); the mean, weighted.

    No gradient goes to the teacher. There is no factor τ²: the gradient at a student's logits is (p_s − p_t)/τ.
    """
    tau = temperature[:, None]
    target = (teacher.detach() / tau).softmax(1)
    return -(weight * (target * (student / tau).log_softmax(1)).sum(1)).mean()


# the infiltration loss


@dataclass(frozen=True)
class FrozenTeacher:
    """What a client's infiltration loss keeps fixed during a round.

    ``steepness[{a, b}]``, (C,), is that of each pair of modalities. ``dominant`` is the teaching modality, or None
    where each batch chooses it.
    """

    teacher: Infiltration
    steepness: Mapping[frozenset[Modality], Tensor]
    dominant: Modality | None


def frozen_teacher(learner: Learner, options: Options) -> FrozenTeacher:
    """Freeze a copy of the model as it is and measure it on the client's own training samples."""
    teacher = deepcopy(cast(Infiltration, learner.model)).eval().requires_grad_(False)
    data, names = learner.data, teacher.modalities
    masses = {m: true_mass(logits, data.targets) for m, logits in own_logits(teacher, data).items()}
    steep = {
        frozenset((a, b)): steepness(gap(masses[a], masses[b], data.targets, data.classes), options.kappa).float()
        for i, a in enumerate(names)
        for b in names[i + 1 :]
    }
    return FrozenTeacher(teacher, steep, dominant(masses) if options.direction == "client_global" else None)


@torch.no_grad()
def own_logits(network: Network, data: Dataset) -> dict[Modality, Tensor]:
    """C_m(s_m) of every sample, (N, C), by modality."""
    parts = [network(data.batch(rows).inputs) for rows in _chunks(data)]
    return {m: torch.cat([part.views[f"unimodal.{m}"] for part in parts]) for m in network.modalities}


def infiltration(frozen_teacher: FrozenTeacher, options: Options) -> LossTerm:
    """λ2 times the distillation from the dominant modality of the teacher, summed over the other modalities."""

    def term(network: Network, batch: Batch, outputs: Outputs) -> Tensor:
        views = {m: outputs.views[f"unimodal.{m}"] for m in network.modalities}
        best = frozen_teacher.dominant or dominant({m: true_mass(z.detach(), batch.targets) for m, z in views.items()})
        said = frozen_teacher.teacher(batch.inputs).views[f"unimodal.{best}"]
        into_projector = options.infiltration == "projector"
        students = cast(Infiltration, network).infiltration(outputs) if into_projector else views
        each = []
        for m in network.modalities:
            if m != best:
                steep = frozen_teacher.steepness[frozenset((best, m))][batch.targets]
                each.append(distillation(students[m], said, *class_wise(steep, options)))
        return options.lambda2 * torch.stack(each).sum()

    return term


def class_wise(steep: Tensor, options: Options) -> tuple[Tensor, Tensor]:
    """Temperature and weight of every sample, (B,), from the steepness of its class."""
    ones = torch.ones_like(steep)
    temperature = steep**options.cta_sign if options.class_wise == "temperature" else ones
    return temperature, steep if options.class_wise == "weight" else ones


# the scripts


def client(local: Local, options: Options) -> Script:
    """One round of a client."""
    return federation.client(local, options, lambda local: train(local, options))


def train(local: Local, options: Options) -> Metrics:
    """A round's local steps. What no loss reaches rests; decay of its weights would be no learning."""
    learner, chosen = local.learner, terms(options)
    if several(learner) and options.lambda1:
        chosen.append(losses.branches(options.lambda1))
    if infiltrating(local, options):
        chosen.append(infiltration(frozen_teacher(learner, options), options))
    resting = idle(local, options)
    return learner.train(
        *chosen,
        adjust=pull(local, options.mu),
        only=lambda name: learner.buffer.regions[name].component.part not in resting,
    )


def several(learner: Learner) -> bool:
    return len(learner.model.modalities) > 1


def infiltrating(local: Local, options: Options) -> bool:
    """Whether this client has an infiltration loss in this round."""
    wanted = options.infiltration != "none" and options.lambda2 > 0
    return wanted and several(local.learner) and local.round >= options.warm_up


def idle(local: Local, options: Options) -> set[str]:
    """The parts that no loss of this round reaches."""
    network = cast(Infiltration, local.learner.model)
    distilled = infiltrating(local, options)
    parts = set()
    if not (options.branch or (several(local.learner) and options.lambda1) or distilled):
        parts.add("head.unimodal")
    if network.slots == network.modalities and not (distilled and options.infiltration == "projector"):
        parts.add("projector.infiltration")  # no slot of F needs it
    return parts


def coordinator(local: Local, options: Options) -> Script:
    """One round of the coordinator: FedAvg's, and what each modality of the global model is worth."""
    metrics = yield from federation.coordinator(local, options)
    return {**metrics, **accuracies(local.learner)}


# what the global model can do


def accuracies(learner: Learner) -> dict[str, float]:
    """Accuracy on the test set of every prediction of ``predictions``, as ``evaluate`` counts it."""
    test = learner.test

    def seen(name: str) -> Dataset:
        """Through the modality that a prediction is made from; all for the fused one."""
        one = Modality(name.partition(".")[2])
        return replace(test, inputs={one: test.inputs[one]}) if one else test

    return {name: float(seen(name).chances(z.argmax(1)).mean()) for name, z in predictions(learner).items()}


@torch.no_grad()
def predictions(learner: Learner) -> dict[str, Tensor]:
    """Logits (N, C) on the test set: ``fused``, and from each modality m alone.

    ``alone.m``: F, the other slots filled by the infiltration of m (the paper's acc_av for audio); ``zero.m``: F,
    the other slots zero; ``own.m``: C_m(s_m). With ``personalised`` only ``fused`` and ``zero.m`` say something of
    the global model, since the coordinator never sees the other parts.
    """
    network = cast(Infiltration, learner.model)
    network.eval()
    parts = [_said(network, learner.test.batch(rows)) for rows in _chunks(learner.test)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _said(network: Infiltration, batch: Batch) -> dict[str, Tensor]:
    outputs = network(batch.inputs)
    said = {"fused": outputs.logits()}
    for m in network.modalities:
        said[f"alone.{m}"] = network.fused(outputs.latents, [m])
        said[f"zero.{m}"] = network.fused(outputs.latents, [m], fill=False)
        said[f"own.{m}"] = outputs.views[f"unimodal.{m}"]
    return said


def spread(logits: Tensor, targets: Tensor) -> float:
    """Standard deviation over the classes of the accuracy in a class: (N, C) and (N,)."""
    right = (logits.argmax(1) == targets).double()
    each = [right[targets == c].mean() for c in range(logits.shape[1]) if bool((targets == c).any())]
    return float(torch.stack(each).std(correction=0))


def _chunks(data: Dataset) -> tuple[Tensor, ...]:
    return torch.split(torch.arange(len(data), device=data.targets.device), EVALUATION_BATCH)


METHOD = Method(
    name="fedcmi",
    paper="arXiv 2401.00894",
    summary="FedAvg in which the global model's dominant modality teaches the weaker ones",
    options=Options,
    scripts={Role.CLIENT: client, Role.COORDINATOR: coordinator},
    sharing=lambda options, round, rounds: PERSONALISED if options.personalised else TABLE,
    networks=("infiltration",),
    classes=True,
)
