"""Which keys of a run file two agents that refuse each other do not agree on, told by a few digits of each."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DIGITS = 4  # hexadecimal, of each key


@dataclass(frozen=True)
class RunKeys:
    """The names of all keys that agents agree on, and ``said``: the digits of their values, in the same order."""

    names: Sequence[str] = ()
    said: str = ""

    @staticmethod
    def of(agreed: Mapping[str, Any]) -> "RunKeys":
        return RunKeys(tuple(agreed), "".join(_digits(value) for value in agreed.values()))

    def differing(self, said: str) -> list[str]:
        """The keys whose digits are others in what a peer said; none where it has other keys."""
        if len(said) != len(self.said):
            return []
        places = range(0, len(said), DIGITS)
        return [
            name
            for name, at in zip(self.names, places, strict=True)
            if said[at : at + DIGITS] != self.said[at : at + DIGITS]
        ]


def _digits(value: Any) -> str:
    text = json.dumps(value, sort_keys=True).encode()
    return hashlib.blake2b(text, digest_size=DIGITS // 2).hexdigest()
