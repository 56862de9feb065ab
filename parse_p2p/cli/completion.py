"""What may stand behind an option, for shells that complete it and for its help; found without importing torch."""

from pathlib import Path

from parse_p2p.config import shipped
from parse_p2p.core import plugins

SUFFIXES = (".yaml", ".yml")  # of run files


def methods(incomplete: str) -> list[str]:
    """Methods whose names begin so."""
    return _beginning(plugins.names(plugins.METHODS), incomplete)


def datasets(incomplete: str) -> list[str]:
    """Data sets whose names begin so."""
    return _beginning(plugins.names(plugins.DATA), incomplete)


def beginnings(incomplete: str) -> list[str]:
    """Shipped topologies that ``init`` writes whose names begin so."""
    return _beginning(shipped.beginnings(), incomplete)


def launchers(incomplete: str) -> list[str]:
    """Launchers whose names begin so."""
    return _beginning(plugins.names(plugins.LAUNCHERS), incomplete)


def topologies(incomplete: str) -> list[str]:
    """Run files and folders whose paths begin so, and topologies that are shipped."""
    return sorted({*run_files(incomplete), *_beginning(shipped.names(), incomplete)})


def run_files(incomplete: str) -> list[str]:
    """Run files and folders whose paths begin so."""
    typed, begun = Path(incomplete), incomplete.rpartition("/")[2]
    folder = typed if incomplete.endswith("/") or not incomplete else typed.parent
    found = [path for path in sorted(folder.glob("*")) if path.name.startswith(begun)]
    visible = [path for path in found if begun.startswith(".") or not path.name.startswith(".")]
    return [f"{path}/" if path.is_dir() else str(path) for path in visible if path.is_dir() or path.suffix in SUFFIXES]


def _beginning(names: list[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
