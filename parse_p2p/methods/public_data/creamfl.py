"""CreamFL (Yu et al., arXiv 2302.08888): clients are drawn to global representations by contrast, and no model moves.

The cheapest of the methods with a public set: only representations cross, both ways. The coordinator weighs the
clients' rows by how well they find their item among its rows of another modality.
"""

from functools import partial

import torch
from pydantic import Field
from torch import Tensor

from parse_p2p.core.types import Metrics, Role
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
    public_batches,
    represent,
    task_pass,
)
from parse_p2p.methods.public_data.ensemble import Rows, inter, intra, other


class Options(RepresentationOptions):
    gamma: float = Field(0.3, ge=0, description="weight of the coordinator's distance to the ensemble")
    beta: float = Field(0.5, ge=0, description="weight of the contrasts")
    contrast_temperature: float = Field(0.5, gt=0, description="temperature of the contrasts")


def contrast(local: Local, options: Options, knowledge: PublicKnowledge, before: Rows, epoch: int) -> list[Tensor]:
    """One pass over the public set: find the item in another modality, and leave the round before for the global."""
    learner, model, t = local.learner, network(local.learner), options.contrast_temperature

    def loss(at: Tensor) -> Tensor:
        losses = []
        for m in model.modalities:
            u = model.embed(m, knowledge.inputs[m][at])
            losses.append(intra(u, knowledge.rows[m][at], before[m][at], t))
            losses.append(inter(u, knowledge.rows[other(m, knowledge.rows)], at, t))
        return torch.stack(losses).sum()

    model.train()
    batches = public_batches(local, options, len(knowledge), "contrast", epoch)
    aim = Objective("contrast", options.beta)
    return [learner.step(partial(loss, at), only=of_encoder, objective=aim) for at in batches]


def learn(local: Local, knowledge: PublicKnowledge | None, options: Options) -> Metrics:
    """The local epochs of a client, each a task pass and then a pass of contrasts."""
    learner = local.learner
    before = {} if knowledge is None else represent(learner, knowledge.inputs)
    losses, contrasts = [], []
    for epoch in range(learner.options.epochs):
        losses += task_pass(local, options)
        if knowledge is not None and options.beta:
            contrasts += contrast(local, options, knowledge, before, epoch)
    return {"loss": learner.mean(losses)} | ({"contrast": learner.mean(contrasts)} if contrasts else {})


WAY = Scheme(encoders=False, anchors=lambda rows: {m: rows[other(m, rows)] for m in rows}, squared=True)


def client(local: Local, options: Options) -> Script:
    """One round of a client."""
    return base.client(local, options, WAY, partial(learn, options=options))


def coordinator(local: Local, options: Options) -> Script:
    """One round of the coordinator."""
    return base.coordinator(local, options, WAY)


METHOD = Method(
    name="creamfl",
    paper="arXiv 2302.08888",
    summary="contrast with global representations, ensemble scored across modalities",
    options=Options,
    scripts={Role.CLIENT: client, Role.COORDINATOR: coordinator},
    sharing=lambda options, round, rounds: TABLE,
    networks=("embedding",),
    public=True,
)
