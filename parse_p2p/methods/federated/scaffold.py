"""SCAFFOLD (Karimireddy et al., arXiv 1910.06378): clients' steps are corrected by control variates, slice by slice.

A client adds c − c_i to its gradients, c_i being what its own were in the last round it took part in and c their mean
over all clients, so that steps lead where all would go (algorithm 1 there, option II):

    y ← y − η (g(y) + c − c_i)          c_i ← the mean of g over the round's steps

The paper reads the mean off the way that a round's steps went, (x − y) / (K η) + c_i − c, which is the same for plain
steps; the gradients themselves serve any optimiser, momentum, clipping and schedule. Momentum sees the corrected
gradients. As in the paper clients count alike, whatever their number of samples, and the coordinator's rate is 1.

Of a slice its holders alone count: x is averaged over those that took part, c is the sum of what the coordinator
knows of each c_i over the number of all. It keeps the last c_i of every client, as large as the client's model, so that
an update that is lost leaves c only as old as that client's last. Twice a model crosses either way.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from parse_p2p.core.message import Message, check_tensors
from parse_p2p.core.slices import SliceKey
from parse_p2p.core.types import Metrics, PeerId, Role
from parse_p2p.learning.corrections import Correction
from parse_p2p.learning.objective import slice_terms
from parse_p2p.methods import fedavg
from parse_p2p.methods.base import Check, Exchange, Inbox, Local, Method, Script
from parse_p2p.methods.federation import global_slices, hub, load, remember, selected, weighted_average

CONTROL = "control/"
"""Of the name of a slice's control variate on the wire."""
MEAN, OWN = "control/mean/", "control/own/"  # in a client's memory, before the name of a slice
OF = "control/of/"  # in the coordinator's, before the name of a client and that of a slice


def client(local: Local, options: fedavg.Options) -> Script:
    """One round of a client."""
    metrics: Metrics = {}
    if local.me in selected(local, options, local.round):
        metrics = train(local, options)
        yield Exchange("update", {hub(local): update(local)})
    inbox = yield Exchange("global", expect=frozenset({hub(local)}), check=checked(local, whole=False))
    if hub(local) in inbox:
        came = inbox[hub(local)].tensors
        load(local, slices_in(came))
        local.memory.update({MEAN + name: control for name, control in controls_in(came).items()})
    return metrics


def train(local: Local, options: fedavg.Options) -> Metrics:
    """Local steps on corrected gradients, after which my control variates are the mean of my own."""
    regions = local.plan.regions
    changes = [(region, kept(local, MEAN, key) - kept(local, OWN, key)) for key, region in regions.items()]
    correction = Correction(local.learner.buffer, changes)
    metrics = local.learner.train(*slice_terms(options), adjust=correction)
    local.memory.update({f"{OWN}{key}": mean for key, mean in correction.means(regions).items()})
    return metrics


def kept(local: Local, what: str, key: SliceKey) -> Tensor:
    """A control variate in my memory, (D,); zeros where there is none yet."""
    name = f"{what}{key}"
    return local.memory[name] if name in local.memory else torch.zeros(local.plan.regions[key].size)


def update(local: Local) -> Message:
    """My slices and my control variates."""
    mine = {f"{CONTROL}{key}": kept(local, OWN, key).clone() for key in local.plan.regions}
    return Message(local.learner.cut(local.plan.regions) | mine)


def coordinator(local: Local, options: fedavg.Options) -> Script:
    """One round of the coordinator."""
    chosen = frozenset(selected(local, options, local.round))
    inbox = yield Exchange("update", expect=chosen, check=checked(local), deadline=options.patience)
    if len(inbox) >= options.quorum:
        take(local, inbox)
    yield Exchange("global", broadcast(local, selected(local, options, local.round + 1)))
    return {"updates": float(len(inbox))}


def take(local: Local, inbox: Inbox) -> None:
    """Average the slices that came over those who sent them, and keep their control variates."""
    remember(local, weighted_average({p: slices_in(m.tensors) for p, m in inbox.items()}, dict.fromkeys(inbox, 1.0)))
    for peer, message in inbox.items():
        for name, control in controls_in(message.tensors).items():
            local.memory[f"{OF}{peer}/{name}"] = control


def mean_control(local: Local, key: SliceKey) -> Tensor:
    """c of a slice, (D,): the mean over all clients that hold it, of whom those never heard of count as 0."""
    holders = [peer for peer in local.plan.clients if key in local.plan.offers[peer]]
    names = [f"{OF}{peer}/{key}" for peer in holders]
    total = torch.zeros(local.plan.size(holders[0], key), dtype=torch.float64)
    for name in names:
        total += local.memory.get(name, 0.0)
    return (total / len(holders)).float()


def broadcast(local: Local, receivers: tuple[PeerId, ...]) -> dict[PeerId, Message]:
    """The global slices and control variates of each receiver, and an empty message for all the other clients."""
    known = global_slices(local)
    send = {peer: Message() for peer in local.plan.clients}
    for peer in receivers:
        keys = [key for key in local.plan.links[peer] if str(key) in known]
        controls = {f"{CONTROL}{key}": mean_control(local, key) for key in keys}
        send[peer] = Message({str(key): known[str(key)] for key in keys} | controls)
    return send


def slices_in(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of a message's tensors that are slices."""
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(CONTROL)}


def controls_in(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The control variates of a message, by the names of their slices."""
    return {name.removeprefix(CONTROL): tensor for name, tensor in tensors.items() if name.startswith(CONTROL)}


def checked(local: Local, whole: bool = True) -> Check:
    """Refuse what are not the slices of the link with their control variates; not ``whole``: some of them will do."""

    def check(sender: PeerId, message: Message) -> None:
        sizes = {str(key): (local.plan.size(sender, key),) for key in local.plan.expected.get(sender, ())}
        wanted = sizes | {CONTROL + name: size for name, size in sizes.items()}
        check_tensors(sender, message, wanted if whole else {}, wanted)

    return check


METHOD = Method(
    name="scaffold",
    paper="arXiv 1910.06378",
    summary="FedAvg whose clients' steps are corrected by control variates",
    options=fedavg.Options,
    scripts={Role.CLIENT: client, Role.COORDINATOR: coordinator},
    sharing=fedavg.sharing,
    gaps=True,
)
