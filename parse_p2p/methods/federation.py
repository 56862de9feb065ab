"""Federated averaging (McMahan et al., arXiv 1602.05629), slice by slice: the scripts of FedAvg and its kin.

A round is: the chosen clients train, send their slices up, and the coordinator averages each slice over those that
hold it, by sample count. The average goes down at once, to the clients of the next round (after the last round to
all), so that a round ends with what is evaluated and the next one begins with it. This is the usual round, cut at
another place: the bytes and the models are the same. A client that missed the last average (it was away, or the
coordinator was) goes on from its own model, and that update counts. A client's momentum is kept from round to round,
and takes in how rounds moved its model, as in the decentralised methods.
"""

import math
from collections.abc import Callable, Mapping

import torch
from pydantic import Field
from torch import Tensor

from parse_p2p.core.errors import SpecMismatch
from parse_p2p.core.message import Message
from parse_p2p.core.rng import seeded
from parse_p2p.core.types import Metrics, PeerId
from parse_p2p.learning.objective import LossOptions
from parse_p2p.learning.transfer import to_device
from parse_p2p.methods.base import Exchange, Inbox, Local, Script

SAMPLES = 2**40  # nobody has more
GLOBAL = "global/"  # in the coordinator's memory, before the name of a slice that its own model does not hold


class FederatedOptions(LossOptions):
    """Who takes part in a round, and for whom it waits."""

    clients: int = Field(0, ge=0, description="clients a round, drawn anew each round; 0: all")
    quorum: int = Field(1, ge=0, description="fewer updates than this leave the global model as it is")
    deadline: float = Field(0.0, ge=0, description="seconds until a round goes on without stragglers; 0: none")

    @property
    def patience(self) -> float | None:
        """The deadline of the coordinator's exchange, in seconds; None: the run's."""
        return self.deadline or None


Train = Callable[[Local], Metrics]
"""The local steps of a client; what they measured."""


def selected(local: Local, options: FederatedOptions, round: int) -> tuple[PeerId, ...]:
    """The clients of a round, sorted: the same draw on every agent. After the last round: all, to end alike."""
    everyone = local.plan.clients
    if not 0 < options.clients < len(everyone) or round >= local.rounds:
        return everyone
    draw = torch.randperm(len(everyone), generator=seeded(local.learner.seed, "clients", round))
    return tuple(sorted(everyone[i] for i in draw[: options.clients].tolist()))


def client(local: Local, options: FederatedOptions, train: Train) -> Script:
    """One round of a client; ``train`` does its local steps."""
    metrics: Metrics = {}
    if local.me in selected(local, options, local.round):
        metrics = train(local)
        yield Exchange("update", {hub(local): update(local)})
    # who is not chosen waits too, for an empty message: nobody may run ahead of the coordinator
    inbox = yield Exchange("global", expect=frozenset({hub(local)}), check=partly(local))
    load(local, inbox[hub(local)].tensors if hub(local) in inbox else {})
    return metrics


Combine = Callable[[Local, Inbox], Mapping[str, Tensor]]
"""What a coordinator makes of the updates that came: the new global slices, by their names."""


def coordinator(local: Local, options: FederatedOptions, combine: Combine | None = None) -> Script:
    """One round of the coordinator; ``combine`` makes the new global slices, by default their ``average``."""
    chosen = selected(local, options, local.round)
    inbox = yield Exchange("update", expect=frozenset(chosen), check=counted(local), deadline=options.patience)
    if len(inbox) >= options.quorum:
        remember(local, average(inbox) if combine is None else combine(local, inbox))
    yield Exchange("global", broadcast(local, selected(local, options, local.round + 1)))
    return {"updates": float(len(inbox))}


def hub(local: Local) -> PeerId:
    """The coordinator of this run. Raises KeyError in a run that has none."""
    if local.plan.coordinator is None:
        raise KeyError("this run has no coordinator")
    return local.plan.coordinator


def with_content(inbox: Inbox) -> Inbox:
    """What came, less the empty messages of those who have nothing to send yet."""
    return {peer: message for peer, message in inbox.items() if message.tensors}


def update(local: Local) -> Message:
    """My slices, with the number of samples they were trained on."""
    return Message(local.learner.cut(local.plan.regions), {"samples": local.learner.samples})


def average(inbox: Inbox) -> dict[str, Tensor]:
    """Each slice averaged over the clients that sent it, weighted by their samples."""
    weights = {peer: float(message.meta["samples"]) for peer, message in inbox.items()}  # type: ignore[arg-type]
    return weighted_average({peer: message.tensors for peer, message in inbox.items()}, weights)


def weighted_average(
    tensors: Mapping[PeerId, Mapping[str, Tensor]], weights: Mapping[PeerId, float]
) -> dict[str, Tensor]:
    """Average the tensors of each name over those who have it: ``Σ_k w_k x_k / Σ_k w_k``.

    Equal copies stay equal to the last bit. Summed in double and in the order of the agents' names, so that it does not
    depend on which message came first.
    """
    averaged = {}
    for name in sorted({name for each in tensors.values() for name in each}):
        holders = sorted(peer for peer in tensors if name in tensors[peer])
        total = math.fsum(weights[peer] for peer in holders)
        first = tensors[holders[0]][name].double()
        change = torch.zeros_like(first)
        for peer in holders[1:]:
            change += weights[peer] / total * (tensors[peer][name].double() - first)
        averaged[name] = (first + change).to(tensors[holders[0]][name].dtype)
    return averaged


def remember(local: Local, slices: Mapping[str, Tensor]) -> None:
    """Make these slices the global ones: in my own model where I hold them, the others in my memory."""
    mine = set(map(str, local.plan.regions))
    local.memory.update({GLOBAL + name: tensor for name, tensor in slices.items() if name not in mine})
    load(local, slices)


def global_slices(local: Local) -> dict[str, Tensor]:
    """The coordinator's global slices: those of its own model, and those that clients sent which it does not hold."""
    mine = local.learner.cut(local.plan.regions)
    return mine | {n.removeprefix(GLOBAL): t for n, t in local.memory.items() if n.startswith(GLOBAL)}


def broadcast(local: Local, receivers: tuple[PeerId, ...]) -> dict[PeerId, Message]:
    """The global slices of each receiver, and an empty message for all the other clients.

    A slice that nobody ever sent and that I do not hold is left out.
    """
    known = global_slices(local)
    links = local.plan.links
    theirs = {peer: {str(k): known[str(k)] for k in links[peer] if str(k) in known} for peer in receivers}
    return {peer: Message(theirs.get(peer, {})) for peer in local.plan.clients}


@torch.no_grad()
def load(local: Local, slices: Mapping[str, Tensor]) -> None:
    """Write slices into my model."""
    buffer = local.learner.buffer
    came = {key: slices[str(key)] for key in local.plan.regions if str(key) in slices}
    for key, values in to_device(came, buffer.values.device).items():
        buffer.view(local.plan.regions[key]).copy_(values)


def counted(local: Local) -> Callable[[PeerId, Message], None]:
    """Refuse an update that is not exactly the client's slices, or whose sample count cannot be."""

    def check(sender: PeerId, message: Message) -> None:
        local.plan.check(sender, message)
        samples = message.meta.get("samples")
        if type(samples) is not int or not 0 < samples < SAMPLES:
            raise SpecMismatch(f"the update of {sender} counts {samples!r} samples, not a whole number above 0")

    return check


def partly(local: Local) -> Callable[[PeerId, Message], None]:
    """Refuse what is no slice of mine, or of another length; slices may be missing."""
    return lambda sender, message: local.plan.check(sender, message, whole=False)
