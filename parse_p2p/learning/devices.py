"""On which device an agent computes, and what memory it takes there.

Every process that computes on a GPU has a context of its own there, of some hundred MB, whatever its model's size.
"""

import re
import resource
import sys

import torch

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import PeerId

RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes, of what getrusage counts resident memory in
BROKE = re.compile(r"(CUDA|cuDNN|HIP)( driver)? error")


def choose(name: str, me: PeerId, turn: int) -> torch.device:
    """The device of this name; ``auto`` deals the GPUs round by ``turn`` and is the CPU where there is none.

    The driver is only asked how many there are, so that a program which computes nothing takes nothing on a GPU.
    Raises ConfigError for a device that is not there.
    """
    if name == "auto":
        count = torch.cuda.device_count()
        return torch.device(f"cuda:{turn % count}" if count else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise _unusable(name, me, str(error)) from None
    if device.type != "cuda":
        open_up(device, me)
    elif not torch.backends.cuda.is_built():  # type: ignore[no-untyped-call]
        raise _unusable(name, me, "this torch is built without CUDA")
    elif (device.index or 0) >= (count := torch.cuda.device_count()):
        raise _unusable(name, me, f"this machine has {count} GPUs, counted from cuda:0" if count else "there is no GPU")
    return device


def open_up(device: torch.device, me: PeerId) -> None:
    """Take a device into use in this process. Raises ConfigError where that fails, as for want of memory."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise _unusable(str(device), me, str(error)) from None


def memory(device: torch.device) -> dict[str, int]:
    """The most bytes taken so far: by the process on the ``host``, and ``allocated`` and ``reserved`` on its GPU.

    The process's context on the GPU comes on top. Agents that share a process share these numbers.
    """
    host = {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT}
    if device.type != "cuda":
        return host
    allocated, reserved = torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)
    return host | {"allocated": allocated, "reserved": reserved}


def failed(error: RuntimeError) -> bool:
    """Whether a device gave up in the middle of its work, and not over an assertion, which is the program's fault."""
    broke = isinstance(error, getattr(torch, "AcceleratorError", ())) or BROKE.match(str(error))
    return bool(broke) and "assert" not in str(error)


def _unusable(name: str, me: PeerId, reason: str) -> ConfigError:
    first = reason.splitlines()[0].rstrip(".")
    return ConfigError(f"device: {name!r} of agent {me} cannot be used ({first}): try cpu or auto")
