"""Errors that have grown, by ADWIN: a window of all errors that is cut where the means of its halves differ too much.

Bifet and Gavaldà 2007 (Learning from time-changing data with adaptive windowing, SIAM International Conference on Data
Mining), as the package river has it. It reports both ways; errors that fall are what learning is for, and no drift. The
value of a drift is the mean error in the file in which it is seen, and that before the mean of the window until then.
"""

import importlib
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import Modality
from parse_p2p.learning.drift.base import Detector, Drift, DriftOptions


class Adwin(DriftOptions):
    """Look at the errors that the model makes on samples that it has not been trained on."""

    kind: Literal["adwin"]
    delta: float = Field(0.002, gt=0, lt=1, description="how likely a false alarm may be: the smaller, the later")

    def detector(self) -> Detector:
        try:
            drift = importlib.import_module("river.drift")  # takes a second, with pandas
        except ModuleNotFoundError:
            raise ConfigError("drift: adwin needs the package river: pip install 'parse-p2p[streams]'") from None
        return _Errors(drift.ADWIN(delta=self.delta))


class _Errors:
    def __init__(self, window: Any) -> None:
        self._window = window

    def update(self, errors: Tensor, shift: Mapping[Modality, float]) -> Iterator[Drift]:
        before, found = float(self._window.estimation), False
        for error in errors.tolist():
            self._window.update(error)
            found |= self._window.drift_detected
        if found and (now := float(errors.mean())) > before:
            yield Drift("errors", now, before)


DRIFT = Adwin
