"""Each branch counts by a number of its own, fitted to samples that the agent does not train on.

A network predicts by the sum of what its branches say, each with the weight 1. Here the sum is Σ_b w_b · logits_b. A
``held_out`` share of an agent's training samples is kept apart for the whole run; before every round but the first the
weights are those that minimise

    Σ_i loss(Σ_b w_b · logits_b(x_i)) + ridge / 2 · Σ_b (w_b − v_b)²

over these samples i, where v are the weights so far, 1 at first, and logits are corrected for the agent's classes as in
training, where that is asked for (``train.prior``): a proximal point step (Rockafellar, SIAM Journal on
Control and Optimization 14(5), 1976). They are a part of the network, ``head.weights``, that no loss trains and that is
shared as the method's table says: mixed in the round's exchange with those of agents that have the same branches, so
that their agreement needs no message of its own.

Of a sample that lacks a modality the branches that it has count by the same weights.
"""

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.optimisers import without_compiler
from parse_p2p.core.slices import Component
from parse_p2p.data.base import Batch
from parse_p2p.data.tasks.base import Task
from parse_p2p.models.base import InputShapes, Network, Outputs
from parse_p2p.models.parameter_buffer import Parts
from parse_p2p.models.weighting.base import Weigher, Weighting

LBFGS = without_compiler(torch.optim.LBFGS)
STEPS = 50
"""Iterations of L-BFGS at most: for so few numbers a dozen is the rule."""


class Branches(Weigher):
    """A weight for each branch, ``factors`` (branches,), in the order of ``names``."""

    keeps_values = True

    def __init__(self, names: Sequence[str], ridge: float) -> None:
        super().__init__()
        self.names = tuple(names)
        self.ridge = ridge
        self.factors = nn.Parameter(torch.ones(len(self.names)), requires_grad=False)

    def parts(self) -> Parts:
        return [(Component("head.weights"), {"factors": self.factors})]

    def fit(self, said: Sequence[tuple[Outputs, Batch]]) -> None:
        """See the module's docstring; in double, where the number of samples is what they are weighed against."""
        before = self.factors.detach().double()
        found = before.clone().requires_grad_()
        branches = [(self._at(outputs), _stacked(outputs).double(), batch) for outputs, batch in said]
        samples = sum(len(batch) for _, _, batch in branches)
        search = LBFGS([found], max_iter=STEPS, line_search_fn="strong_wolfe")

        def cost() -> Tensor:
            search.zero_grad()
            losses = [_loss(found[at, None, None] * logits, batch) for at, logits, batch in branches]
            total = (torch.stack(losses).sum() + self.ridge / 2 * (found - before).square().sum()) / samples
            total.backward()  # type: ignore[no-untyped-call]
            return total

        with torch.enable_grad():
            search.step(cost)  # type: ignore[no-untyped-call]
        if bool(found.isfinite().all()):
            self.factors.copy_(found.detach())

    def forward(self, network: Network, outputs: Outputs, task: Task) -> Tensor:
        return task.joined(self.factors[self._at(outputs), None, None] * _stacked(outputs))

    def _at(self, outputs: Outputs) -> list[int]:
        return [self.names.index(name) for name in outputs.branches]


class Options(Weighting):
    """How many samples are kept for it, and how far they are believed."""

    held_out: float = Field(0.15, gt=0, lt=1, description="share of training samples kept to weigh branches by")
    ridge: float = Field(10.0, gt=0, allow_inf_nan=False, description="how firmly weights stay: as by so many samples")

    @property
    def keeps_apart(self) -> float:
        return self.held_out

    def made_for(self, network: Network, shapes: InputShapes, name: str) -> Weigher | None:
        names = network.branch_names
        if not names:
            raise ConfigError(
                f"model.weighting: {name} weighs branches whose logits are summed, and a {type(network).__name__} does "
                "not name several (branch_names); take weighting: none, or the network fission"
            )
        return Branches(names, self.ridge) if len(names) > 1 else None


def _stacked(outputs: Outputs) -> Tensor:
    return torch.stack(list(outputs.branches.values()))


def _loss(branches: Tensor, batch: Batch) -> Tensor:
    """The sum of the losses of what branches say, (branches, B, C), in double."""
    targets = batch.targets.double() if batch.targets.is_floating_point() else batch.targets
    logits = batch.task.joined(branches)
    return batch.task.loss(logits if batch.prior is None else logits + batch.prior, targets, "sum")


WEIGHTING = Options
