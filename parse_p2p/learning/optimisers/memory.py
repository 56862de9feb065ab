"""What an optimiser remembers from step to step, as tensors: for checkpoints, and to hand it on to another.

Of a component: ``state/KEY`` a tensor, ``number/KEY`` a number that is kept beside it, ``group/KEY`` a number of the
component's group that is no longer the one it began with.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

Memory = Mapping[str, Tensor]
"""What is remembered of one component."""

OURS = ("params", "component", "lr")  # of a group, set by us


def read(optimiser: Optimizer) -> dict[str, dict[str, Tensor]]:
    """What an optimiser remembers, by component: its own tensors, no copies."""
    return {group["component"]: dict(_kept(optimiser, group)) for group in optimiser.param_groups}


def _kept(optimiser: Optimizer, group: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    for key, value in optimiser.state.get(group["params"][0], {}).items():
        yield (f"state/{key}", value) if isinstance(value, Tensor) else (f"number/{key}", _number(value))
    for key, value in group.items():
        if key not in OURS and isinstance(value, int | float) and value != optimiser.defaults.get(key):
            yield f"group/{key}", _number(value)


def _number(value: Any) -> Tensor:
    """Exactly this number. Raises TypeError for what is none."""
    if not isinstance(value, int | float):
        raise TypeError(f"it remembers a {type(value).__name__}, which no checkpoint holds")
    return torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else None)


def write(optimiser: Optimizer, memories: Mapping[str, Memory]) -> None:
    """Let an optimiser go on with copies of what was ``read``, of these components; of others it keeps its own."""
    for group in optimiser.param_groups:
        if (memory := memories.get(group["component"])) is not None:
            _put(optimiser, group, memory)


def _put(optimiser: Optimizer, group: dict[str, Any], memory: Memory) -> None:
    for key in [key for key, value in group.items() if key not in OURS and isinstance(value, int | float)]:
        if key in optimiser.defaults:
            group[key] = optimiser.defaults[key]
        else:
            del group[key]
    state: dict[str, Any] = {}
    for name, value in memory.items():
        kind, _, key = name.partition("/")
        if kind == "state":
            state[key] = value.to(_device(key, group), copy=True)
        else:
            (group if kind == "group" else state)[key] = value.item()
    optimiser.state[group["params"][0]] = state


def _device(key: str, group: Mapping[str, Any]) -> torch.device:
    """Where torch keeps it: counts of steps on the CPU, unless they are part of what the GPU does by itself."""
    counted = key == "step" and not group.get("capturable") and not group.get("fused")
    return torch.device("cpu") if counted else group["params"][0].device
