"""The one script of PARSE and of the whole DSGD family: train, exchange slices, mix.

The methods differ in their tables alone, so that any two can be compared on the same network with the same
losses. How slices are exchanged is an option of them all: everyone waits for everyone, or in one of three ways in
which nobody has to.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor

from parse_p2p.core import mixing
from parse_p2p.core.errors import SpecMismatch
from parse_p2p.core.message import NEWEST, Message
from parse_p2p.core.slices import SliceKey
from parse_p2p.core.types import PeerId, Role
from parse_p2p.learning.objective import SliceLossOptions, slice_terms
from parse_p2p.learning.transfer import to_device
from parse_p2p.methods import acknowledged, push_sum
from parse_p2p.methods.base import Exchange, Inbox, Local, Script, Stretch

ExchangeName = Literal["synchronous", "asynchronous", "push-sum", "acknowledged"]


class GossipOptions(SliceLossOptions):
    """The weights of the losses, the order of a round, exchange and mixer; the same for every method of the family."""

    order: str = Field("atc", pattern="^(atc|cta)$", description="adapt then combine, or combine then adapt")
    exchange: ExchangeName = Field("synchronous", description="whether agents wait, and what bears lost messages")
    patience: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="seconds to wait for the messages of a round, where one need not"
    )
    decay: float = Field(0.9, gt=0, le=1, description="asynchronous: factor on a copy's weight for each round of age")
    mixer: mixing.MixerName = Field("weighted", description="how the copies of a slice become one")
    clip: float = Field(1.0, gt=0, allow_inf_nan=False, description="clipped: longest step to a neighbour's slice")
    byzantine: int = Field(1, ge=0, description="trimmed-mean, krum: how many copies of a slice may be lies")

    @field_validator("mixer")
    @classmethod
    def _sums_are_kept_by_weights(cls, mixer: str, info: ValidationInfo) -> str:
        exchange = info.data.get("exchange")
        if exchange in ("push-sum", "acknowledged") and mixer != "weighted":
            raise ValueError(f"with exchange {exchange!r}, which keeps sums, it must be 'weighted'")
        return mixer


def gossip(local: Local, options: GossipOptions) -> Script:
    """One round of one agent."""
    metrics: Mapping[str, float] = {}
    if options.order == "atc":
        metrics = local.learner.train(*slice_terms(options))
    yield from EXCHANGES[options.exchange](local, options)
    if options.order == "cta":
        metrics = local.learner.train(*slice_terms(options))
    return metrics


def synchronous(local: Local, options: GossipOptions) -> Stretch:
    """Wait for every neighbour's slices of this round."""
    mix(local, (yield slices(local)), mixing.mixer(options.mixer, options.clip, options.byzantine))


def asynchronous(local: Local, options: GossipOptions) -> Stretch:
    """Wait for nobody: each neighbour's newest copy counts ``W_ij · decay^age``, and once.

    The age is how many rounds it is behind mine, 0 for one that is ahead; what a weight loses stays at home. Used
    again and again, an old copy would draw an agent in each of its rounds, so that the slowest would count most, and
    one that is gone for ever. Once, both ends of a link take as much from it. The mean over the agents still moves.
    """
    now = slices(local)
    send = {peer: Message(message.tensors, {"round": local.round}) for peer, message in now.send.items()}
    inbox = yield Exchange(
        NEWEST + now.topic, send, now.expect, check=partial(check_dated, local), deadline=options.patience
    )
    mixer = mixing.mixer(options.mixer, options.clip, options.byzantine)
    ages = {peer: max(0, local.round - round_of(message)) for peer, message in inbox.items()}
    for key, row in local.plan.weights.items():
        weights = {peer: row[peer] * options.decay ** ages[peer] for peer in row if peer in inbox}
        mixer(local.learner.buffer.view(local.plan.regions[key]), copies(local, inbox, key, weights), weights)


def check_dated(local: Local, sender: PeerId, message: Message) -> None:
    """Refuse slices that are not those of the link, or of no round of this run. Raises SpecMismatch."""
    local.plan.check(sender, message)
    if not 0 <= round_of(message) < local.rounds:
        raise SpecMismatch(f"a message from {sender} must say its round, a whole number below {local.rounds}")


def round_of(message: Message) -> int:
    """The round that a message says it is of; −1 where it does not say."""
    said = message.meta.get("round")
    return said if isinstance(said, int) and not isinstance(said, bool) else -1


def slices(local: Local) -> Exchange:
    """The exchange of this round's slices with every neighbour of their overlays."""
    plan = local.plan
    mine = local.learner.cut(plan.regions)
    send = {peer: Message({str(key): mine[str(key)] for key in keys}) for peer, keys in plan.links.items()}
    return Exchange("slices", send, frozenset(plan.expected), check=plan.check)


def mix(local: Local, inbox: Inbox, mixer: mixing.Mixer = mixing.weighted) -> None:
    """Mix every slice, in place, with the copies that came, by the weights of its overlay."""
    for key, weights in local.plan.weights.items():
        mixer(local.learner.buffer.view(local.plan.regions[key]), copies(local, inbox, key, weights), weights)


def copies(local: Local, inbox: Inbox, key: SliceKey, weights: Mapping[PeerId, float]) -> dict[PeerId, Tensor]:
    """The neighbours' copies of one slice among what came, where my own is."""
    came = {peer: inbox[peer].tensors[str(key)] for peer in weights if peer in inbox}
    return to_device(came, local.learner.buffer.values.device)


EXCHANGES: Mapping[ExchangeName, Callable[[Local, GossipOptions], Stretch]] = {
    "synchronous": synchronous,
    "asynchronous": asynchronous,
    "push-sum": lambda local, options: push_sum.push_sum(local, options.patience),
    "acknowledged": lambda local, options: acknowledged.acknowledged(local, options.patience),
}
"""How slices may be exchanged, by the option's name."""

SCRIPTS = {Role.PEER: gossip}
"""The scripts of every method of the family."""
