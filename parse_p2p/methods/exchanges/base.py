"""How agents exchange slices in a round and mix them: what an exchange mode is, and what several of them do."""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from parse_p2p.core.message import Message
from parse_p2p.core.mixers.weighted import weighted
from parse_p2p.core.slices import SliceKey
from parse_p2p.core.types import PeerId
from parse_p2p.learning.learner import LossTerm
from parse_p2p.learning.transfer import to_device
from parse_p2p.methods.base import Exchange, Inbox, Local, Stretch

Mix = Callable[[Tensor, Mapping[PeerId, Tensor], Mapping[PeerId, float]], None]
"""What a mixer does: see ``core/mixers/base.py``."""


class ExchangeMode(BaseModel):
    """An exchange and its options: a plug-in is a file in this folder whose ``EXCHANGE`` is a class derived from this.

    ``keeps_sums`` says that it keeps the sum of a slice over its holders by itself, so that no mixer may change it;
    ``copies`` how many times as much as one copy of each slice goes over a link in a round, on average; ``one_way``
    that it keeps the mean where edges go one way too.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    keeps_sums: ClassVar[bool] = False
    copies: ClassVar[float] = 1.0
    one_way: ClassVar[bool] = False

    def train(self, local: Local, terms: Sequence[LossTerm]) -> Mapping[str, float]:
        """Take the local steps of one round; most exchanges leave them as they are."""
        return local.learner.train(*terms)

    def run(self, local: Local, mix: Mix) -> Stretch:
        """Exchange the slices of one round and mix them in place."""
        raise NotImplementedError


class Patient(ExchangeMode):
    """One that need not wait for anybody, and may."""

    patience: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="seconds to wait for the messages of a round, where one need not"
    )


def slices(local: Local) -> Exchange:
    """The exchange of this round's slices with every neighbour of their overlays."""
    plan = local.plan
    mine = local.learner.cut(plan.regions)
    send = {peer: Message({str(key): mine[str(key)] for key in keys}) for peer, keys in plan.links.items()}
    return Exchange("slices", send, frozenset(plan.expected), check=plan.check)


def mix_slices(local: Local, inbox: Inbox, mix: Mix = weighted) -> None:
    """Mix every slice with the copies that came, by the weights of its overlay."""
    for key, weights in local.plan.weights.items():
        mix(local.learner.buffer.view(local.plan.regions[key]), copies(local, inbox, key, weights), weights)


def copies(local: Local, inbox: Inbox, key: SliceKey, weights: Mapping[PeerId, float]) -> dict[PeerId, Tensor]:
    """The neighbours' copies of one slice among what came, where my own is."""
    came = {peer: inbox[peer].tensors[str(key)] for peer in weights if peer in inbox}
    return to_device(came, local.learner.buffer.values.device)
