"""PmcmFL (Bao et al., arXiv 2312.13508): FedAvg for agents that lack modalities, with class prototypes in their place.

A prototype p_{m,c} is the mean latent of modality m over all samples of class c. In each round a client sends the means
over its own samples with its model, and the coordinator makes of them

    p_{m,c} = Σ_k n_{k,c} p_{k,m,c} / Σ_k n_{k,c}

over the clients k that have modality m, n_{k,c} being its samples of class c; of a class that nobody sent they stay as
they were. Then, with y a sample's class:

    mask        missing modalities of a sample are p_{m,y} in the fusion, whose cross-entropy is the loss
    contrast    − log (exp(s_{aa}/τ) / Σ_b exp(s_{ab}/τ)), the mean over the batch, s_{ab} = cos(z_{m,a}, p_{m,y_b})

The text was not at hand: the two are after the authors' published code, restated. It weighs clients by their samples
instead of the samples of a class, and has a third contrast, of fused representations, which is left out here.
"""

from typing import cast

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from parse_p2p.core.errors import SpecMismatch
from parse_p2p.core.message import Message, check_tensors
from parse_p2p.core.types import Kind, Metrics, Modality, PeerId, Role
from parse_p2p.data.base import Batch
from parse_p2p.learning.learner import EVALUATION_BATCH, Learner, LossTerm
from parse_p2p.learning.losses import nats
from parse_p2p.methods import fedavg, federation
from parse_p2p.methods.base import Check, Exchange, Inbox, Local, Method, Script
from parse_p2p.methods.federation import FederatedOptions, average, hub, load, remember, selected
from parse_p2p.models.base import Network, Outputs
from parse_p2p.models.prototyped import Prototyped

PROTOTYPES = "prototypes"
"""On the wire all of them, (M, C, d), down; before a modality those of a client, ``prototypes.audio`` (C, d), up."""
COUNTS = "counts"
"""Before a modality: the client's samples of each class that have it, (C,)."""


class Options(FederatedOptions):
    contrast: float = Field(0.1, ge=0, description="weight of the contrast to the prototypes")
    temperature: float = Field(0.2, gt=0, description="temperature of the contrast")
    warm_up: int = Field(1, ge=0, description="rounds before the contrast sets in")


def client(local: Local, options: Options) -> Script:
    """One round of a client."""
    metrics: Metrics = {}
    if local.me in selected(local, options, local.round):
        metrics = train(local, options)
        yield Exchange("update", {hub(local): update(local)})
    inbox = yield Exchange("global", expect=frozenset({hub(local)}), check=partly(local))
    tensors = dict(inbox[hub(local)].tensors) if hub(local) in inbox else {}
    if PROTOTYPES in tensors:
        network_of(local.learner).prototypes.copy_(tensors.pop(PROTOTYPES))
    load(local, tensors)
    return metrics


def train(local: Local, options: Options) -> Metrics:
    terms: list[LossTerm] = [masked]
    if options.contrast and local.round >= options.warm_up:
        terms.append(contrast(options.contrast, options.temperature))
    return local.learner.train(*terms)


def masked(network: Network, batch: Batch, outputs: Outputs) -> Tensor:
    """Cross-entropy of the fusion, prototypes of the sample's class in place of what is missing."""
    return nats(cast(Prototyped, network).fused(outputs.latents, batch.targets), batch)


def contrast(weight: float, temperature: float) -> LossTerm:
    """Of each modality that is there, over the samples whose class has a prototype of it."""

    def term(network: Network, batch: Batch, outputs: Outputs) -> Tensor:
        known = cast(Prototyped, network)
        total = torch.zeros((), device=batch.targets.device)
        for modality, latents in outputs.latents.items():
            targets = known.prototypes[known.slots.index(modality)][batch.targets]
            rows = targets.any(1)
            if rows.any():
                scores = normalize(latents[Kind.JOINT][rows]) @ normalize(targets[rows]).T / temperature
                total = total - scores.log_softmax(1).diagonal().mean()
        return weight * total

    return term


def network_of(learner: Learner) -> Prototyped:
    return cast(Prototyped, learner.model)


@torch.no_grad()
def means(learner: Learner) -> dict[str, Tensor]:
    """My prototypes and counts by their names on the wire: zeros for a class of which I have no sample."""
    network = network_of(learner)
    _, classes, size = network.prototypes.shape
    sums = {m: torch.zeros(classes, size, dtype=torch.float64) for m in network.modalities}
    counts = {m: torch.zeros(classes, dtype=torch.float64) for m in network.modalities}
    network.eval()
    for rows in torch.split(torch.arange(len(learner.data)), EVALUATION_BATCH):
        for _, part in learner.data.batch(rows.to(learner.data.targets.device)).parts():
            targets = part.targets.cpu()
            for m, latents in network(part.inputs).latents.items():
                sums[m].index_add_(0, targets, latents[Kind.JOINT].cpu().double())
                counts[m] += torch.bincount(targets, minlength=classes)
    found = {}
    for m in network.modalities:
        found[f"{PROTOTYPES}.{m}"] = (sums[m] / counts[m].clamp(min=1)[:, None]).float()
        found[f"{COUNTS}.{m}"] = counts[m].float()
    return found


def update(local: Local) -> Message:
    """My slices and prototypes, with the number of samples."""
    whole = federation.update(local)
    return Message({**whole.tensors, **means(local.learner)}, whole.meta)


def coordinator(local: Local, options: Options) -> Script:
    """One round of the coordinator."""
    chosen = frozenset(selected(local, options, local.round))
    inbox = yield Exchange("update", expect=chosen, check=counted(local), deadline=options.patience)
    if len(inbox) >= options.quorum:
        agree(network_of(local.learner), inbox)
        names = {peer: set(map(str, local.plan.links[peer])) for peer in inbox}
        slices = {p: {n: t for n, t in m.tensors.items() if n in names[p]} for p, m in inbox.items()}
        remember(local, average({peer: Message(slices[peer], inbox[peer].meta) for peer in inbox}))
    receivers = selected(local, options, local.round + 1)
    everything = {PROTOTYPES: network_of(local.learner).prototypes.cpu().clone()}
    send = federation.broadcast(local, receivers)
    send.update({peer: Message({**send[peer].tensors, **everything}) for peer in receivers})
    yield Exchange("global", send)
    return {"updates": float(len(inbox))}


def agree(network: Prototyped, inbox: Inbox) -> None:
    """Make the clients' prototypes the global ones, each class by their samples of it."""
    for slot, m in enumerate(network.slots):
        holders = [peer for peer in sorted(inbox) if f"{PROTOTYPES}.{m}" in inbox[peer].tensors]
        if not holders:
            continue
        counts = torch.stack([inbox[peer].tensors[f"{COUNTS}.{m}"].double() for peer in holders])
        theirs = torch.stack([inbox[peer].tensors[f"{PROTOTYPES}.{m}"].double() for peer in holders])
        total = counts.sum(0)
        mean = (counts[:, :, None] * theirs).sum(0) / total.clamp(min=1)[:, None]
        known = network.prototypes[slot]
        known.copy_(torch.where((total > 0)[:, None], mean.to(known), known))


def counted(local: Local) -> Check:
    """Refuse an update that is not the client's slices, prototypes and counts."""
    of_slices = federation.counted(local)

    def check(sender: PeerId, message: Message) -> None:
        _, classes, size = network_of(local.learner).prototypes.shape
        own: tuple[Modality, ...] = local.plan.holders[sender].modalities
        beside = {f"{PROTOTYPES}.{m}": (classes, size) for m in own} | {f"{COUNTS}.{m}": (classes,) for m in own}
        slices = {name: tensor for name, tensor in message.tensors.items() if name not in beside}
        of_slices(sender, Message(slices, message.meta))
        check_tensors(sender, Message({n: t for n, t in message.tensors.items() if n in beside}), beside)
        samples = message.meta["samples"]
        assert isinstance(samples, int)  # as was checked
        for counts in (message.tensors[f"{COUNTS}.{m}"].double() for m in own):
            if bool((counts < 0).any()) or float(counts.sum()) > samples:
                raise SpecMismatch(f"the update of {sender} counts other samples of classes than it has ({samples})")

    return check


def partly(local: Local) -> Check:
    """Refuse what is no slice of mine and not all prototypes."""
    of_slices = federation.partly(local)

    def check(sender: PeerId, message: Message) -> None:
        slices = {name: tensor for name, tensor in message.tensors.items() if name != PROTOTYPES}
        of_slices(sender, Message(slices))
        rest = {name: tensor for name, tensor in message.tensors.items() if name == PROTOTYPES}
        shape = tuple(network_of(local.learner).prototypes.shape)
        check_tensors(sender, Message(rest), {}, {PROTOTYPES: shape})

    return check


METHOD = Method(
    name="pmcmfl",
    paper="arXiv 2312.13508",
    summary="FedAvg of one fusion for all, with class prototypes in place of missing modalities",
    options=Options,
    scripts={Role.CLIENT: client, Role.COORDINATOR: coordinator},
    sharing=lambda options, round, rounds: fedavg.TABLE,
    networks=("prototyped",),
    gaps=True,
    classes=True,
)
