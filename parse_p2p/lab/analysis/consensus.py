"""How far agents agree, component by component, and whether their gradients pull apart."""

from collections.abc import Mapping
from itertools import combinations, product
from statistics import mean
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from parse_p2p.core.types import Modality, PeerId
from parse_p2p.data.base import Batch
from parse_p2p.lab.analysis.probes import Features, cka
from parse_p2p.learning import losses
from parse_p2p.learning.learner import Learner

PROBED = 512  # samples that all agents look at
MOST_SAMPLES = 4096  # of an agent's own, in a gradient

Holders = dict[str, list[Learner]]


def shared(learners: Mapping[PeerId, Learner]) -> Holders:
    """Who holds each component, where two or more hold it in the same shape."""
    groups: dict[tuple[str, str], list[Learner]] = {}
    for learner in learners.values():
        for name, region in learner.buffer.regions.items():
            groups.setdefault((name, region.digest), []).append(learner)
    layouts = [name for name, _ in groups]
    found: Holders = {}
    for (name, digest), holders in groups.items():
        if len(holders) > 1:
            found[name if layouts.count(name) == 1 else f"{name}~{digest[:4]}"] = holders
    return dict(sorted(found.items()))


def agreement(learners: Mapping[PeerId, Learner], inputs: Mapping[Modality, Tensor]) -> list[dict[str, Any]]:
    """Distance of parameters to their mean, and alignment of what the holders make of the same samples."""
    made = {me: _made(learner, inputs) for me, learner in learners.items()}
    records = []
    for label, holders in shared(learners).items():
        name = label.partition("~")[0]
        copies = torch.stack([h.buffer.view(h.buffer.regions[name]).cpu().double() for h in holders])
        middle = copies.mean(0)
        distance = float((copies - middle).square().sum(1).mean().sqrt())
        seen = [made[h.me][name] for h in holders if name in made[h.me]]
        alike = [cka(a, b) for a, b in combinations(seen, 2)]
        size = float(middle.norm())
        records.append({
            "component": label, "holders": len(holders), "distance": distance,
            "relative": distance / size if size > 0 else None, "cka": mean(alike) if alike else None,
        })  # fmt: skip
    return records


@torch.no_grad()
def _made(learner: Learner, inputs: Mapping[Modality, Tensor]) -> dict[str, Features]:
    """What comes out of each component that has an output of its own, (N, D), by the component's name."""
    mine = {m: inputs[m] for m in learner.holder.modalities}
    learner.model.eval()
    outputs = learner.model(mine)
    found = {f"trunk.{m}": learner.model.trunk_of(m)(x).flatten(1) for m, x in mine.items()}
    found |= {f"rows.{kind}.{m}": z for m, zs in outputs.latents.items() for kind, z in zs.items()}
    found |= {f"head.{name}": logits for name, logits in (*outputs.views.items(), *outputs.branches.items())}
    return {name: x.double().cpu().numpy() for name, x in found.items()}


def conflict(learners: Mapping[PeerId, Learner]) -> list[dict[str, Any]]:
    """Mean cosine between gradients of the task's loss, each agent's on its own training samples.

    Beside the one between agents with one modality and with several stand those among each: agents with different
    samples never agree fully, whatever they sense. Negative is a conflict. An agent whose task does not reach a
    component has no gradient there, and is in no pair.
    """
    gradients = {me: _gradient(learner) for me, learner in learners.items()}
    records = []
    for label, holders in shared(learners).items():
        name = label.partition("~")[0]
        sides: tuple[list[Tensor], list[Tensor]] = [], []
        for h in holders:
            region = h.buffer.regions[name]
            sides[len(h.holder.modalities) > 1].append(gradients[h.me][region.start : region.stop])
        one, several = sides
        records.append({
            "component": label, "across": _cosine(product(one, several)), "unimodal": _cosine(combinations(one, 2)),
            "multimodal": _cosine(combinations(several, 2)),
        })  # fmt: skip
    return records


def _gradient(learner: Learner) -> Tensor:
    """Of the cross-entropy of the summed logits, flat as the arena."""
    data, model = learner.data, learner.model
    rows = np.linspace(0, len(data) - 1, min(len(data), MOST_SAMPLES)).round().astype(np.int64)
    batch: Batch = data.batch(torch.from_numpy(rows).to(data.targets.device))
    model.eval()
    learner.buffer.grads.zero_()
    losses.task(model, batch, model(batch.inputs)).backward()  # type: ignore[no-untyped-call]
    found = learner.buffer.grads.detach().cpu().double().clone()
    learner.buffer.grads.zero_()
    return found


def _cosine(pairs: Any) -> float | None:
    found = [float(cosine_similarity(a, b, dim=0)) for a, b in pairs if a.any() and b.any()]
    return mean(found) if found else None
