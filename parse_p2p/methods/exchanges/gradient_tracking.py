"""Gradient tracking: local steps follow the gradient of the mean over all holders, not the agent's own.

Where agents' data differ, local steps lead each to its own optimum, and mixing ends at a compromise that depends on the
rate and the number of steps. Here each agent adds to its gradients a correction c_i of each slice, which tends to what
the mean gradient over the slice's holders has more than its own (K-GT: Liu et al., arXiv 2301.01313, algorithm 1; with
one step a round DIGing: Nedić et al., arXiv 1607.03218):

    y_i = ḡ_i + c_i                     ḡ_i the mean of the gradients over the local steps of the round
    c_i ← c_i − y_i + Σ_j W_ij y_j      beside   x_i ← Σ_j W_ij x_j

The paper reads y_i off the way that a round's steps went, which is the same for plain steps of one rate; the gradients
themselves serve any optimiser, momentum, clipping and schedule. With doubly stochastic weights Σ_i c_i stays 0. A
message that is lost at one end of a link moves that sum, and it stays moved: this exchange waits, and is for networks
that lose nothing. When agents come, go or change their modalities all corrections begin anew at 0.
"""

import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from parse_p2p.core.message import Message, check_tensors
from parse_p2p.core.mixers.weighted import weighted
from parse_p2p.core.slices import SliceKey
from parse_p2p.core.types import PeerId
from parse_p2p.learning.corrections import Correction
from parse_p2p.learning.learner import LossTerm
from parse_p2p.methods.base import Exchange, Local, Stretch
from parse_p2p.methods.exchanges.base import ExchangeMode, Mix, mix_slices

PREFIX = "tracking/"
"""Of the name of a slice's y on the wire, and of all that is kept in memory."""
HOLDERS = f"{PREFIX}holders"


class GradientTracking(ExchangeMode):
    """Wait for every neighbour's slices and tracked gradients of this round."""

    keeps_sums = True
    copies = 2.0

    def train(self, local: Local, terms: Sequence[LossTerm]) -> Mapping[str, float]:
        """Local steps on corrected gradients; what is tracked of them is kept for the exchange."""
        _begin_anew_with_others(local)
        regions = local.plan.regions
        corrections = {key: _kept(local, "correction", key) for key in regions}
        correction = Correction(local.learner.buffer, ((regions[key], c) for key, c in corrections.items()))
        metrics = local.learner.train(*terms, adjust=correction)
        for key, mean in correction.means(regions).items():
            local.memory[_name("tracked", key)] = mean + corrections[key]
        return metrics

    def run(self, local: Local, mix: Mix) -> Stretch:
        """Exchange slices and what is tracked of them, mix both, and correct the corrections."""
        _begin_anew_with_others(local)
        plan, mine = local.plan, local.learner.cut(local.plan.regions)
        tracked = {key: _kept(local, "tracked", key) for key in plan.regions}
        said = {peer: {PREFIX + str(key): tracked[key].clone() for key in keys} for peer, keys in plan.links.items()}
        send = {
            peer: Message({str(key): mine[str(key)] for key in plan.links[peer]} | extra)
            for peer, extra in said.items()
        }

        def check(sender: PeerId, message: Message) -> None:
            sizes = {str(key): (plan.size(sender, key),) for key in plan.expected.get(sender, ())}
            check_tensors(sender, message, sizes | {PREFIX + name: size for name, size in sizes.items()})

        inbox = yield Exchange("slices", send, frozenset(plan.expected), check=check)
        mix_slices(local, inbox, mix)
        for key, row in plan.weights.items():
            mixed = tracked[key].clone()
            weighted(mixed, {p: inbox[p].tensors[PREFIX + str(key)] for p in row if p in inbox}, row)
            local.memory[_name("correction", key)] = _kept(local, "correction", key) + (mixed - tracked[key])


def _begin_anew_with_others(local: Local) -> None:
    """Forget all corrections where the agents, or their modalities, are not those of the round before.

    The corrections of those who are left would not sum to 0; all agents of a round know the same ones, so all forget.
    """
    holders = repr(sorted((holder.id, holder.type) for holder in local.plan.holders.values())).encode()
    digest = torch.tensor(list(hashlib.blake2b(holders, digest_size=8).digest()), dtype=torch.float32)
    if HOLDERS not in local.memory or not torch.equal(local.memory[HOLDERS], digest):
        for name in [name for name in local.memory if name.startswith(PREFIX)]:
            del local.memory[name]
        local.memory[HOLDERS] = digest


def _name(what: str, key: SliceKey) -> str:
    return f"{PREFIX}{what}/{key}"


def _kept(local: Local, what: str, key: SliceKey) -> Tensor:
    name = _name(what, key)
    return local.memory[name] if name in local.memory else torch.zeros(local.plan.regions[key].size)


EXCHANGE = GradientTracking
