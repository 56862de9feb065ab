"""A folder in which files appear: which of them are complete, in the order of their names.

Whoever writes gives a file another name until it is complete, and renames it then. For those who do not, a file counts
as complete when a look at the folder finds it as the look before did, to the byte of its size and the tick of its time.
A folder inside is one file, with all that lies in it.
"""

import os
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path

UNFINISHED = (".tmp", ".part", ".partial")
"""How names of files end that are still being written; so do those that begin with a dot."""


class WatchedFolder:
    """Looks at a folder again and again; ``apart`` are files in it that are none of those that arrive."""

    def __init__(self, path: Path, apart: frozenset[Path] = frozenset()) -> None:
        self.path = path
        self._apart = {os.path.realpath(each) for each in apart}
        self._before: Mapping[str, str] = {}

    def look(self) -> dict[str, str]:
        """All files that have not changed since the look before, each with its stamp. Raises OSError."""
        found = dict(sorted(self._found()))
        same = {name: stamp for name, stamp in found.items() if self._before.get(name) == stamp}
        self._before = found
        return same

    def stamp(self, name: str) -> str | None:
        """Another one where the file is another; None where it is gone."""
        try:
            return stamp_of(self.path / name)
        except OSError:
            return None

    def _found(self) -> Iterator[tuple[str, str]]:
        for name in os.listdir(self.path):
            if name.startswith(".") or name.lower().endswith(UNFINISHED):
                continue
            if os.path.realpath(self.path / name) in self._apart:
                continue
            if (stamp := self.stamp(name)) is not None:
                yield name.encode("utf-8", "backslashreplace").decode(), stamp  # one that is no UTF-8 can be told of


def stamp_of(path: Path) -> str:
    """Of names, sizes and times of change of a file, or of all in a folder. Raises OSError."""
    hashed = blake2b(digest_size=8)
    for inside in [path, *sorted(path.rglob("*"))] if path.is_dir() else [path]:
        found = inside.stat()
        facts = (inside.relative_to(path).as_posix(), inside.is_dir(), found.st_mtime_ns)
        hashed.update(repr((*facts, 0 if inside.is_dir() else found.st_size)).encode("utf-8", "surrogateescape"))
    return hashed.hexdigest()
