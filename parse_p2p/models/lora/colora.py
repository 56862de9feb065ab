"""Low-rank additions to a frozen linear map, each in two copies: mine, which learns, and one that was received.

``Δy = s · [(1 − g) · h_L + g · h_G]`` with a gate g in (0, 1) and s = alpha/r = 2. Co-LoRA (arXiv 2506.11024) has
``h = B (P A x + Q)`` with A and B frozen, so that what learns, P (r, r) and Q (r), has one shape whatever the widths
d_i and d_o of the map; ordinary LoRA (arXiv 2106.09685) has ``h = B A x``. A is (r, d_i), B is (d_o, r).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from parse_p2p.core.errors import ConfigError
from parse_p2p.models.lora.alignment import orthonormal

SCALE = 2.0


class Gate(nn.Module):
    """One weight for all inputs, the logistic function of a number that learns; 1/2 at first."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.beta.sigmoid()


class InputGate(Gate):
    """A weight for every sample: the logistic function of a linear one of the map's input; 1/2 at first."""

    def __init__(self, inputs: int) -> None:
        super().__init__(inputs)
        self.beta = nn.Parameter(torch.zeros(inputs))

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.beta).sigmoid().unsqueeze(-1)


class Halves(nn.Module):
    """Both branches alike, always."""

    def __init__(self, inputs: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x.new_full((1,), 0.5)


class Mine(Halves):
    """The local branch alone."""

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(1)


GATES: dict[str, Callable[[int], nn.Module]] = {"scalar": Gate, "input": InputGate, "fixed": Halves, "local": Mine}


class Adapter(nn.Module):
    """(B, d_i) → what is added to the map's output, (B, d_o). ``names`` are the tensors that are shared."""

    names: tuple[str, str]

    def __init__(self, inputs: int, outputs: int, rank: int, gate: str) -> None:
        super().__init__()
        if not 1 <= rank <= min(inputs, outputs):
            raise ConfigError(f"model.rank {rank} is above the width {min(inputs, outputs)} of a layer: lower it")
        self.gate = GATES[gate](inputs)

    def forward(self, x: Tensor) -> Tensor:
        g = self.gate(x)
        out: Tensor = SCALE * ((1 - g) * self.branch(x, *self.local) + g * self.branch(x, *self.received))
        return out

    def branch(self, x: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """h of one copy of the two shared tensors."""
        raise NotImplementedError

    @property
    def local(self) -> tuple[Tensor, Tensor]:
        """My copy of the shared tensors."""
        return self.get_parameter(self.names[0]), self.get_parameter(self.names[1])

    @property
    def received(self) -> tuple[Tensor, Tensor]:
        """The received copy, which training leaves as it is."""
        return self.get_buffer(f"{self.names[0]}_G"), self.get_buffer(f"{self.names[1]}_G")

    @torch.no_grad()
    def receive(self, first: Tensor, second: Tensor) -> None:
        """Replace the received copy."""
        for mine, theirs in zip(self.received, (first, second), strict=True):
            mine.copy_(theirs)

    def _share(self, first: Tensor, second: Tensor) -> None:
        for name, value in zip(self.names, (first, second), strict=True):
            self.register_parameter(name, nn.Parameter(value))
            self.register_buffer(f"{name}_G", value.clone())


class CoLoRA(Adapter):
    """P and Q begin at zero: with B not zero that is what makes the adapter begin as nothing."""

    A: Tensor
    B: Tensor
    names = ("P", "Q")

    def __init__(self, inputs: int, outputs: int, rank: int, gate: str, generator: torch.Generator) -> None:
        super().__init__(inputs, outputs, rank, gate)
        self.register_buffer("A", orthonormal(inputs, rank, generator).T.contiguous())
        self.register_buffer("B", orthonormal(outputs, rank, generator))
        self._share(torch.zeros(rank, rank), torch.zeros(rank))

    def branch(self, x: Tensor, first: Tensor, second: Tensor) -> Tensor:
        return (x @ self.A.T @ first.T + second) @ self.B.T

    @torch.no_grad()
    def align(self, a: Tensor, b: Tensor) -> None:
        """Replace A and B."""
        self.A.copy_(a)
        self.B.copy_(b)


class LoRA(Adapter):
    """A begins as in a linear layer, B at zero."""

    names = ("A", "B")

    def __init__(self, inputs: int, outputs: int, rank: int, gate: str, generator: torch.Generator) -> None:
        super().__init__(inputs, outputs, rank, gate)
        bound = inputs**-0.5
        self._share(torch.empty(rank, inputs).uniform_(-bound, bound, generator=generator), torch.zeros(outputs, rank))

    def branch(self, x: Tensor, first: Tensor, second: Tensor) -> Tensor:
        return x @ first.T @ second.T
