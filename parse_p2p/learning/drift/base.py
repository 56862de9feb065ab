"""Whether samples that arrive are others than those before: a file here with such a class as ``DRIFT`` looks for it.

Nothing is done about a drift but to say so.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from parse_p2p.core import plugins
from parse_p2p.core.plugin_options import ByKind
from parse_p2p.core.types import Modality
from parse_p2p.data.base import Dataset, Scale
from parse_p2p.data.lazy import in_memory


@dataclass(frozen=True)
class Drift:
    """``what`` has changed, from ``before`` to ``value``."""

    what: str
    value: float
    before: float


class Detector(Protocol):
    """Sees all that arrives, in its order."""

    def update(self, errors: Tensor, shift: Mapping[Modality, float]) -> Iterator[Drift]:
        """What is found in the samples of one file.

        ``errors`` float64 (N,) are those of the model before it was trained on them, each from 0 to 1 to the nearest
        of 1/255, as ``Task.errors`` says; none where no entry of ``drift`` reads them. ``shift`` is how far their
        inputs are from those of the start, as ``shifts`` says; none of files from before a stop.
        """


class DriftOptions(ByKind):
    """One entry of ``drift`` of a source that is watched: the options of one way to look.

    ``reads_errors`` says that it looks at errors, which are then kept for it.
    """

    plugin_kind: ClassVar = plugins.DRIFTS
    reads_errors: ClassVar[bool] = True

    def detector(self) -> Detector:
        """One that has seen nothing yet. Raises ConfigError where a package is missing."""
        raise NotImplementedError


def shifts(start: Mapping[Modality, Scale], arrived: Dataset) -> dict[Modality, float]:
    """How far inputs are from those at the start, in standard deviations, of each modality that there is any of.

    The mean over features (vectors) or channels (others) of \\|m′ − m\\| / s, where m and s are mean and standard
    deviation of the start's training samples and m′ is the mean of those that arrived; features that are constant at
    the start are left out. Of N samples of the same distribution about 0.8/√N is to be expected.
    """
    found = {}
    for m, scale in start.items():
        x = in_memory(arrived.having(m)).cpu().double()
        if not len(x) or scale.mean is None or scale.deviation is None:
            continue
        vary = scale.deviation.flatten() > 0
        if vary.any():
            means = x.mean([0, *range(2, x.ndim)])
            far = (means - scale.mean.flatten()).abs()[vary] / scale.deviation.flatten()[vary]
            found[m] = float(torch.mean(far))
    return found
