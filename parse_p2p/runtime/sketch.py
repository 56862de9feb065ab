"""A slice in a few numbers, so that logs tell how far apart agents are without keeping their models.

A count sketch (Charikar, Chen and Farach-Colton 2002): every parameter goes with a random sign into a random one of
WIDTH sums, the same sign and sum on every agent. It is linear, so the sketch of a mean is the mean of sketches, and
E‖sketch(x)‖² = ‖x‖², with a relative standard deviation of at most √(2/WIDTH) where no parameter dominates.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from parse_p2p.core.errors import QuorumLost
from parse_p2p.core.rng import seeded
from parse_p2p.core.types import Role
from parse_p2p.learning.transfer import to_host
from parse_p2p.methods.base import Done, Inbox, Local, Script, advance

WIDTH = 32
DIGITS = 5  # significant ones that are kept

Sketches = dict[str, dict[str, list[float]]]
"""By ``before`` and ``after``, then by slice."""


@torch.no_grad()
def sketch(name: str, values: Tensor) -> list[float]:
    """WIDTH sums of a flat tensor, with the signs that belong to a name."""
    signs, sums = _drawn(name, len(values))
    found = torch.zeros(WIDTH).index_add_(0, sums, values.cpu() * signs)
    return [float(f"{x:.{DIGITS}g}") for x in found.tolist()]


def consensus_distance(sketches: Sequence[Sequence[float]]) -> float:
    """√(mean ‖x_i − x̄‖²) over the agents whose sketches these are, estimated; 0 for one agent."""
    stacked = torch.tensor(sketches, dtype=torch.float64)
    return float((stacked - stacked.mean(0)).square().sum(1).mean().sqrt())


def sketched(local: Local, script: Script, into: Sketches) -> Script:
    """The same script, that leaves sketches of its slices as they were first sent and as they are at its end."""
    into.clear()
    answer: Inbox | QuorumLost | None = None
    while not isinstance(step := advance(script, answer), Done):
        if "before" not in into and any(message.tensors for message in step.send.values()):  # no mere greeting
            into["before"] = _all(local)
        try:
            answer = yield step
        except QuorumLost as error:
            answer = error
    into["after"] = _all(local)
    return step.metrics


def _all(local: Local) -> dict[str, list[float]]:
    """Of the slices that are mixed with neighbours, each whole, or that a client has averaged by its coordinator."""
    plan = local.plan
    keys = plan.regions if local.role == Role.CLIENT else plan.weights
    mine = to_host({str(key): local.learner.buffer.view(plan.regions[key]) for key in keys})
    return {name: sketch(name, values) for name, values in mine.items()}


@lru_cache(64)
def _drawn(name: str, size: int) -> tuple[Tensor, Tensor]:
    """For every parameter its sign and the number of its sum."""
    draw = seeded("sketch", name)
    signs = torch.randint(0, 2, (size,), generator=draw, dtype=torch.int8) * 2 - 1
    return signs, torch.randint(0, WIDTH, (size,), generator=draw, dtype=torch.int32)
