"""Tensors between a GPU and the host, through pinned memory: copies run beside the CPU, which waits once for all.

Torch keeps pinned memory that was given back and hands it out again as soon as nobody refers to it and no copy is
under way from or to it. So a snapshot lies where an earlier one lay, unless the wire still sends that one from its
memory: no buffer is ever written over. On a CPU nothing is pinned.
"""

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor

K = TypeVar("K")


def to_host(tensors: Mapping[K, Tensor]) -> dict[K, Tensor]:
    """Copies in the host's memory, complete when this returns; copies too of what is there already."""
    copies: dict[K, Tensor] = {}
    for name, tensor in tensors.items():
        copy = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda, requires_grad=False)
        copies[name] = copy.copy_(tensor.detach(), non_blocking=tensor.is_cuda)
    for device in {tensor.device for tensor in tensors.values() if tensor.is_cuda}:
        torch.cuda.current_stream(device).record_event().synchronize()
    return copies


def to_device(tensors: Mapping[K, Tensor], device: torch.device) -> dict[K, Tensor]:
    """The same numbers on a device, which gets them before it computes anything that is asked of it later.

    What is there already comes as it is.
    """
    if device.type != "cuda":
        return {name: tensor.to(device) for name, tensor in tensors.items()}
    return {
        name: tensor if tensor.is_cuda else tensor.pin_memory().to(device, non_blocking=True)
        for name, tensor in tensors.items()
    }
