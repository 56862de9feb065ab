"""What an agent took in, and in which round: the record by which it has the same samples after a stop.

One JSON object a line, each on disk before the next round begins; a line that a kill cut off is none. What looks for a
drift at errors sees them again after a stop, so the record has them all, each as one byte before they are compressed:
of classes that is about a fifth of a character a sample.
"""

import base64
import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor

from parse_p2p.core.errors import ConfigError

STEPS = 255
"""Errors from 0 to 1 are kept in so many steps."""


def pack(errors: Tensor) -> str:
    """Errors (N,) from 0 to 1 as text; ``unpack`` is its inverse, to the nearest step."""
    steps = (errors.clamp(0, 1) * STEPS).round().to(torch.uint8).cpu().numpy()
    return base64.b64encode(zlib.compress(steps.tobytes(), 9)).decode("ascii")


def unpack(text: str, most: int) -> Tensor:
    """Errors (N,), float64, at most so many. Raises ValueError for a text that holds none."""
    if not text:
        return torch.zeros(0, dtype=torch.float64)
    whole = zlib.decompressobj()
    try:
        steps = whole.decompress(base64.b64decode(text, validate=True), most + 1)
    except zlib.error as error:
        raise ValueError(f"errors: {error}") from None
    if len(steps) > most or not whole.eof:
        raise ValueError(f"errors: they are more than the {most} samples, or cut off")
    return torch.tensor(list(steps), dtype=torch.float64) / STEPS


class Taken(BaseModel):
    """A file whose samples were taken in as a round began: their number and their fingerprint.

    ``errors`` are those of the model before it was trained on them, packed, where something looks at them for a drift.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["taken"] = "taken"
    round: int = Field(ge=0)
    name: str
    stamp: str
    samples: int = Field(ge=1)
    fingerprint: str
    errors: str = ""

    @model_validator(mode="after")
    def _readable(self) -> Self:
        self.unpacked()
        return self

    def unpacked(self) -> Tensor:
        """The errors, (N,) in float64."""
        return unpack(self.errors, self.samples)


class RefusedFile(BaseModel):
    """A file that was refused; it is not read again until it has another stamp."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["refused"] = "refused"
    round: int = Field(ge=0)
    name: str
    stamp: str
    why: str


Entry = Taken | RefusedFile


class ArrivalRecord:
    """All entries so far, in the file ``path``, or in memory alone. Raises ConfigError for a file that is broken.

    Others may read the file while its agent adds to it.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.entries: list[Entry] = []
        self._whole: int | None = None  # bytes of complete lines, where a kill left more
        if path is not None and path.exists():
            self._read(path)

    def add(self, entry: Entry) -> None:
        """Keep an entry, on disk before this returns. Raises ConfigError where it cannot be written."""
        self.entries.append(entry)
        if self.path is None:
            return
        try:
            self._write(self.path, json.dumps(entry.model_dump(exclude_defaults=True) | {"kind": entry.kind}) + "\n")
        except OSError as error:
            raise ConfigError(
                f"{self.path} cannot be written ({error.strerror or error}): make room, or have it writable, and go on "
                "with --resume"
            ) from None

    def _write(self, path: Path, line: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            if self._whole is not None:
                os.truncate(path, self._whole)
                self._whole = None
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    @property
    def taken(self) -> Sequence[Taken]:
        """What was taken in, in the order of the rounds."""
        return sorted((entry for entry in self.entries if isinstance(entry, Taken)), key=lambda entry: entry.round)

    def _read(self, path: Path) -> None:
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        self._whole = whole if whole < len(data) else None
        for number, line in enumerate(data[:whole].splitlines(), 1):
            try:
                self.entries.append(_entry(json.loads(line)))
            except (ValueError, RecursionError) as error:
                why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
                raise ConfigError(
                    f"line {number} of {path} cannot be read ({why}): copy it anew from where the agent ran"
                ) from None


def _entry(found: Any) -> Entry:
    kind = found.get("kind") if isinstance(found, dict) else None
    return RefusedFile.model_validate(found) if kind == "refused" else Taken.model_validate(found)
