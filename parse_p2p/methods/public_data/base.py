"""The scripts of FedAFD and CreamFL: parties exchange representations of a public set, and no client's parameters.

A round is: the coordinator learns from the public set and sends its representations of all items, G; the chosen
clients learn from them and from their own data and send theirs, U; the coordinator learns once more, towards an
ensemble of them (FedAFD, arXiv 2603.04890; CreamFL, arXiv 2302.08888). The public inputs are sent to each client
once, of its modalities and without labels. P items, d the common width.

On the wire, per modality m: ``public.m`` (P, ...) the inputs, ``repr.m`` (P, d) unit rows, ``encoder.m`` the
coordinator's encoder, flat. The fact ``items`` is a digest of the items and their order, which an upload repeats.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

import torch
from pydantic import Field
from torch import Tensor

from parse_p2p.core.errors import SpecMismatch
from parse_p2p.core.message import Message, Shapes, check_tensors
from parse_p2p.core.rng import seeded
from parse_p2p.core.slices import REST, Sharing, nobody
from parse_p2p.core.types import Kind, Metrics, Modality, PeerId
from parse_p2p.data.base import Batch
from parse_p2p.data.lazy import Input, in_memory, pieces
from parse_p2p.learning.learner import Learner, Objective
from parse_p2p.learning.losses import nats
from parse_p2p.learning.objective import terms
from parse_p2p.learning.transfer import to_device, to_host
from parse_p2p.methods.base import Check, Exchange, Inbox, Local, Script
from parse_p2p.methods.federation import FederatedOptions, hub, selected, with_content
from parse_p2p.methods.public_data.ensemble import Rows, distance, recall, retrieval, teachers
from parse_p2p.models.base import Outputs
from parse_p2p.models.embedding import Embedding

ENCODER = ("trunk.", "rows.")
UNIT = 0.02  # how far from one the length of a row may be: a lossy codec rounds

TABLE: Sharing = {REST: nobody}  # no client's parameter ever leaves it


class RepresentationOptions(FederatedOptions):
    """What the coordinator learns, and how fast."""

    gamma: float = Field(0.4, ge=0, description="weight of the coordinator's distance to the ensemble")
    server_task: Literal["retrieval", "classification", "both"] = Field(
        "retrieval", description="what the coordinator learns on the public set; its heads always learn to classify"
    )
    server_epochs: int = Field(1, ge=1, description="the coordinator's passes over the public set before it sends")
    server_rate: float = Field(1.0, ge=0, description="factor on the coordinator's learning rate")
    server_temperature: float = Field(0.1, gt=0, description="temperature of the coordinator's retrieval loss")
    public_batch: int = Field(32, ge=1, description="public items in a minibatch")


@dataclass(frozen=True)
class Scheme:
    """How a method differs: whether encoders are sent, what an upload is scored against, how far is far.

    ``anchors(G)`` gives per modality the matrix that scores the clients' rows, or None for a plain mean.
    """

    encoders: bool
    anchors: Callable[[Rows], Mapping[Modality, Tensor | None]]
    squared: bool


@dataclass(frozen=True)
class PublicKnowledge:
    """What a client learns from: public inputs of its modalities, and G of all modalities, on its device."""

    items: str
    inputs: Mapping[Modality, Tensor]
    rows: Rows

    def __len__(self) -> int:
        return len(next(iter(self.rows.values())))


Learn = Callable[[Local, PublicKnowledge | None], Metrics]


def client(local: Local, options: RepresentationOptions, scheme: Scheme, learn: Learn) -> Script:
    """One round of a client. It hears nothing if the coordinator is gone, and then learns alone."""
    inbox = yield Exchange("global", expect=frozenset({hub(local)}), check=fitting(local, scheme))
    if local.me not in selected(local, options, local.round):
        return {}
    knowledge = take(local, inbox, scheme)
    metrics = learn(local, knowledge)
    yield Exchange("local", {hub(local): upload(local, knowledge)})
    return metrics


def coordinator(local: Local, options: RepresentationOptions, scheme: Scheme) -> Script:
    """One round of the coordinator."""
    learner, chosen = local.learner, selected(local, options, local.round)
    pace(learner, {REST: options.server_rate})
    metrics = {"loss": learner.mean(study(local, options))}
    items, rows = digest(learner.data.inputs), represent(learner, learner.data.in_memory())
    yield Exchange("global", broadcast(local, scheme, chosen, items, rows))
    inbox = yield Exchange("local", expect=frozenset(chosen), check=aligned(local, items), deadline=options.patience)
    inbox = with_content(inbox)
    note_served(local, chosen, inbox)
    metrics["uploads"] = float(len(inbox))
    if len(inbox) >= options.quorum and (losses := distil(local, options, scheme, rows, inbox)):
        metrics["distillation"] = learner.mean(losses)
    if len(rows) > 1:
        metrics["retrieval"] = recall(represent(learner, learner.test.in_memory()))
    return metrics


# what both do


def network(learner: Learner) -> Embedding:
    return cast(Embedding, learner.model)


@torch.no_grad()
def represent(learner: Learner, inputs: Mapping[Modality, Tensor]) -> dict[Modality, Tensor]:
    """Unit rows (P, d) of every modality, by my own encoders and before any fusion."""
    learner.model.eval()
    return {m: network(learner).embed(m, inputs[m]) for m in network(learner).modalities}


def public_batches(local: Local, options: RepresentationOptions, count: int, *names: object) -> Iterator[Tensor]:
    """The numbers of all items in random minibatches; drawn apart from the private ones, which stay as they are."""
    order = torch.randperm(count, generator=seeded(local.learner.seed, local.me, local.round, "public", *names))
    batches = torch.tensor_split(order, math.ceil(count / options.public_batch))
    return (rows.to(local.learner.data.targets.device) for rows in batches)


def pace(learner: Learner, factors: Mapping[str, float]) -> None:
    """Multiply the learning rates of these parts of the model, or of all the rest, for the rest of the round."""
    for group in learner.optimiser.param_groups:
        part = learner.buffer.regions[group["component"]].component.part
        group["lr"] *= factors.get(part, factors.get(REST, 1.0))


def of_encoder(name: str) -> bool:
    """Whether a component is (a part of) an encoder."""
    return name.startswith(ENCODER)


def heads(name: str) -> bool:
    return name.startswith("head.")


# the client


def task_pass(local: Local, options: RepresentationOptions) -> list[Tensor]:
    """One pass over my own data on the losses that all methods share."""
    model = network(local.learner)
    resting = ("discriminator.",) if model.present else ("discriminator.", "gate.")
    return local.learner.epoch(terms(options), only=lambda name: not name.startswith(resting))


def take(local: Local, inbox: Inbox, scheme: Scheme) -> PublicKnowledge | None:
    """Take in what the coordinator sent; None where there is nothing to learn from."""
    message = inbox.get(hub(local))
    if message is None or not message.tensors:
        return None
    model, device = network(local.learner), local.learner.data.targets.device
    mine, items = model.modalities, str(message.meta["items"])
    if scheme.encoders:
        model.receive({m: message.tensors[f"encoder.{m}"] for m in mine})
    if f"public.{mine[0]}" in message.tensors:
        local.memory["items"] = torch.frombuffer(bytearray(items.encode()), dtype=torch.uint8)
        local.memory |= {f"public.{m}": message.tensors[f"public.{m}"].clone() for m in mine}
    if known_items(local) != items:
        return None
    inputs = {m: local.memory[f"public.{m}"].to(device) for m in mine}
    return PublicKnowledge(
        items, inputs, to_device({m: message.tensors[f"repr.{m}"] for m in everything(local)}, device)
    )


def known_items(local: Local) -> str:
    """The digest of the public inputs that I have; empty where I have none."""
    kept = local.memory.get("items")
    return "" if kept is None else bytes(kept.tolist()).decode()


def upload(local: Local, knowledge: PublicKnowledge | None) -> Message:
    """U of my modalities; an empty message, so that nobody waits, where there was nothing to learn from."""
    if knowledge is None:
        return Message()
    rows = represent(local.learner, knowledge.inputs)
    return Message(to_host({f"repr.{m}": u for m, u in rows.items()}), {"items": knowledge.items})


def everything(local: Local) -> tuple[Modality, ...]:
    """All modalities of the run."""
    return local.plan.holders[hub(local)].modalities


def fitting(local: Local, scheme: Scheme) -> Check:
    """Refuse from the coordinator all but what ``broadcast`` sends: nothing, or G with what goes with it."""
    model = network(local.learner)

    def check(sender: PeerId, message: Message) -> None:
        if not message.tensors:
            return
        items, count = message.meta.get("items"), rows_in(message)
        if not isinstance(items, str) or not items or not count:
            raise SpecMismatch(f"a message of {sender} does not say which public items its rows belong to")
        wanted: dict[str, tuple[int, ...]] = {f"repr.{m}": (count, model.size) for m in everything(local)}
        if scheme.encoders:
            wanted |= {f"encoder.{m}": (model.encoder_size(m),) for m in model.modalities}
        if any(name.startswith("public.") for name in message.tensors):
            wanted |= {f"public.{m}": (count, *local.learner.data.shape(m)) for m in model.modalities}
        elif items == known_items(local) and count != len(local.memory[f"public.{model.modalities[0]}"]):
            raise SpecMismatch(f"a message of {sender} has {count} rows for public items that are not so many")
        unit_rows(sender, message, wanted)

    return check


def rows_in(message: Message) -> int:
    """The rows of the representations in a message, if they are matrices."""
    return max((len(t) for name, t in message.tensors.items() if name.startswith("repr.") and t.dim() == 2), default=0)


def unit_rows(sender: PeerId, message: Message, wanted: Shapes) -> None:
    """Refuse a message that is not exactly these tensors, or whose representations have rows of another length.

    Raises SpecMismatch, one sentence naming the tensor.
    """
    check_tensors(sender, message, wanted)
    for name, tensor in message.tensors.items():
        if name.startswith("repr.") and bool(((tensor.norm(dim=1) - 1).abs() > UNIT).any()):
            raise SpecMismatch(f"{name} from {sender} has a row that is no unit vector")


# the coordinator


def digest(inputs: Mapping[Modality, Input]) -> str:
    """A short name of some items in this order."""
    hashed = hashlib.blake2b(digest_size=8)
    for m in sorted(inputs):
        for piece in pieces(inputs[m]):
            hashed.update(piece.cpu().numpy().tobytes())
    return hashed.hexdigest()


def study(local: Local, options: RepresentationOptions) -> list[Tensor]:
    """Learn from the public set. Where classes are no task, heads are fitted to encoders that do not feel it."""
    learner = local.learner
    model, paired = network(learner), len(network(learner).modalities) > 1
    classify = options.server_task != "retrieval" or not paired
    retrieve = options.server_task != "classification" and paired

    def loss(batch: Batch) -> Tensor:
        outputs = model(batch.inputs)
        chosen = [term(model, batch, outputs) for term in terms(options)] if classify else []
        if retrieve:
            chosen.append(retrieval(unfused(outputs), options.server_temperature))
        return torch.stack(chosen).sum()

    def probe(batch: Batch) -> Tensor:
        with torch.no_grad():
            latents = model(batch.inputs).latents
        return nats(model.read(latents).logits(task=batch.task), batch)

    model.train()
    losses = []
    for epoch in range(options.server_epochs):
        for rows in public_batches(local, options, len(learner.data), "study", epoch):
            batch = learner.data.batch(rows)
            losses.append(learner.step(partial(loss, batch), only=lambda n: of_encoder(n) or (classify and heads(n))))
            if not classify:
                learner.step(partial(probe, batch), only=heads)
    return losses


def unfused(outputs: Outputs) -> Rows:
    """The coordinator's own rows: it has no other encoder to fuse with."""
    return {m: latents[Kind.JOINT] for m, latents in outputs.latents.items()}


def broadcast(
    local: Local, scheme: Scheme, chosen: tuple[PeerId, ...], items: str, rows: Rows
) -> dict[PeerId, Message]:
    """G and what goes with it for the chosen clients, an empty message for the others: nobody runs ahead."""
    common = to_host({f"repr.{m}": g for m, g in rows.items()})
    encoders = to_host({m: network(local.learner).encoder(m) for m in rows if scheme.encoders})

    def message(peer: PeerId) -> Message:
        theirs = local.plan.holders[peer].modalities
        own = {f"encoder.{m}": encoders[m] for m in theirs if scheme.encoders}
        if f"served.{peer}" not in local.memory:
            own |= {f"public.{m}": in_memory(local.learner.data.inputs[m]).cpu() for m in theirs}
        return Message(common | own, {"items": items})

    return {peer: message(peer) if peer in chosen else Message() for peer in local.plan.clients}


def note_served(local: Local, chosen: tuple[PeerId, ...], inbox: Inbox) -> None:
    """Remember who has the public inputs: those whose upload came. The others get them (again) next time."""
    for peer in chosen:
        local.memory.pop(f"served.{peer}", None)
    local.memory |= {f"served.{peer}": torch.ones(1) for peer in inbox}


def aligned(local: Local, items: str) -> Check:
    """Refuse an upload of other items, of another order, or not of exactly the sender's modalities."""
    count, size = local.learner.samples, network(local.learner).size

    def check(sender: PeerId, message: Message) -> None:
        if not message.tensors:
            return  # it has no lesson yet
        unit_rows(sender, message, {f"repr.{m}": (count, size) for m in local.plan.holders[sender].modalities})
        if message.meta.get("items") != items:
            raise SpecMismatch(f"the rows of {sender} belong to other public items, or to another order of them")

    return check


def distil(local: Local, options: RepresentationOptions, scheme: Scheme, rows: Rows, inbox: Inbox) -> list[Tensor]:
    """One pass over the public set towards the ensemble of the uploads; the losses, none where there is nothing."""
    learner, device = local.learner, local.learner.data.targets.device
    model = network(learner)
    uploads = {peer: to_device({m: message.tensors[f"repr.{m}"] for m in local.plan.holders[peer].modalities}, device)
               for peer, message in inbox.items()}  # fmt: skip
    taught = teachers(uploads, scheme.anchors(rows))
    if not taught or not options.gamma:
        return []
    owned = tuple(f"{part}{m}" for m in taught for part in ("trunk.", "rows.joint."))

    def loss(at: Tensor) -> Tensor:
        inputs = learner.data.batch(at).inputs
        apart = [distance(model.embed(m, inputs[m]), a[at], scheme.squared) for m, a in taught.items()]
        return torch.stack(apart).sum()

    model.train()
    batches = public_batches(local, options, len(learner.data), "distil")
    aim = Objective("distillation", options.gamma)
    return [learner.step(partial(loss, at), only=lambda name: name in owned, objective=aim) for at in batches]
