"""What modules draw by themselves while they are trained, as dropout does: from torch's own generators."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from parse_p2p.core.rng import seeded

ONE_AT_A_TIME = threading.RLock()
"""torch's generator on the CPU belongs to the process, in which several agents may train in threads."""


class Noise:
    """The state of torch's generators, of the CPU and of ``device``, that depends on names alone."""

    def __init__(self, device: torch.device, *names: object) -> None:
        generator = seeded(*names, "noise")
        self._devices = [] if device.type == "cpu" else [device]
        self._states = [generator.get_state()]
        self._states += [torch.Generator(d).manual_seed(generator.initial_seed()).get_state() for d in self._devices]

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """What is drawn meanwhile goes on from what was drawn so far; for all others torch's generators stay."""
        with ONE_AT_A_TIME:
            before = self._now()
            self._set(self._states)
            try:
                yield
            finally:
                self._states = self._now()
                self._set(before)

    def _now(self) -> list[torch.Tensor]:
        return [torch.get_rng_state(), *(torch.get_device_module(d).get_rng_state(d) for d in self._devices)]

    def _set(self, states: list[torch.Tensor]) -> None:
        torch.set_rng_state(states[0])
        for device, state in zip(self._devices, states[1:], strict=True):
            torch.get_device_module(device).set_rng_state(state, device)
