"""What an agent took in, and in which round: the record by which it has the same samples after a stop.

One JSON object a line, each written to disk before its samples are used; a line that a kill cut off is none.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from parse_p2p.core.errors import ConfigError


class Taken(BaseModel):
    """A file whose samples were taken in as a round began: their number and their fingerprint.

    ``errors`` are those of the model before it was trained on them, where something looks for a drift.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: Literal["taken"] = "taken"
    round: int = Field(ge=0)
    name: str
    stamp: str
    samples: int = Field(ge=1)
    fingerprint: str
    errors: tuple[float, ...] = ()


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
    """All entries so far, in the file ``path``, or in memory alone. Raises ConfigError for a file that is broken."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.entries: list[Entry] = []
        if path is not None and path.exists():
            self._read(path)

    def add(self, entry: Entry) -> None:
        """Keep an entry, on disk before this returns."""
        self.entries.append(entry)
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(_brief(entry.model_dump())) + "\n")
            file.flush()
            os.fsync(file.fileno())

    @property
    def taken(self) -> Sequence[Taken]:
        """What was taken in, in the order of the rounds."""
        return sorted((entry for entry in self.entries if isinstance(entry, Taken)), key=lambda entry: entry.round)

    def _read(self, path: Path) -> None:
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(path, whole)
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


def _brief(entry: dict[str, Any]) -> dict[str, Any]:
    """With 0 and 1 for 0.0 and 1.0, which most errors are."""
    if "errors" in entry:
        entry["errors"] = [int(error) if error in (0, 1) else error for error in entry["errors"]]
    return entry
