"""RELA of FedMosaic (arXiv 2506.11024): whose knowledge matters to whom, read off gradients of one frozen network.

A *sketch* (k, f) is the gradient of the cross-entropy, on an agent's own samples, in one weight matrix (d, f) of a
network that all agents share and nobody trains, cut to k of its d rows. It depends on the data alone, not on what an
agent has learnt. Similarity of two agents is the cosine of their sketches, and a softmax makes weights of it.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy, normalize

from parse_p2p.core.types import PeerId, TensorMap
from parse_p2p.data.base import Batch
from parse_p2p.models.lora.backbone import Backbone


def probed(probe: Backbone) -> str:
    """The name of the weight whose gradient is taken: the last linear map below the head, (width, 2·width)."""
    return f"layers.{probe.depth - 1}.down.weight"


def gradient(probe: Backbone, tensors: TensorMap, batch: Batch) -> Tensor:
    """(d, f): the gradient of the mean cross-entropy in the probed weight; ``tensors`` are all of the probe's."""
    name = probed(probe)
    weight = tensors[name].detach().requires_grad_()
    outputs = functional_call(probe, dict(tensors) | {name: weight}, (batch.inputs,))
    [found] = torch.autograd.grad(cross_entropy(outputs.logits(), batch.targets), [weight])
    return found


def rows(count: int, keep: float, kind: str, generator: torch.Generator) -> Tensor:
    """Which of ``count`` rows a sketch keeps, sorted: a share ``keep`` of them, one at least.

    ``random`` draws them; ``prefix`` takes the first ones.
    """
    kept = max(1, int(keep * count))
    return torch.arange(kept) if kind == "prefix" else torch.randperm(count, generator=generator)[:kept].sort().values


def sanitised(found: Tensor, kept: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """The kept rows with Gaussian noise, whose standard deviation is ``noise`` times their root mean square."""
    cut = found[kept]
    return cut + noise * cut.square().mean().sqrt() * torch.randn(cut.shape, generator=generator)


def smoothed(before: Tensor | None, now: Tensor, share: float) -> Tensor:
    """``share`` of what is new and the rest of what was; at first all of what is new."""
    return now if before is None else share * now + (1 - share) * before


def similarity(sketches: Mapping[PeerId, Tensor], kind: str) -> dict[PeerId, dict[PeerId, float]]:
    """Cosines between sketches of one shape, in [−1, 1]: ``flat``, or the mean over those of the columns."""
    peers = sorted(sketches)
    if not peers:
        return {}
    stacked = torch.stack([sketches[peer].double() for peer in peers])
    if kind == "flat":
        stacked = stacked.flatten(1).unsqueeze(-1)
    unit = normalize(stacked, dim=1)
    cosines = torch.einsum("ikf,jkf->ij", unit, unit) / unit.shape[2]
    return {a: {b: float(cosines[i, j]) for j, b in enumerate(peers)} for i, a in enumerate(peers)}


def weights(scores: Mapping[PeerId, float], temperature: float) -> dict[PeerId, float]:
    """Softmax of scores over a temperature; they sum to 1."""
    peers = sorted(scores)
    found = (torch.tensor([scores[peer] for peer in peers], dtype=torch.float64) / temperature).softmax(0)
    return dict(zip(peers, found.tolist(), strict=True))
