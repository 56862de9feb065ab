"""What methods compute on representations of a public set: teachers, contrasts, retrieval, and how rows differ.

All functions are pure. A representation is a tensor (P, d): row k is a unit vector and belongs to public item k.
The ensemble is that of FedAFD (arXiv 2603.04890) and, scored against another modality, that of CreamFL (arXiv
2302.08888).
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from parse_p2p.core.types import Modality, PeerId

Rows = Mapping[Modality, Tensor]
"""One party's representations, by modality."""

STRETCH = 1000  # rows compared with each other at a time


def other(modality: Modality, modalities: Collection[Modality]) -> Modality:
    """The next of the sorted modalities, after the last the first: itself where there is no other."""
    ordered = sorted(modalities)
    return ordered[(ordered.index(modality) + 1) % len(ordered)]


# the coordinator's ensemble


def likeness(local: Tensor, anchor: Tensor) -> Tensor:
    """s[k] = u_k·a_k − log Σ_j exp(u_k·a_j), shape (P,): how surely local row k is told to be item k."""
    stretches = zip(torch.split(local, STRETCH), torch.split(anchor, STRETCH), strict=True)
    return torch.cat([(u * a).sum(1) - (u @ anchor.T).logsumexp(1) for u, a in stretches])


def weights(locals: Sequence[Tensor], anchor: Tensor | None) -> Tensor:
    """The weight of every client in every row, (clients, P), columns summing to one; uniform without an anchor."""
    if anchor is None:
        return torch.full((len(locals), len(locals[0])), 1 / len(locals), device=locals[0].device)
    return torch.stack([likeness(local, anchor) for local in locals]).softmax(0)


@torch.no_grad()
def teachers(uploads: Mapping[PeerId, Rows], anchors: Mapping[Modality, Tensor | None]) -> dict[Modality, Tensor]:
    """A_m[k] = Σ_c w_c[k] U_c[k] over the owners of m, (P, d), not of length one; no entry for what nobody owns.

    ``anchors[m]`` is what the rows of m are scored against. Summed in the order of the clients' names.
    """
    found = {}
    for m, anchor in anchors.items():
        locals = [uploads[peer][m] for peer in sorted(uploads) if m in uploads[peer]]
        if locals:
            found[m] = (weights(locals, anchor)[:, :, None] * torch.stack(locals)).sum(0)
    return found


def distance(student: Tensor, teacher: Tensor, squared: bool = False) -> Tensor:
    """Mean Euclidean distance of the rows; ``squared``: mean squared difference of the elements."""
    return (student - teacher).square().mean() if squared else (student - teacher).norm(dim=1).mean()


# contrasts


def info_nce(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Symmetric InfoNCE of two modalities of the same items: row i of one is to find row i of the other."""
    scores = a @ b.T / temperature
    found = torch.arange(len(a), device=a.device)
    return (cross_entropy(scores, found) + cross_entropy(scores.T, found)) / 2


def retrieval(rows: Rows, temperature: float) -> Tensor:
    """Mean InfoNCE over the pairs of modalities; there must be two."""
    return torch.stack([info_nce(rows[a], rows[b], temperature) for a, b in combinations(sorted(rows), 2)]).mean()


def inter(local: Tensor, others: Tensor, items: Tensor, temperature: float) -> Tensor:
    """CreamFL: each local row (B, d) is to find its item among all rows (P, d) of another modality."""
    return cross_entropy(local @ others.T / temperature, items)


def intra(local: Tensor, same: Tensor, before: Tensor, temperature: float) -> Tensor:
    """CreamFL: local rows are to be nearer to the global rows than to their own of the round before; all (B, d)."""
    scores = torch.stack([(local * same).sum(1), (local * before).sum(1)], 1) / temperature
    return cross_entropy(scores, torch.zeros(len(local), dtype=torch.long, device=local.device))


# measures


@torch.no_grad()
def recall(rows: Rows) -> float:
    """R@1 among at most a thousand items, mean over all ordered pairs of modalities."""
    hits = []
    for a, b in combinations(sorted(rows), 2):
        for u, v in zip(torch.split(rows[a], STRETCH), torch.split(rows[b], STRETCH), strict=True):
            scores, found = u @ v.T, torch.arange(len(u), device=u.device)
            hits += [scores.argmax(1) == found, scores.argmax(0) == found]
    return float(torch.cat(hits).float().mean())


@torch.no_grad()
def separability(one: Tensor, other: Tensor, generator: torch.Generator) -> float:
    """Accuracy of a linear probe that tells rows of two representations apart, on rows it has not seen.

    The probe is ridge regression on half of the items; both rows of an item are in the same half. 0.5: not at all.
    """
    order = torch.randperm(len(one), generator=generator)
    halves = [torch.cat([one[half], other[half]]).cpu().double() for half in order.chunk(2)]
    said = [torch.cat([torch.ones(len(half)), -torch.ones(len(half))]).double() for half in order.chunk(2)]
    x, unseen = (torch.cat([half, torch.ones(len(half), 1)], 1) for half in halves)
    probe = torch.linalg.solve(x.T @ x + 1e-3 * torch.eye(x.shape[1]), x.T @ said[0])
    return float(((unseen @ probe > 0) == (said[1] > 0)).double().mean())
