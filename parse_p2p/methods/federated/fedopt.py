"""FedOpt (Reddi et al., arXiv 2003.00295): the coordinator takes the average for a gradient, and steps by an optimiser.

    Δ = x̄ − x        x̄ the average of the clients' slices by sample count, x the global slice so far
    momentum         m ← β₁ m + Δ                 x ← x + η m               (FedAvgM: Hsu et al., arXiv 1909.06335)
    adam             m ← β₁ m + (1 − β₁) Δ        x ← x + η m / (√v + τ)    v ← β₂ v + (1 − β₂) Δ²
    yogi             likewise                                              v ← v − (1 − β₂) Δ² sign(v − Δ²)
    adagrad          likewise                                              v ← v + Δ²

m begins at 0 and v at τ², without a correction of their bias (algorithm 2 there). Each slice has its own, which rest in
rounds in which nobody sends it. x is what the coordinator sent last, or in the first round its own first model, which
is the clients' too. A slice that its model does not hold has no x before clients have sent it: its first average is
taken as it is, and steps begin with the next.

The papers' β₁ is .9, and η of momentum 1, for clients that take plain steps and few of them. Here clients keep a
momentum of their own from round to round, on top of which such steps overshoot: by default β₁ is .5 and η of momentum
1 − β₁, so that a Δ which stays the same counts once.
"""

from collections.abc import Callable, Mapping

import torch
from pydantic import Field
from torch import Tensor

from parse_p2p.core.types import Role
from parse_p2p.methods import fedavg, federation
from parse_p2p.methods.base import Inbox, Local, Method, Script
from parse_p2p.methods.federation import average, global_slices

MOMENTUM, SECOND = "server/m/", "server/v/"  # in the coordinator's memory, before the name of a slice
RATES = {"adam": 0.05, "yogi": 0.05, "adagrad": 0.3}
"""η of the adaptive rules where none is given."""


class Options(fedavg.Options):
    server: str = Field("momentum", pattern="^(momentum|adam|yogi|adagrad)$", description="the coordinator's optimiser")
    server_lr: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="η, its rate; 0: 1 − beta1 with momentum, 0.05 with adam and yogi, 0.3 with adagrad",
    )
    beta1: float = Field(0.5, ge=0, lt=1, description="β₁, decay of its momentum")
    beta2: float = Field(0.99, ge=0, lt=1, description="β₂, decay of its second moment (adam, yogi)")
    tau: float = Field(1e-3, gt=0, allow_inf_nan=False, description="τ, adaptivity: what is added to √v")

    @property
    def rate(self) -> float:
        """η."""
        return self.server_lr or RATES.get(self.server, 1 - self.beta1)


Second = Callable[[Tensor, Tensor, float], Tensor]
"""The next v, of v, Δ² and β₂."""

ADAPTIVE: Mapping[str, Second] = {
    "adam": lambda v, squares, beta: beta * v + (1 - beta) * squares,
    "yogi": lambda v, squares, beta: v - (1 - beta) * squares * torch.sign(v - squares),
    "adagrad": lambda v, squares, beta: v + squares,
}


def step(local: Local, name: str, change: Tensor, options: Options) -> Tensor:
    """What a slice changes by, (D,) in double, given the Δ of this round; moments are kept in memory."""
    adaptive = ADAPTIVE.get(options.server)
    m = local.memory.get(MOMENTUM + name, torch.zeros_like(change))
    m = options.beta1 * m + (change if adaptive is None else (1 - options.beta1) * change)
    local.memory[MOMENTUM + name] = m
    if adaptive is None:
        return options.rate * m
    v = local.memory.get(SECOND + name, torch.full_like(change, options.tau**2))
    v = adaptive(v, change.square(), options.beta2)
    local.memory[SECOND + name] = v
    return options.rate * m / (v.sqrt() + options.tau)


def stepped(local: Local, inbox: Inbox, options: Options) -> dict[str, Tensor]:
    """The next global slices, of those that were sent."""
    before = global_slices(local)
    slices = {}
    for name, mean in average(inbox).items():
        if name in before:
            x = before[name].double()
            mean = (x + step(local, name, mean.double() - x, options)).to(mean.dtype)
        slices[name] = mean
    return slices


def coordinator(local: Local, options: Options) -> Script:
    """One round of the coordinator."""
    return federation.coordinator(local, options, lambda local, inbox: stepped(local, inbox, options))


METHOD = Method(
    name="fedopt",
    paper="arXiv 2003.00295",
    summary="FedAvg whose coordinator steps by momentum, Adam, Yogi or Adagrad",
    options=Options,
    scripts={Role.CLIENT: fedavg.client, Role.COORDINATOR: coordinator},
    sharing=fedavg.sharing,
    gaps=True,
    common_start=True,
)
