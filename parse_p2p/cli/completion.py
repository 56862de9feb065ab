"""What may stand behind an option, for shells that complete it and for its help; found without importing torch."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from parse_p2p.config import shipped
from parse_p2p.core import plugins

SUFFIXES = (".yaml", ".yml")  # of run files


def _one_of(names: Callable[[], list[str]]) -> Callable[[str], list[str]]:
    """Those of some names that begin so."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names() if name.startswith(incomplete)]

    return complete


methods, datasets, launchers = (
    _one_of(partial(plugins.names, kind)) for kind in (plugins.METHODS, plugins.DATA, plugins.LAUNCHERS)
)
shipped_topologies = _one_of(shipped.names)
beginnings = _one_of(shipped.beginnings)  # those that `init` writes


def topologies(incomplete: str) -> list[str]:
    """Run files and folders whose paths begin so, and topologies that are shipped."""
    return sorted({*run_files(incomplete), *shipped_topologies(incomplete)})


def folders(incomplete: str) -> list[str]:
    """Folders whose paths begin so."""
    return [path for path in run_files(incomplete) if path.endswith("/")]


def run_files(incomplete: str) -> list[str]:
    """Run files and folders whose paths begin so."""
    typed, begun = Path(incomplete), incomplete.rpartition("/")[2]
    folder = typed if incomplete.endswith("/") or not incomplete else typed.parent
    found = [path for path in sorted(folder.glob("*")) if path.name.startswith(begun)]
    visible = [path for path in found if begun.startswith(".") or not path.name.startswith(".")]
    return [f"{path}/" if path.is_dir() else str(path) for path in visible if path.is_dir() or path.suffix in SUFFIXES]
