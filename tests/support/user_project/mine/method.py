"""Agents gossip with noise, trunks among the holders of a modality, and count how often they are heard."""

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from parse_p2p import (
    Component,
    Exchange,
    Holder,
    Local,
    LossTerm,
    Message,
    Method,
    Metrics,
    PeerId,
    Role,
    Script,
    Sharing,
    SpecMismatch,
    both,
    check_tensors,
    everyone,
    having,
    losses,
    multimodal,
    objective,
    seeded,
    weighted,
)
from parse_p2p.data import Batch
from parse_p2p.models import Network, Outputs


class Options(objective.LossOptions):
    """The losses of the package, and some of one's own."""

    calm: float = Field(0.01, ge=0, description="weight of the squared logits")
    noise: float = Field(0.001, ge=0, description="standard deviation of what is added to a slice before it is sent")


def calm(weight: float) -> LossTerm:
    """The mean square of the logits."""

    def term(network: Network, batch: Batch, outputs: Outputs) -> Tensor:
        return weight * outputs.logits().square().mean()

    return term


def pairs(holder: Holder, component: Component) -> str | None:
    """A group of one's own: agents with as many modalities."""
    return f"as many:{len(holder.modalities)}"


TABLE: Sharing = {"trunk": having, "head.joint": both(pairs, multimodal), "head.bias": everyone}


def peer(local: Local, options: Options) -> Script:
    metrics: Metrics = local.learner.train(*objective.terms(options), losses.orthogonal(0.0), calm(options.calm))

    mine = local.learner.cut(local.plan.regions)
    draw = seeded(local.learner.seed, "noise", local.me, local.round)
    noisy = {name: x + options.noise * torch.randn(x.shape, generator=draw) for name, x in mine.items()}
    send = {p: Message({str(key): noisy[str(key)] for key in keys}) for p, keys in local.plan.links.items()}
    inbox = yield Exchange("noisy", send, frozenset(local.plan.expected), check=local.plan.check)
    for key, weights in local.plan.weights.items():
        theirs = {p: inbox[p].tensors[str(key)] for p in weights if p in inbox}
        weighted(local.learner.buffer.view(local.plan.regions[key]), theirs, weights)

    local.memory["heard"] = local.memory.get("heard", torch.zeros(())) + len(inbox)
    answer = Message({"heard": local.memory["heard"].reshape(1)}, {"round": local.round})

    def check(sender: PeerId, message: Message) -> None:
        check_tensors(sender, message, {"heard": (1,)})
        if message.meta.get("round") != local.round:
            raise SpecMismatch(f"{sender} must say that this is round {local.round}")

    inbox = yield Exchange("heard", dict.fromkeys(send, answer), frozenset(send), quorum=len(send), check=check)
    return {**metrics, **heard({p: message.tensors["heard"] for p, message in inbox.items()})}


def heard(counts: Mapping[PeerId, Tensor]) -> Metrics:
    return {"heard": float(sum(float(count) for count in counts.values()))}


METHOD = Method(
    name="mine",
    paper="",
    summary="gossip with noise",
    options=Options,
    scripts={Role.PEER: peer},
    sharing=lambda options, round, rounds: TABLE,
    networks=("mine.network",),
)
