"""The run files that come with the package, found by name: those of ``topologies/``."""

from pathlib import Path

from parse_p2p.core.errors import ConfigError, nearest

SCHEMA = "run-file.schema.json"
"""The file beside them by which editors check a run file and complete its keys."""


def folder() -> Path:
    """Where they lie: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / "topologies"
    return inside if inside.is_dir() else package.parent / "topologies"


def names() -> list[str]:
    """Of all of them, as ``ring``."""
    return sorted(path.stem for path in folder().glob("*.yaml"))


def beginnings() -> list[str]:
    """Of those that run on one host as they are: not those of containers."""
    return [name for name in names() if not name.startswith("compose-")]


def find(path: Path) -> Path:
    """The path itself if there is such a file, else the shipped run file that it names.

    ``ring``, ``ring.yaml`` and ``topologies/ring.yaml`` name the same one. Raises ConfigError where there is neither.
    """
    if path.exists() and not path.is_dir():
        return path
    inside = folder() / path.with_suffix(".yaml").name
    if path.suffix in ("", ".yaml") and str(path.parent) in (".", "topologies") and inside.is_file():
        return inside
    reason = "is a directory" if path.is_dir() else "no such file"
    near = nearest(path.stem, names())
    raise ConfigError(f"the topology {path} cannot be read: {reason}, and none that is shipped has this name: {near}")
