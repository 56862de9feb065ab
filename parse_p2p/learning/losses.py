"""The loss terms of PARSE (arXiv 2601.10012), each a function of (network, batch, outputs) giving a scalar.

Cross-entropies are in nats; other tasks than classification have losses of their own in their place. Terms that need
two modalities or the three slices are zero where there are none. B samples, d_κ slice widths.
"""

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from parse_p2p.core.types import Kind
from parse_p2p.data.base import Batch
from parse_p2p.learning.learner import LossTerm
from parse_p2p.models.base import Network, Outputs


def task(network: Network, batch: Batch, outputs: Outputs) -> Tensor:
    """The task's loss of the summed logits, in nats: the one term that is a term itself, without a weight."""
    return nats(outputs.logits(task=batch.task), batch)


def remainder(network: Network, batch: Batch, outputs: Outputs) -> Tensor:
    """In place of ``task``: synergy as what the other branches leave over.

    The others learn as if there were no synergistic branch, by the loss of their sum; it learns on top of their sum,
    which is held fixed there, by the loss of all together. Where there is no such branch, or no other, it is ``task``.
    """
    synergy, others = _synergy(outputs)
    if synergy is None or not others:
        return task(network, batch, outputs)
    fixed = [logits.detach() for logits in others.values()]
    return sum_of([*others.values()], batch) + sum_of([*fixed, synergy], batch)


def apart(network: Network, batch: Batch, outputs: Outputs) -> Tensor:
    """In place of ``task``: the heads on each modality learn by the loss of their sum alone, and synergy on top of all.

    So an agent with several modalities moves what it shares with an agent of one as that one does, and pulls it nowhere
    else; what the modalities say together is the synergistic branch's to put right, if there is one, with what the
    others say held fixed. Where a branch that is not synergistic is on several modalities it is ``remainder``.
    """
    synergy, others = _synergy(outputs)
    if not others or not by_modality(outputs) or not all(_on_one_modality(name) for name in others):
        return remainder(network, batch, outputs)
    loss = unimodal(network, batch, outputs)
    if synergy is None:
        return loss
    return loss + sum_of([*(logits.detach() for logits in others.values()), synergy], batch)


def sum_of(said: Sequence[Tensor], batch: Batch) -> Tensor:
    """The task's loss of what several branches say together."""
    return nats(batch.task.joined(torch.stack(list(said))), batch)


def nats(logits: Tensor, batch: Batch) -> Tensor:
    """Mean loss of logits (B, C), each sample by its weight: cross-entropy in nats, or what else the task says.

    The batch's correction for how frequent classes are here, where there is one, is added to the logits.
    """
    if batch.prior is not None:
        logits = logits + batch.prior
    if batch.weights is None:
        return batch.task.loss(logits, batch.targets)
    return (batch.task.loss(logits, batch.targets, "none") * batch.weights).mean()


def branches(weight: float, detached: bool = False, synergy: bool = True) -> LossTerm:
    """Cross-entropy of every head by itself; ``detached`` trains the heads alone, on latents held fixed.

    Without ``synergy`` the synergistic head has none, where it is not the only one.
    """

    def term(network: Network, batch: Batch, outputs: Outputs) -> Tensor:
        if detached:
            outputs = network.read({m: {k: z.detach() for k, z in zs.items()} for m, zs in outputs.latents.items()})
        losses: dict[str, list[Tensor]] = {}
        for name, logits in outputs.views.items():
            if name == Kind.SYNERGISTIC and not synergy and len(outputs.views) > 1:
                continue
            head = "redundant" if name.startswith("redundant.") else name
            losses.setdefault(head, []).append(nats(logits, batch))
        return weight * torch.stack([torch.stack(each).mean() for each in losses.values()]).sum()

    return term


def by_modality(outputs: Outputs) -> dict[str, list[Tensor]]:
    """What the heads on one modality alone say, each (B, C), by its name."""
    said: dict[str, list[Tensor]] = {}
    for name, logits in outputs.views.items():
        if _on_one_modality(name):
            said.setdefault(name.partition(".")[2], []).append(logits)
    return said


def _on_one_modality(name: str) -> bool:
    """Whether a view is of one modality, or a branch a mean of such views."""
    return name.partition(".")[0] in ("redundant", "unique", "unimodal")


def unimodal(network: Network, batch: Batch, outputs: Outputs) -> Tensor:
    """The loss of what each modality says by itself, summed over the modalities."""
    return torch.stack([sum_of(each, batch) for each in by_modality(outputs).values()]).sum()


def modality(weight: float) -> LossTerm:
    """Cross-entropy of what the redundant and the unique head say together of each modality, summed over these.

    So an agent with several learns of each as an agent with that one alone does. It is zero where there is one, whose
    sum is the prediction itself, and where a modality has one head, of which ``branches`` is.
    """

    def term(network: Network, batch: Batch, outputs: Outputs) -> Tensor:
        said = by_modality(outputs)
        several = [each for each in said.values() if len(each) > 1 and len(said) > 1]
        if not several:
            return _mean([], batch)
        return weight * torch.stack([sum_of(each, batch) for each in several]).sum()

    return term


def teach(weight: float) -> LossTerm:
    """KL(others ‖ synergistic): the other branches, held fixed, teach it what they say of the classes that are wrong.

    Both are the softmax over the classes but the true one: the part of distillation on non-target classes (Zhao et al.,
    arXiv 2203.08679, section 3.1). A sample counts by its weight. Zero without a synergistic branch, or without others.
    """

    def term(network: Network, batch: Batch, outputs: Outputs) -> Tensor:
        synergy, others = _synergy(outputs)
        if synergy is None or not others:
            return _mean([], batch)
        teacher = batch.task.joined(torch.stack([*others.values()])).detach()
        taught, said = (_of_wrong(logits, batch.targets) for logits in (teacher, synergy))
        each = (taught.exp() * (taught - said)).sum(1)
        return weight * (each if batch.weights is None else each * batch.weights).mean()

    return term


def _of_wrong(logits: Tensor, targets: Tensor) -> Tensor:
    """Log-probabilities among the classes that are not the true one, (B, C) → (B, C − 1)."""
    wrong = torch.arange(logits.shape[1], device=logits.device) != targets[:, None]
    return logits[wrong].view(len(logits), -1).log_softmax(1)


def _synergy(outputs: Outputs) -> tuple[Tensor | None, dict[str, Tensor]]:
    """What the synergistic branch says, if there is one, and what the others say, by name."""
    others = {name: logits for name, logits in outputs.branches.items() if name != Kind.SYNERGISTIC}
    return outputs.branches.get(Kind.SYNERGISTIC), others


def contrast(weight: float, temperature: float, supervised: bool = False) -> LossTerm:
    """Symmetric InfoNCE between the redundant slices of each pair of modalities.

    The positive of a sample is its other modality (van den Oord et al., arXiv 1807.03748), or with ``supervised``
    every sample of its class (Khosla et al., arXiv 2004.11362), which suits few classes: plain InfoNCE pushes samples
    of one class apart.
    """

    def term(network: Network, batch: Batch, outputs: Outputs) -> Tensor:
        redundant = [normalize(z) for z in _of(outputs, Kind.REDUNDANT)]
        positive = batch.targets[:, None] == batch.targets if supervised else None
        pairs = [_info_nce(a, b, temperature, positive) for a, b in combinations(redundant, 2)]
        return weight * _mean(pairs, batch)

    return term


def _info_nce(a: Tensor, b: Tensor, temperature: float, positive: Tensor | None) -> Tensor:
    scores = a @ b.T / temperature
    mask = torch.eye(len(a), device=a.device) if positive is None else positive.float()
    ways = [-(mask * s.log_softmax(1)).sum(1) / mask.sum(1) for s in (scores, scores.T)]
    return torch.stack(ways).mean()


def align(weight: float) -> LossTerm:
    """Squared distance between the redundant slices of each pair of modalities, over their mean variance.

    It is zero exactly where the redundant slice is the same function of either modality alone.
    """

    def term(network: Network, batch: Batch, outputs: Outputs) -> Tensor:
        pairs = [
            (a - b).square().mean() / (0.5 * (_variance(a) + _variance(b)) + 1e-6)
            for a, b in combinations(_of(outputs, Kind.REDUNDANT), 2)
            if len(a) > 1  # one sample has no variance
        ]
        return weight * _mean(pairs, batch)

    return term


def orthogonal(weight: float) -> LossTerm:
    """Mean squared correlation between the slices of one modality, and between unique slices of two."""

    def term(network: Network, batch: Batch, outputs: Outputs) -> Tensor:
        within = [pair for zs in outputs.latents.values() for pair in combinations(zs.values(), 2)]
        between = list(combinations(_of(outputs, Kind.UNIQUE), 2))
        return weight * _mean([_correlation(a, b) for a, b in within + between], batch)

    return term


def _of(outputs: Outputs, kind: Kind) -> list[Tensor]:
    return [zs[kind] for zs in outputs.latents.values() if kind in zs]


def _mean(terms: list[Tensor], batch: Batch) -> Tensor:
    return torch.stack(terms).mean() if terms else torch.zeros((), device=batch.targets.device)


def _variance(z: Tensor) -> Tensor:
    return z.var(0, unbiased=False).mean()


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    return ((_standard(a).T @ _standard(b)) / len(a)).square().mean()


def _standard(z: Tensor) -> Tensor:
    return (z - z.mean(0)) / (z.var(0, unbiased=False) + 1e-5).sqrt()
