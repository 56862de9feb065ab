"""What a run folder keeps of an agent's data: which samples they were, and what its inputs were scaled by.

A model is of no use to anybody who does not know the scale; the data themselves need not be there. JSON, whose numbers
are written so that they are read back to the last bit.
"""

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor

from parse_p2p.core.errors import ConfigError, cause
from parse_p2p.core.types import Modality
from parse_p2p.data.base import Scale

NO_JSON = (OSError, ValueError, RecursionError)
"""What reading a broken file raises; pydantic's errors are ValueErrors too."""


class AppliedScale(BaseModel):
    """The numbers of a ``Scale``: one per feature of a vector, or channel of anything else."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @model_validator(mode="after")
    def _numbers(self) -> Self:
        if len(self.mean) != len(self.deviation) or not self.mean:
            raise ValueError(f"mean has {len(self.mean)} numbers and deviation {len(self.deviation)}")
        if not all(map(math.isfinite, self.mean)) or not all(0 <= each < math.inf for each in self.deviation):
            raise ValueError("a mean is a number, and a deviation one from 0")
        return self

    @staticmethod
    def of(scale: Scale) -> "AppliedScale | None":
        """None for a scale that leaves everything as it is."""
        if scale.mean is None or scale.deviation is None:
            return None
        return AppliedScale(mean=scale.mean.flatten().tolist(), deviation=scale.deviation.flatten().tolist())


Scales = Mapping[Modality, AppliedScale | None]
"""What each modality is scaled by; None where it is left as it is."""


class KeptData(BaseModel):
    """Of one agent: the fingerprint of samples that are its own, and what its inputs are scaled by.

    ``classes`` is how frequent each is among all agents' samples, where that was agreed on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    fingerprint: str | None
    scale: dict[Modality, AppliedScale | None]
    classes: tuple[Annotated[float, Field(ge=0, le=1)], ...] | None = None


def scale_of(numbers: AppliedScale | None, shape: tuple[int, ...]) -> Scale:
    """The scale of a modality whose samples have this shape. Raises ValueError where there are too few numbers."""
    if numbers is None:
        return Scale.none()
    if len(numbers.mean) != shape[0]:
        raise ValueError(f"{len(numbers.mean)} numbers for {shape[0]} features or channels")
    scale = Scale.given(numbers.mean, numbers.deviation, len(shape))
    assert scale.mean is not None and scale.mean.dtype == torch.float64
    return scale


def read(path: Path) -> KeptData:
    """What is kept there. Raises ConfigError for a file that is broken."""
    try:
        return KeptData.model_validate(json.loads(path.read_text("utf-8")))
    except NO_JSON as error:
        raise ConfigError(
            f"{path} cannot be read ({said(error)}): copy it anew from where the agent ran, or delete it there"
        ) from None


def keep(
    path: Path,
    found: str | None,
    scales: Callable[[], Mapping[Modality, Scale]],
    frequencies: Callable[[], Tensor | None] = lambda: None,
    anew: bool = False,
) -> KeptData:
    """What is kept there, once it is: what was kept before stays, unless it is to be ``anew``.

    Raises ConfigError for a file that is broken.
    """
    if path.exists() and not anew:
        return read(path)
    scale = {m: AppliedScale.of(scale) for m, scale in sorted(scales().items())}
    counted = frequencies()
    kept = KeptData(fingerprint=found, scale=scale, classes=None if counted is None else counted.tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, kept.model_dump(mode="json", exclude_defaults=True))
    return kept


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON beside the file, and rename: nobody ever reads half of it."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


def said(error: Exception) -> str:
    """An error in reading, in one line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return cause(error)
