"""FedAFD (Tan et al., arXiv 2603.04890): alignment by adversaries, fusion with the coordinator's view, an ensemble.

A client's encoders are drawn to the coordinator's representations by discriminators that try to tell them apart
(bi-level: one against the same modality, one against another), its heads read a gated mix of its own and the
coordinator's features, and the coordinator learns from the clients' representations, weighted row by row.

``variant: code`` does as the authors' published code does where that departs from the paper: two sigmoids in a row
in the discriminators' losses, β on both of them, one set of gates and discriminators for all modalities, gates
drawn anew every round with one branch for both stages, and distillation by mean squared error. Its heads with
non-negative weights and its augmentation are not imitated.
"""

from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from parse_p2p.core.rng import seeded
from parse_p2p.core.types import Metrics, Modality, Role
from parse_p2p.learning.learner import Objective
from parse_p2p.methods.base import Local, Method, Script
from parse_p2p.methods.public_data import base
from parse_p2p.methods.public_data.base import (
    TABLE,
    PublicKnowledge,
    RepresentationOptions,
    Scheme,
    network,
    of_encoder,
    pace,
    public_batches,
    task_pass,
)
from parse_p2p.methods.public_data.ensemble import Rows, other
from parse_p2p.models.embedding import Embedding


class Options(RepresentationOptions):
    variant: Literal["paper", "code"] = Field("paper", description="as published, or as the authors' code does")
    baa: bool = Field(True, description="adversarial alignment of the clients' encoders")
    gff: bool = Field(True, description="fusion with the coordinator's encoders, which are sent for it")
    sed: bool = Field(True, description="an ensemble weighted by likeness; without it a plain mean")
    beta: float = Field(0.5, ge=0, description="weight of the alignment")
    saturating: bool = Field(False, description="the minimax form of the encoders' alignment loss")
    discriminator_rate: float = Field(
        10.0, ge=0, description="factor on the discriminators' learning rate; of a slow one the encoders learn nothing"
    )
    gate_rate: float = Field(1.0, ge=0, description="factor on the gates' learning rate")

    @property
    def as_code(self) -> bool:
        return self.variant == "code"


View = Mapping[Modality, tuple[Tensor, Tensor, Tensor | None]]
"""Of one minibatch, by modality: local rows u, global rows g, those of another modality q or None; each (B, d)."""


def telling(model: Embedding, view: View, as_code: bool = False) -> Tensor:
    """The discriminators' loss: −log D(global) − log(1 − D(u)), over both levels and all modalities."""
    losses = [softplus(-real) + softplus(fake) for real, fake in logits(model, view, as_code)]
    return torch.stack(losses).sum(0).mean()


def passing(model: Embedding, view: View, as_code: bool = False, saturating: bool = False) -> Tensor:
    """The encoders' loss: −log D(u), or log(1 − D(u)), over both levels and all modalities."""
    fakes = [fake for _, fake in logits(model, view, as_code)]
    return torch.stack([-softplus(fake) if saturating else softplus(-fake) for fake in fakes]).sum(0).mean()


def logits(model: Embedding, view: View, as_code: bool) -> list[tuple[Tensor, Tensor]]:
    """What each discriminator says of its global rows and of the local ones, (B, 1) each."""
    said = []
    for m, (u, g, q) in view.items():
        intra, cross = model.discriminators(m)
        said.append((intra(g), intra(u)))
        if q is not None:
            said.append((cross(q), cross(u)))
    return [(real.sigmoid(), fake.sigmoid()) for real, fake in said] if as_code else said


def view(model: Embedding, knowledge: PublicKnowledge, at: Tensor) -> View:
    """The public items ``at`` of a lesson."""
    rows, seen = knowledge.rows, {}
    for m in model.modalities:
        cross = other(m, rows)
        seen[m] = (model.embed(m, knowledge.inputs[m][at]), rows[m][at], rows[cross][at] if cross != m else None)
    return seen


def align(local: Local, options: Options, knowledge: PublicKnowledge, epoch: int) -> list[Tensor]:
    """One pass over the public set, discriminators and encoders taking turns; the discriminators' losses."""
    learner, model, discriminator_losses = local.learner, network(local.learner), []

    def discriminate(at: Tensor) -> Tensor:
        with torch.no_grad():
            fixed = view(model, knowledge, at)
        return telling(model, fixed, options.as_code)

    def deceive(at: Tensor) -> Tensor:
        return passing(model, view(model, knowledge, at), options.as_code, options.saturating)

    telling_apart = Objective("discriminators", options.beta if options.as_code else 1.0, momentum=False)
    alignment = Objective("alignment", options.beta, momentum=False)
    model.train()
    for at in public_batches(local, options, len(knowledge), "align", epoch):
        discriminator_losses.append(learner.step(partial(discriminate, at), only=judges, objective=telling_apart))
        learner.step(partial(deceive, at), only=of_encoder, objective=alignment)
    return discriminator_losses


def judges(name: str) -> bool:
    """Whether a component is the discriminators of a modality."""
    return name.startswith("discriminator.")


def learn(local: Local, knowledge: PublicKnowledge | None, options: Options) -> Metrics:
    """The local epochs of a client, each an alignment pass and then a task pass."""
    learner = local.learner
    pace(learner, {"discriminator": options.discriminator_rate, "gate": options.gate_rate})
    network(learner).shared.fill_(options.as_code)
    if options.as_code and options.gff:
        redraw_gate(local)
    discriminator_losses, losses = [], []
    for epoch in range(learner.options.epochs):
        if knowledge is not None and options.baa and options.beta:
            discriminator_losses += align(local, options, knowledge, epoch)
        losses += task_pass(local, options)
    return {"loss": learner.mean(losses)} | (
        {"discriminator": learner.mean(discriminator_losses)} if discriminator_losses else {}
    )


def redraw_gate(local: Local) -> None:
    """The gate that serves all modalities as new, with no momentum."""
    learner, first = local.learner, network(local.learner).modalities[0]
    gate = network(learner).gate(first)
    fresh = deepcopy(gate).cpu()  # drawn where the generator is
    fresh.reset(seeded(learner.seed, local.me, local.round, "gate"))
    gate.load_state_dict(fresh.state_dict())
    learner.forget(f"gate.{first}")


def scheme(options: Options) -> Scheme:
    def anchors(rows: Rows) -> Mapping[Modality, Tensor | None]:
        return rows if options.sed else dict.fromkeys(rows)

    return Scheme(encoders=options.gff, anchors=anchors, squared=options.as_code)


def client(local: Local, options: Options) -> Script:
    """One round of a client."""
    return base.client(local, options, scheme(options), partial(learn, options=options))


def coordinator(local: Local, options: Options) -> Script:
    """One round of the coordinator."""
    return base.coordinator(local, options, scheme(options))


METHOD = Method(
    name="fedafd",
    paper="arXiv 2603.04890",
    summary="align by adversaries, fuse with the coordinator's features, teach it by a weighted ensemble",
    options=Options,
    scripts={Role.CLIENT: client, Role.COORDINATOR: coordinator},
    sharing=lambda options, round, rounds: TABLE,
    networks=("embedding",),
    public=True,
)
