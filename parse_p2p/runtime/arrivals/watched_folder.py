"""A folder in which files appear: which of them are complete, in the order of their names.

Whoever writes gives a file another name until it is complete, and renames it then. For those who do not, a file counts
as complete when a look at the folder finds it as the look before did, to the byte of its size and the tick of its time.
A folder inside is one file, with all that lies in it; what a link leads to is not looked through.
"""

import os
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from stat import S_ISDIR

from parse_p2p.core.errors import printable

UNFINISHED = (".tmp", ".part", ".partial")
"""How names of files end that are still being written; so do those that begin with a dot."""


class WatchedFolder:
    """Looks at a folder again and again; ``apart`` are files in it that are none of those that arrive.

    Names that cannot be shown are told with their signs escaped, and no file is found under them.
    """

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
            if self._is_apart(os.path.realpath(self.path / name)):
                continue
            if (stamp := self.stamp(name)) is not None:
                yield printable(name), stamp

    def _is_apart(self, path: str) -> bool:
        return any(path == each or each.startswith(os.path.join(path, "")) for each in self._apart)


def stamp_of(path: Path) -> str:
    """Of names, sizes and times of change of a file, or of all in a folder. Raises OSError.

    The time at which its facts were changed is among them, so that a file that was made readable is another.
    """
    hashed = blake2b(digest_size=8)
    folder = path.is_dir() and not path.is_symlink()
    for inside in [path, *sorted(path.rglob("*"))] if folder else [path]:
        found = inside.lstat() if folder else inside.stat()
        size = 0 if S_ISDIR(found.st_mode) else found.st_size
        facts = (inside.relative_to(path).as_posix(), found.st_mode, found.st_mtime_ns, found.st_ctime_ns, size)
        hashed.update(repr(facts).encode("utf-8", "surrogateescape"))
    return hashed.hexdigest()
