"""All parameters of a model in one flat buffer, component after component.

The module's tensors are views of it, and so are their gradients: a slice is a stretch of memory, cut without
copying and mixed in place, and an optimiser steps over whole components. Buffers such as running statistics
stay in the module; they are never mixed.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.slices import Component, Region

Parts = Sequence[tuple[Component, Mapping[str, nn.Parameter]]]
"""The components of a model in order, each with its parameters by name."""


class ParameterBuffer:
    """All parameters of a model, one component after another, in one flat tensor.

    ``values`` and ``grads`` are float32 (size,) on one device; ``regions`` says where each component lies, by its name.
    ``leaves`` holds one flat parameter per component that takes gradients, its gradient in place, for an optimiser.
    """

    def __init__(self, parts: Parts, device: torch.device) -> None:
        self.regions = regions(parts)
        self.size = sum(region.size for region in self.regions.values())
        self.values = torch.zeros(self.size, device=device)
        self.grads = torch.zeros(self.size, device=device)
        for component, parameters in parts:
            self._adopt(self.regions[component.name], parameters)
        trained = [c.name for c, parameters in parts if any(p.requires_grad for p in parameters.values())]
        self.leaves = {name: self._leaf(self.regions[name]) for name in trained}

    def view(self, region: Region) -> Tensor:
        """The parameters of a region, (region.size,), not copied: writing to them changes the model."""
        return self.values[region.start : region.stop]

    def _adopt(self, region: Region, parameters: Mapping[str, nn.Parameter]) -> None:
        start = region.start
        for parameter in parameters.values():
            stop = start + parameter.numel()
            self.values[start:stop] = parameter.detach().flatten()
            parameter.data = self.values[start:stop].view(parameter.shape)
            parameter.grad = self.grads[start:stop].view(parameter.shape)
            start = stop

    def _leaf(self, region: Region) -> nn.Parameter:
        leaf = nn.Parameter(self.view(region))
        leaf.grad = self.grads[region.start : region.stop]
        return leaf


def fill(buffers: Mapping[str, Tensor], buffer: ParameterBuffer, state: Mapping[str, Tensor]) -> None:
    """Take a network's parameters and buffers from a ``state``: ``parameters``, and ``buffer/NAME`` of each buffer.

    Raises ConfigError where one is missing or of another shape: it is the state of another network.
    """
    targets = {"parameters": buffer.values} | {f"buffer/{name}": each for name, each in buffers.items()}
    for name, target in targets.items():
        if name not in state or (state[name].shape, state[name].dtype) != (target.shape, target.dtype):
            found = _kind(state[name]) if name in state else "not there"
            raise ConfigError(f"{name!r} of the state is {found}, and {_kind(target)} in the network")
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(state[name])


def _kind(tensor: Tensor) -> str:
    return f"{tensor.dtype} of shape {list(tensor.shape)}"


def regions(parts: Parts) -> dict[str, Region]:
    """Where each component would lie in a buffer; needs shapes only."""
    found, start = {}, 0
    for component, parameters in parts:
        layout = tuple((name, tuple(p.shape)) for name, p in parameters.items())
        stop = start + sum(p.numel() for p in parameters.values())
        found[component.name] = Region(component, start, stop, layout)
        start = stop
    return found
