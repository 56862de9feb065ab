"""Find a plug-in by its name: a file in the folder of its kind, or any module by its dotted name.

A plug-in is a module that has the attribute its kind asks for; it may lie in a folder of its own inside that of its
kind. ``module:Name`` is the attribute of that name instead. There is no registry: what is there is what can be found.
How options name plug-ins is in ``plugin_options.py``.
"""

import importlib
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from parse_p2p.core.errors import ConfigError, cause, nearest

ROOT = Path(__file__).parent.parent
"""The folder of the package: found without importing what lies in it."""


@dataclass(frozen=True)
class PluginKind:
    """Where plug-ins of one kind live, and the attribute that makes a module one of them.

    ``adapter`` is a module whose ``adapted`` makes a plug-in of what is none: a class of another library, say.
    Of some the ``whole`` module counts, which has more that is asked for than the attribute.
    """

    what: str
    package: str
    attribute: str
    adapter: str = ""
    whole: bool = False


METHODS = PluginKind("method", "parse_p2p.methods", "METHOD")
TASKS = PluginKind("task", "parse_p2p.data.tasks", "TASK")
DATA = PluginKind("data set", "parse_p2p.data", "open", whole=True)
KEEPINGS = PluginKind("way to keep samples", "parse_p2p.data.keeping", "KEEPING")
DRIFTS = PluginKind("way to detect drift", "parse_p2p.learning.drift", "DRIFT")
CODECS = PluginKind("codec", "parse_p2p.wire.codecs", "CODEC")
ENCODERS = PluginKind("encoder", "parse_p2p.models.encoders", "build")
NETWORKS = PluginKind("network", "parse_p2p.models", "NETWORK")
WEIGHTINGS = PluginKind("weighting", "parse_p2p.models.weighting", "WEIGHTING")
LAUNCHERS = PluginKind("launcher", "parse_p2p.launch.launchers", "LAUNCHER")
MEASURES = PluginKind("measure", "parse_p2p.lab.measures", "measure")
MIXERS = PluginKind("mixer", "parse_p2p.core.mixers", "MIXER")
EXCHANGES = PluginKind("exchange", "parse_p2p.methods.exchanges", "EXCHANGE")
DISCOVERIES = PluginKind("discovery", "parse_p2p.discovery", "DISCOVERY")
FAULTS = PluginKind("fault", "parse_p2p.wire.faults", "FAULT")
OPTIMISERS = PluginKind(
    "optimiser", "parse_p2p.learning.optimisers", "OPTIMISER", "parse_p2p.learning.optimisers.classes"
)
SCHEDULES = PluginKind("schedule", "parse_p2p.learning.schedules", "SCHEDULE", "parse_p2p.learning.schedules.classes")
METRICS = PluginKind("metric", "parse_p2p.learning.metrics", "METRIC", "parse_p2p.learning.metrics.functions")


def known(kind: PluginKind) -> list[str]:
    """The names of all plug-ins of a kind that the package ships."""
    modules = _modules(kind.package).items()
    return sorted(name for name, dotted in modules if hasattr(importlib.import_module(dotted), kind.attribute))


def names(kind: PluginKind) -> list[str]:
    """The same, read off the files without importing any: for help and completion, which torch would hold up."""
    defined = re.compile(rf"^(?:def )?{kind.attribute}\b *[:=(]", re.MULTILINE)
    return sorted(name for name, path in _files(kind.package).items() if defined.search(path.read_text("utf-8")))


def load(kind: PluginKind, name: str) -> Any:
    """The plug-in: the attribute of its kind, that which is named, or what its kind makes of an object of others.

    Raises ConfigError naming what there is and the nearest name, or saying why the object cannot be used.
    """
    if kind.adapter and (other := _object(name)) is not None:
        return importlib.import_module(kind.adapter).adapted(other)
    found: Any = module(kind, name)
    for step in (name.partition(":")[2] or kind.attribute).split("."):
        found = getattr(found, step)
    return found


def _object(name: str) -> Any:
    """What a module calls so, as ``torch.optim.RMSprop``; None where it calls nothing so, or another module."""
    place, _, attribute = name.rpartition(":" if ":" in name else ".")
    try:
        found = getattr(imported(place), attribute, None) if place else None
    except ModuleNotFoundError:
        return None
    return None if isinstance(found, ModuleType) else found


def module(kind: PluginKind, name: str) -> ModuleType:
    """The module of a plug-in; a name with a dot or colon is taken as a module of another package.

    Raises ConfigError naming what there is and the nearest name.
    """
    dotted, colon, attribute = name.partition(":")
    try:
        found = imported(dotted if ones_own(name) else _modules(kind.package).get(name.replace("_", "-"), ""))
    except ModuleNotFoundError:
        where = f"no module {dotted!r} is installed or in the current folder; " if ones_own(name) else ""
        raise ConfigError(f"there is no {kind.what} {name!r}: {where}{nearest(name, known(kind))}") from None
    if colon and kind.whole:
        raise ConfigError(f"a {kind.what} is a whole module, not {name!r}: leave out {colon + attribute!r}")
    if colon:
        _refuse_missing(found, name, attribute)
    elif not hasattr(found, kind.attribute):
        raise ConfigError(f"{name!r} is no {kind.what} (it has no {kind.attribute}): {nearest(name, known(kind))}")
    return found


def ones_own(name: str) -> bool:
    """Whether a name is that of a module elsewhere, or of something in one, and not of a file of the package."""
    return "." in name or ":" in name


def _refuse_missing(found: ModuleType, name: str, attribute: str) -> None:
    at: Any = found
    for step in attribute.split("."):
        if not hasattr(at, step):
            public = [known for known in vars(at) if not known.startswith("_")] if hasattr(at, "__dict__") else []
            raise ConfigError(f"there is no {name!r}, for its module has no {step!r}: {nearest(step, public)}")
        at = getattr(at, step)


def imported(dotted: str) -> ModuleType:
    """The module of this name, installed or in the current folder.

    Raises ModuleNotFoundError where there is none, and ConfigError where one that is there cannot be imported.
    """
    if "\0" in dotted or not all(dotted.split(".")):
        raise ModuleNotFoundError(f"no module can be called {dotted!r}", name=dotted)
    try:
        with current_folder():
            return importlib.import_module(dotted)
    except (Exception, SystemExit) as error:
        missing = error.name or "" if isinstance(error, ModuleNotFoundError) else ""
        if f"{dotted}.".startswith(f"{missing}."):
            raise
        if missing and missing.partition(".")[0] != dotted.partition(".")[0]:
            raise ConfigError(f"{dotted!r} needs the package {missing!r}: pip install {missing}") from None
        raise ConfigError(f"the module {dotted!r} cannot be imported ({cause(error)}); correct it") from error


@contextmanager
def current_folder() -> Iterator[None]:
    """Modules of the current folder can be imported meanwhile, as with ``python -m``; a command's path lacks it."""
    if "" in sys.path:
        yield
        return
    sys.path.append("")
    try:
        yield
    finally:
        sys.path.remove("")


@cache
def _modules(package: str) -> dict[str, str]:
    """The dotted name of every module of a kind, by its name as a user writes it."""
    inside = {name: path.relative_to(ROOT).with_suffix("").parts for name, path in _files(package).items()}
    return {name: ".".join((ROOT.name, *parts)) for name, parts in inside.items()}


@cache
def _files(package: str) -> dict[str, Path]:
    """Every file in the folder of a kind and the folders below it, by its name as a user writes it."""
    found = ROOT.joinpath(*package.split(".")[1:]).rglob("*.py")
    return {path.stem.replace("_", "-"): path for path in sorted(found, reverse=True) if path.stem != "__init__"}
