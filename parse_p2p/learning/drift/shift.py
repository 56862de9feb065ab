"""Inputs that lie far from those of the start, in standard deviations: file by file, whatever the model says."""

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from parse_p2p.core.types import Modality
from parse_p2p.learning.drift.base import Drift, DriftOptions


class Shift(DriftOptions):
    """Look at how far the means of inputs have moved."""

    reads_errors: ClassVar[bool] = False

    kind: Literal["shift"]
    above: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="mean distance over the features, in deviations of the start"
    )

    def detector(self) -> "Shift":
        return self

    def update(self, errors: Tensor, shift: Mapping[Modality, float]) -> Iterator[Drift]:
        for modality, far in shift.items():
            if far > self.above:
                yield Drift(f"inputs of {modality}", far, 0.0)


DRIFT = Shift
