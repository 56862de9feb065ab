"""Stochastic gradient descent with momentum, of an agent's own steps or quasi-global.

Local momentum drifts where agents' data differ: each agent's goes on pointing where its own data pull. How whole rounds
moved the parameters, mixing included, says what the network did. Quasi-global momentum (Lin et al., arXiv 2102.04761)
takes it from there, and sends nothing for it. Here, after round t, with θ_t the parameters before it and Σ η the sum of
the learning rates of the steps of two rounds,

    m ← (1 − q) · m + q · (θ_{t−1} − θ_{t+1}) / Σ η

and the steps of the next round go on from it as usual. Their form holds m fixed during a round, of one step.

Why two rounds: one has what mixing alone moves too. Where agents' differences change sign from round to round
(eigenvalues λ < 0 of the mixing matrix, as on hypercubes, tori and other bipartite graphs), momentum of the last round
alone pushes them on: with q = 1, K steps a round and c = (μ + … + μ^K) / K they grow where λ < −1 / (1 + 2c). Over two
rounds such a difference comes back to where it was, and for every K, q and −1 < λ < 1 it dies away. That is so of one
matrix again and again; cycles of several may resonate (``topology/dynamic.py``).
"""

from collections.abc import Mapping
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from parse_p2p.core.optimisers import without_compiler
from parse_p2p.core.plugin_options import refused
from parse_p2p.learning.optimisers.base import Groups, Optimiser

SGD = without_compiler(torch.optim.SGD)
MOMENTUM = "momentum_buffer"  # as torch calls it
MOVED, RATES = "moved", "rates"  # of the round before, beside it


class Momentum(Optimiser):
    """Options of stochastic gradient descent."""

    momentum: float = Field(0.9, ge=0, lt=1, description="of stochastic gradient descent")
    quasi_global: float = Field(
        0.8,
        ge=0,
        le=1,
        description="of sgd: share of its momentum that comes from how whole rounds moved the model; 0 without any",
    )
    weight_decay: float = Field(
        1e-4,
        ge=0,
        description="weight of the squared norm of all parameters; of adam 0, of adamw 0.01, where not given",
    )

    @model_validator(mode="after")
    def _has_momentum(self) -> Self:
        if self.quasi_global and not self.momentum:
            if "quasi_global" in self.model_fields_set:
                raise refused("quasi_global", "there is no momentum that it could be a share of: give momentum above 0")
            object.__setattr__(self, "quasi_global", 0.0)  # frozen; what nobody asked for is no error
        return self

    def make(self, groups: Groups, lr: float) -> torch.optim.Optimizer:
        return SGD(groups, lr=lr, momentum=self.momentum, weight_decay=self.weight_decay)

    @property
    def looks_back(self) -> bool:
        return self.quasi_global > 0

    def after_round(
        self, optimiser: torch.optim.Optimizer, moved: Mapping[str, Tensor], rates: Mapping[str, float]
    ) -> None:
        for group in optimiser.param_groups:
            state, name = optimiser.state[group["params"][0]], group["component"]
            if not moved:  # the two rounds of a path follow each other
                state.pop(MOVED, None)
                state.pop(RATES, None)
            if name not in moved or state.get(MOMENTUM) is None:
                continue
            both = moved[name] + state.get(MOVED, 0.0)
            state[MOMENTUM].lerp_(both / (rates[name] + state.get(RATES, 0.0)), self.quasi_global)
            state |= {MOVED: moved[name], RATES: rates[name]}


OPTIMISER = Momentum
