"""One agent less its network: a learner, a method's script for each round, and what is kept in between.

The simulator and the real agent drive the very same object, which is why they end with the same parameters.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor

from parse_p2p.data.base import Dataset
from parse_p2p.errors import ConfigError
from parse_p2p.learner import Learner
from parse_p2p.methods.base import Local, Method, Script
from parse_p2p.names import PeerId, Role
from parse_p2p.topology.overlay import Overlays, Plan


@dataclass
class Participant:
    """``overlays(round)`` gives the overlays in force in a round; all agents of a run must agree on them."""

    me: PeerId
    role: Role
    method: Method
    options: Any
    learner: Learner
    overlays: Callable[[int], Overlays]
    rounds: int
    memory: dict[str, Tensor] = field(default_factory=dict)
    public: Dataset | None = None

    def __post_init__(self) -> None:
        if self.role not in self.method.scripts:
            raise ConfigError(
                f"{self.me} is a {self.role} and the method {self.method.name!r} has no such role: "
                f"it knows {', '.join(self.method.scripts)}"
            )

    @cached_property
    def coordinator(self) -> PeerId | None:
        """The one that coordinates me; None for a peer and for the coordinator itself."""
        hub = self.overlays(0).coordinator
        return hub if hub != self.me else None

    def plan(self, round: int) -> Plan:
        return self.overlays(round).plan(self.me)

    def begin(self, round: int) -> Script:
        """The script of one round, not yet started."""
        self.learner.begin(round, self.rounds)
        local = Local(self.me, self.role, round, self.rounds, self.learner, self.plan(round), self.memory,
                      self.public)  # fmt: skip
        return self.method.scripts[self.role](local, self.options)

    def state(self) -> dict[str, Tensor]:
        """All that the next round depends on, on the CPU; ``restore`` is its inverse."""
        kept = {f"memory/{name}": tensor.detach().to("cpu", copy=True) for name, tensor in self.memory.items()}
        return self.learner.state() | kept

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.learner.restore(state)
        self.memory.clear()
        self.memory |= {n.removeprefix("memory/"): t.clone() for n, t in state.items() if n.startswith("memory/")}
