"""The one script of PARSE and of the whole DSGD family: train, exchange slices, mix.

The methods differ in their tables alone, so that any two can be compared on the same network with the same
losses.
"""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from parse_p2p import losses, mixing
from parse_p2p.learner import LossTerm
from parse_p2p.methods.base import Exchange, Inbox, Local, Script
from parse_p2p.names import PeerId, Role
from parse_p2p.parcel import Parcel
from parse_p2p.slices import SliceKey


class GossipOptions(BaseModel):
    """The weights of the losses and the order of a round; the same for every method of the family."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    branch: float = Field(1.0, ge=0, description="weight of each head's own cross-entropy (fission network)")
    detach: bool = Field(False, description="let the heads' own losses train the heads only")
    contrast: float = Field(0.0, ge=0, description="weight of InfoNCE between redundant slices")
    supervised: bool = Field(False, description="take every sample of the class as a positive of the contrast")
    temperature: float = Field(0.2, gt=0, description="temperature of the contrast")
    align: float = Field(0.0, ge=0, description="weight of the distance between redundant slices")
    orthogonal: float = Field(5.0, ge=0, description="weight of the correlation between slices")
    order: str = Field("atc", pattern="^(atc|cta)$", description="adapt then combine, or combine then adapt")


def terms(options: GossipOptions) -> list[LossTerm]:
    """The loss of a round, term by term; terms of weight zero are left out."""
    chosen: list[LossTerm] = [losses.task]
    if options.branch:
        chosen.append(losses.branches(options.branch, options.detach))
    if options.contrast:
        chosen.append(losses.contrast(options.contrast, options.temperature, options.supervised))
    if options.align:
        chosen.append(losses.align(options.align))
    if options.orthogonal:
        chosen.append(losses.orthogonal(options.orthogonal))
    return chosen


def gossip(local: Local, options: GossipOptions) -> Script:
    """One round of one agent."""
    metrics: Mapping[str, float] = {}
    if options.order == "atc":
        metrics = local.learner.train(*terms(options))
    inbox = yield slices(local)
    mix(local, inbox)
    if options.order == "cta":
        metrics = local.learner.train(*terms(options))
    return metrics


def slices(local: Local) -> Exchange:
    """The exchange of this round's slices with every neighbour of their overlays."""
    plan = local.plan
    mine = local.learner.cut(plan.regions)
    send = {peer: Parcel({str(key): mine[str(key)] for key in keys}) for peer, keys in plan.links.items()}
    return Exchange("slices", send, frozenset(send), check=plan.check)


def mix(local: Local, inbox: Inbox) -> None:
    """Mix every slice with the copies that came, by the weights of its overlay."""
    for key, weights in local.plan.weights.items():
        mixing.weighted(local.learner.arena.view(local.plan.regions[key]), copies(inbox, key, weights), weights)


def copies(inbox: Inbox, key: SliceKey, weights: Mapping[PeerId, float]) -> dict[PeerId, Tensor]:
    """The neighbours' copies of one slice among what came."""
    return {peer: inbox[peer].tensors[str(key)] for peer in weights if peer in inbox}


SCRIPTS = {Role.PEER: gossip}
