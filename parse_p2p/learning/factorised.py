"""A loss after FactorCL (Liang et al., arXiv 2306.05268): bounds of what two slices share, lower ones and upper ones.

FactorCL raises, of the representations that are to hold what two modalities share, a lower bound of I(Z¹; Z²), and
lowers an upper one of I(Z¹; Z²|Y), so that what they share is about the class Y; of those that are to be unique it
raises one of I(Z; Y), and lowers an upper one of I(Z¹; Z²). Lower bounds are InfoNCE (van den Oord et al., arXiv
1807.03748), upper ones NCE-CLUB: CLUB (Cheng et al., arXiv 2006.12013) with the critic that is optimal for InfoNCE.
Here, of the redundant slices and of the unique ones of each pair of modalities:

- I(Z; Y) is raised by the heads' own cross-entropy (``losses.branches``): H(Y) less it is a lower bound too (Barber and
  Agakov, "The IM algorithm", NeurIPS 2003), and one that does not end at the logarithm of the batch.
- The critic of all pairs is made of these heads, where FactorCL trains networks for it: ``f(z¹, z²) = log Σ_y p(y|z¹)
  p(y|z²) / p(y)``. It is log p(z¹, z²) / p(z¹) p(z²), which is optimal for InfoNCE, if the heads know p(y|z) and the
  slices depend on each other through the class alone. InfoNCE is a lower bound by any critic. NCE-CLUB is an upper one
  as far as both are true; else it is an estimate.
- It sees no other dependence than what is about the class. So the upper bound of I(Z¹; Z²|Y) is 0 by it, and is left
  out: no more is raised of the redundant slices than is relevant.

Left out too is FactorCL's third term of unique representations, a lower bound of I(Z¹; Z²|Y): this is where synergy
comes in, of which FactorCL says nothing by itself, and which has slices of its own here. And no input is augmented, for
there are labels. Every sample counts alike, whatever its weight.
"""

import math
from collections.abc import Callable, Sequence
from itertools import combinations

import torch
from torch import Tensor

from parse_p2p.core.types import Kind, Modality
from parse_p2p.data.base import Batch
from parse_p2p.learning.learner import LossTerm
from parse_p2p.models.base import Latents, Network, Outputs


def factorised(weight: float) -> LossTerm:
    """What the unique slices share at most, less what the redundant ones share at least; the mean over pairs, in nats.

    The upper bound moves the latents and not the heads, which would lower it by being wrong: a critic is not trained
    by what it bounds from above. Zero where there is one modality.
    """

    def term(network: Network, batch: Batch, outputs: Outputs) -> Tensor:
        pairs = list(combinations(outputs.latents, 2))
        shared = _of_pairs(lower_bound, outputs, Kind.REDUNDANT, pairs, batch)
        alike = _latents_alone(
            lambda latents: _of_pairs(upper_bound, network.read(latents), Kind.UNIQUE, pairs, batch), outputs.latents
        )
        return weight * (alike - shared)

    return term


def lower_bound(scores: Tensor) -> Tensor:
    """InfoNCE of a critic's scores (B, B), those of true pairs on the diagonal: log B − cross-entropy, both ways."""
    ways = [s.log_softmax(1).diagonal().mean() for s in (scores, scores.T)]
    return math.log(len(scores)) + torch.stack(ways).mean()


def upper_bound(scores: Tensor) -> Tensor:
    """NCE-CLUB of a critic's scores (B, B): the mean of true pairs less that of all others; of one sample 0."""
    size = len(scores)
    return (scores.diagonal().mean() - scores.mean()) * size / max(1, size - 1)


def critic(one: Tensor, other: Tensor) -> Tensor:
    """Scores (B, B) of all pairs by the logits (B, C) of each side: log Σ_y p(y|z¹) p(y|z²) / p(y).

    How frequent classes are, p(y), is the mean of what both sides say of the batch.
    """
    said = [logits.log_softmax(1) for logits in (one, other)]
    frequent = torch.cat(said).logsumexp(0) - math.log(2 * len(one))
    return torch.logsumexp(said[0][:, None] + (said[1] - frequent)[None], 2)


def _of_pairs(
    bound: Callable[[Tensor], Tensor],
    outputs: Outputs,
    kind: Kind,
    pairs: Sequence[tuple[Modality, Modality]],
    batch: Batch,
) -> Tensor:
    """The mean of a bound over pairs of modalities, of what the heads of one kind of slice say of both."""
    said = {m: outputs.views.get(f"{kind}.{m}") for m in outputs.latents}
    corrected = {m: x if batch.prior is None else x + batch.prior for m, x in said.items() if x is not None}
    found = [bound(critic(corrected[a], corrected[b])) for a, b in pairs if {a, b} <= corrected.keys()]
    return torch.stack(found).mean() if found else torch.zeros((), device=batch.targets.device)


def _latents_alone(value: Callable[[Latents], Tensor], latents: Latents) -> Tensor:
    """A function of latents, whose gradient reaches them and no parameter that the function reads."""
    leaves = {m: {kind: z.detach().requires_grad_() for kind, z in zs.items()} for m, zs in latents.items()}
    at, found = [z for zs in leaves.values() for z in zs.values()], value(leaves)
    if not found.requires_grad:
        return found
    slopes = torch.autograd.grad(found, at, allow_unused=True)
    moved = [z for zs in latents.values() for z in zs.values()]
    along = [((z - z.detach()) * g).sum() for z, g in zip(moved, slopes, strict=True) if g is not None]
    return found.detach() + torch.stack(along).sum()
