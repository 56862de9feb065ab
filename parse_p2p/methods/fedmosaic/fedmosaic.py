"""FedMosaic (arXiv 2506.11024): one small shared adapter for networks of any size, averaged by relevance.

A client has a frozen backbone of its own width and depth. Before the first round the coordinator, which alone has
public data, pre-trains a backbone for every size, aligns the frames of their adapters, and hands both out. A round is
in the paper's order: every client says hello; the coordinator sends each an average of the other clients' latest
adapters, weighted by how alike their data are; the client trains its own beside this received one, which stays as it
is, and sends up its own and a sketch of its data. The personal model, adapters both and a gate, is what is evaluated.
Until a client is sent any, a copy of its own adapters stands in for the received ones. Training is that of the
runtime, SGD with weight decay, and an input gate has no noise.

On the wire: ``pq/SLOT/P`` (r, r), ``pq/SLOT/Q`` (r), ``lora/LAYER/A`` and ``/B`` of the layers without a slot, between
networks of one size, and upwards ``sketch``; once for each client ``backbone/…``, ``frame/SLOT/A`` and ``/B``, and the
pivot's backbone ``probe/…`` unless it is the client's own.
"""

from collections.abc import Collection, Mapping
from itertools import chain, islice
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.message import Message, check_tensors
from parse_p2p.core.rng import seeded
from parse_p2p.core.slices import Sharing, everyone, nobody
from parse_p2p.core.types import PeerId, Role, TensorMap
from parse_p2p.learning.objective import terms
from parse_p2p.methods.base import Check, Exchange, Inbox, Local, Method, Script
from parse_p2p.methods.federation import FederatedOptions, hub, selected, weighted_average, with_content
from parse_p2p.methods.fedmosaic import relevance
from parse_p2p.methods.fedmosaic.messages import adapter_shapes, begins, from_coordinator, greeting
from parse_p2p.methods.fedmosaic.setup import Setup, Size, smallest, within
from parse_p2p.models.adapters import Adapters
from parse_p2p.models.lora.backbone import EXPANSION

PQ = "adapter.pq"
LAST = "last/"  # in the coordinator's memory, before the name of a client: the round of its last hello


class Options(FederatedOptions):
    branch: float = Field(0.0, ge=0, description="weight of the head's own cross-entropy, here the task's once more")
    relevance: Literal["rela", "uniform"] = Field("rela", description="weigh others by their sketches, or all alike")
    similarity: Literal["flat", "column"] = Field("flat", description="cosine of sketches, or mean over columns")
    tau: float = Field(0.5, gt=0, description="temperature of the weights: the smaller, the fewer count")
    rate: float = Field(
        0.1, gt=0, description="factor on train.lr: a backbone that is trained already is worse for large steps"
    )
    pq_rate: float = Field(2.5, gt=0, description="factor on the rate of P and Q beside that")
    share_lora: bool = Field(True, description="exchange the other layers' adapters among networks of one size")
    b_align: Literal["adapter_cca", "output_map", "grad_map", "random"] = Field(
        "adapter_cca", description="how B is aligned between sizes: as published, two extensions, or A and B random"
    )
    pretraining: int = Field(300, ge=0, description="steps on the public data for each size of backbone")
    every: int = Field(5, ge=1, description="local steps from one sampled gradient to the next")
    keep: float = Field(0.4, gt=0, le=1, description="share of the rows of a gradient that a sketch keeps")
    mask: Literal["random", "prefix"] = Field("random", description="which rows: the same for all agents")
    noise: float = Field(0.05, ge=0, description="noise on a sampled gradient, in units of its root mean square")
    forget: int = Field(
        5,
        ge=0,
        description="rounds without a sign of a client after which its adapters count no more; 0: they always do",
    )
    ema: float = Field(0.5, gt=0, le=1, description="weight of this round's gradient against those before")


# the client


def client(local: Local, options: Options) -> Script:
    """One round of a client."""
    model, coordinator = network(local), hub(local)
    yield Exchange("hello", {coordinator: Message({}, {"ready": "pivot" in local.memory})})
    check = from_coordinator(model, pivot(local))
    inbox = yield Exchange("global", expect=frozenset({coordinator}), check=check)
    take(local, inbox[coordinator] if coordinator in inbox else Message())
    if local.me not in selected(local, options, local.round):
        return {}
    factor = {PQ: options.rate * options.pq_rate}
    metrics = local.learner.train(*terms(options), scale=lambda part: factor.get(part, options.rate))
    yield Exchange("update", {coordinator: Message(upload(local, options))})
    return metrics


def network(local: Local) -> Adapters:
    model = local.learner.model
    if not isinstance(model, Adapters):
        raise ConfigError("fedmosaic needs model.network adapters")
    return model


def take(local: Local, message: Message) -> None:
    """Take over what the coordinator sent: what I begin with, if it is there, and the others' adapters.

    Where it sent none, those received before stay; until the first come, a copy of my own stands in for them.
    """
    model, tensors = network(local), message.tensors
    if begins(message):
        install(model, tensors)
        local.memory["pivot"] = torch.tensor(pivot(local))
        local.memory.update({name: t.clone() for name, t in tensors.items() if name.startswith("probe/")})
    given = {name: t for name, t in tensors.items() if name.startswith(("pq/", "lora/"))}
    if given or "heard" not in local.memory:
        receive(model, given)
    if given:
        local.memory["heard"] = torch.ones(1)


@torch.no_grad()
def install(model: Adapters, tensors: TensorMap) -> None:
    """Load the backbone and the frames."""
    for name, tensor in model.base.items():
        tensor.copy_(tensors[f"backbone/{name}"])
    for slot, adapter in model.slots.items():
        adapter.align(tensors[f"frame/{slot}/A"], tensors[f"frame/{slot}/B"])


def receive(model: Adapters, tensors: TensorMap) -> None:
    """Load the received adapters; a copy of my own stands in for one that did not come."""
    found = own(model, lora=True) | dict(tensors)
    for key, adapter in model.shared.items():
        adapter.receive(*(found[f"{key}/{name}"] for name in adapter.names))


def own(model: Adapters, lora: bool) -> dict[str, Tensor]:
    """Copies of my own adapters, under their names on the wire."""
    return {
        f"{key}/{name}": tensor.detach().to("cpu", copy=True)
        for key, adapter in model.shared.items()
        if lora or key.startswith("pq/")
        for name, tensor in zip(adapter.names, adapter.local, strict=True)
    }


def upload(local: Local, options: Options) -> dict[str, Tensor]:
    """What I send; nothing as long as my frames are not those of the others."""
    if "pivot" not in local.memory:
        return {}
    adapters = own(network(local), options.share_lora)
    return adapters | ({"sketch": sketch(local, options)} if options.relevance == "rela" else {})


def sketch(local: Local, options: Options) -> Tensor:
    """The gradient of the pivot's backbone, averaged over minibatches of mine and over the rounds.

    It depends on the data alone, so the minibatches need not be those that were trained on.
    """
    model, learner = network(local), local.learner
    width, depth = (int(n) for n in local.memory["pivot"])
    probe = model.sibling(width, depth)
    tensors = model.base if (width, depth) == model.dimensions else within(local.memory, "probe/")
    tensors = {name: tensor.to(learner.data.targets.device) for name, tensor in tensors.items()}
    kept = relevance.rows(width, options.keep, options.mask, seeded(learner.seed, "mask"))
    noise = seeded(learner.seed, local.me, "sketch", local.round)
    steps = chain.from_iterable(learner.batches() for _ in range(learner.options.epochs))
    sampled = [
        relevance.sanitised(relevance.gradient(probe, tensors, batch).cpu(), kept, options.noise, noise)
        for batch in islice(steps, 0, None, options.every)
    ]
    now = torch.stack(sampled).mean(0)
    local.memory["sketch"] = relevance.smoothed(local.memory.get("sketch"), now, options.ema)
    return local.memory["sketch"].clone()


# the coordinator


def coordinator(local: Local, options: Options) -> Script:
    """One round of the coordinator; its own model carries the plain average of all adapters."""
    clients = local.plan.clients
    hellos = yield Exchange("hello", expect=frozenset(clients), check=greeting, deadline=options.patience)
    setup = made(local, options)
    drop_silent(local, options, hellos)
    there = [peer for peer in selected(local, options, local.round) if peer in hellos]
    new = [peer for peer in hellos if not hellos[peer].meta["ready"]]
    yield Exchange("global", messages(local, options, setup, there, new))
    inbox = yield Exchange("update", expect=frozenset(there), check=uploaded(local, options), deadline=options.patience)
    inbox = with_content(inbox)
    if len(inbox) >= options.quorum:
        remember(local, inbox)
    return {"updates": float(len(inbox))}


def made(local: Local, options: Options) -> Setup:
    """What everyone begins with, for all sizes of the run; my own model begins with it too."""
    if local.public is None:
        raise ConfigError("fedmosaic needs a public data set at its coordinator: add public: {share: 0.15}")
    model, first = network(local), "pivot" not in local.memory
    setup = Setup(model, local.public, local.memory, local.learner.seed, options.pretraining, options.b_align)
    setup.add(sizes(local).values())
    if first:
        install(model, setup.tensors(model.dimensions, model.modalities))
    return setup


def sizes(local: Local) -> dict[PeerId, Size]:
    """The size of every network of the run."""
    return {peer: holder.size for peer, holder in local.plan.holders.items() if holder.size is not None}


def pivot(local: Local) -> Size:
    """The smallest size of the run: the same answer on every agent."""
    return smallest(sizes(local).values())


def messages(
    local: Local, options: Options, setup: Setup, there: Collection[PeerId], new: Collection[PeerId]
) -> dict[PeerId, Message]:
    """For every client something, if only an empty message: what it begins with, the others' adapters, or both."""
    known = sizes(local)
    given = customised(local, options, there)
    first = {peer: setup.tensors(known[peer], local.plan.holders[peer].modalities) for peer in new}
    return {peer: Message(given.get(peer, {}) | first.get(peer, {})) for peer in local.plan.clients}


def uploads(local: Local) -> dict[PeerId, dict[str, Tensor]]:
    """The latest upload of every client."""
    found = within(local.memory, "upload/")
    return {PeerId(peer): within(found, f"{peer}/") for peer in sorted({name.split("/")[0] for name in found})}


def drop_silent(local: Local, options: Options, hellos: Inbox) -> None:
    """Note who said hello, and give up the uploads of those who have not for ``forget`` rounds.

    Who is only not chosen says hello all the same. Who comes back counts again from its next upload on.
    """
    memory = local.memory
    memory |= {f"{LAST}{peer}": torch.tensor(local.round) for peer in hellos}
    silent = {name.removeprefix(LAST) for name in memory
              if name.startswith(LAST) and local.round - int(memory[name]) >= options.forget > 0}  # fmt: skip
    for name in [name for name in memory if name.startswith(tuple(f"upload/{peer}/" for peer in silent))]:
        del memory[name]


def customised(local: Local, options: Options, receivers: Collection[PeerId]) -> dict[PeerId, dict[str, Tensor]]:
    """The others' adapters, weighted for each receiver by its likeness to them; nothing where there are no others."""
    latest, known = uploads(local), sizes(local)
    sketches = {peer: each["sketch"] for peer, each in latest.items() if "sketch" in each}
    alike = relevance.similarity(sketches, options.similarity) if options.relevance == "rela" else {}
    given = {}
    for me in receivers:
        others = {peer: each for peer, each in latest.items() if peer != me}
        same = {peer: each for peer, each in others.items() if known[peer] == known[me]}
        given[me] = mixed("pq/", others, alike.get(me, {}), options.tau)
        given[me] |= mixed("lora/", same, alike.get(me, {}), options.tau)
    return given


def mixed(kind: str, sent: Mapping[PeerId, TensorMap], scores: Mapping[PeerId, float], tau: float) -> dict[str, Tensor]:
    """The adapters of a kind, averaged by relevance; all alike where nothing is known of it."""
    weights = relevance.weights({peer: scores.get(peer, 0.0) for peer in sent}, tau)
    chosen = {peer: {name: t for name, t in each.items() if name.startswith(kind)} for peer, each in sent.items()}
    return weighted_average(chosen, weights)


def uploaded(local: Local, options: Options) -> Check:
    """Refuse an upload that is not exactly the adapters of its sender and a sketch; an empty one is none."""
    model, known, width = network(local), sizes(local), pivot(local)[0]
    sketch = {"sketch": (max(1, int(options.keep * width)), EXPANSION * width)} if options.relevance == "rela" else {}

    def check(sender: PeerId, message: Message) -> None:
        if message.tensors:
            check_tensors(sender, message, {**adapter_shapes(model, known[sender], options.share_lora), **sketch})

    return check


def remember(local: Local, inbox: Inbox) -> None:
    """Keep these uploads for the next round, and load the plain average of all into my own model."""
    model = network(local)
    for peer, message in inbox.items():
        local.memory.update({f"upload/{peer}/{name}": t.clone() for name, t in message.tensors.items()})
    same = {peer for peer, size in sizes(local).items() if size == model.dimensions}
    latest = uploads(local)
    tensors = mixed("pq/", latest, {}, 1.0)
    tensors |= mixed("lora/", {peer: latest[peer] for peer in same & latest.keys()}, {}, 1.0)
    keep(model, tensors)
    receive(model, tensors)


@torch.no_grad()
def keep(model: Adapters, tensors: TensorMap) -> None:
    """Load adapters as my own, where they are given."""
    for key, adapter in model.shared.items():
        for name, mine in zip(adapter.names, adapter.local, strict=True):
            mine.copy_(tensors.get(f"{key}/{name}", mine))


def sharing(options: Options, round: int, rounds: int) -> Sharing:
    """What crosses; agents of one size share the other layers' adapters."""
    return {
        PQ: everyone,
        "adapter.lora": everyone if options.share_lora else nobody,
        "adapter.gate": nobody,
    }


METHOD = Method(
    name="fedmosaic",
    paper="arXiv 2506.11024",
    summary="adapters that fit networks of any size, averaged for each client by relevance",
    options=Options,
    scripts={Role.CLIENT: client, Role.COORDINATOR: coordinator},
    sharing=sharing,
    networks=("adapters",),
    public=True,
    classes=True,
)
