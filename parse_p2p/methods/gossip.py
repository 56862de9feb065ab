"""The one script of PARSE and of the whole DSGD family: train, exchange slices, mix.

The methods differ in their tables alone, so that any two can be compared on the same network with the same
losses.
"""

from collections.abc import Mapping

from pydantic import Field
from torch import Tensor

from parse_p2p import mixing
from parse_p2p.methods.base import Exchange, Inbox, Local, Script
from parse_p2p.methods.objective import SliceLossOptions, slice_terms
from parse_p2p.names import PeerId, Role
from parse_p2p.parcel import Parcel
from parse_p2p.slices import SliceKey


class GossipOptions(SliceLossOptions):
    """The weights of the losses, the order of a round and the mixer; the same for every method of the family."""

    order: str = Field("atc", pattern="^(atc|cta)$", description="adapt then combine, or combine then adapt")
    mixer: mixing.MixerName = Field("weighted", description="how the copies of a slice become one")
    clip: float = Field(1.0, gt=0, allow_inf_nan=False, description="clipped: longest step to a neighbour's slice")
    byzantine: int = Field(1, ge=0, description="trimmed-mean, krum: how many copies of a slice may be lies")


def gossip(local: Local, options: GossipOptions) -> Script:
    """One round of one agent."""
    metrics: Mapping[str, float] = {}
    if options.order == "atc":
        metrics = local.learner.train(*slice_terms(options))
    inbox = yield slices(local)
    mix(local, inbox, mixing.mixer(options.mixer, options.clip, options.byzantine))
    if options.order == "cta":
        metrics = local.learner.train(*slice_terms(options))
    return metrics


def slices(local: Local) -> Exchange:
    """The exchange of this round's slices with every neighbour of their overlays."""
    plan = local.plan
    mine = local.learner.cut(plan.regions)
    send = {peer: Parcel({str(key): mine[str(key)] for key in keys}) for peer, keys in plan.links.items()}
    return Exchange("slices", send, frozenset(plan.expected), check=plan.check)


def mix(local: Local, inbox: Inbox, mixer: mixing.Mixer = mixing.weighted) -> None:
    """Mix every slice with the copies that came, by the weights of its overlay."""
    for key, weights in local.plan.weights.items():
        mixer(local.learner.arena.view(local.plan.regions[key]), copies(inbox, key, weights), weights)


def copies(inbox: Inbox, key: SliceKey, weights: Mapping[PeerId, float]) -> dict[PeerId, Tensor]:
    """The neighbours' copies of one slice among what came."""
    return {peer: inbox[peer].tensors[str(key)] for peer in weights if peer in inbox}


SCRIPTS = {Role.PEER: gossip}
