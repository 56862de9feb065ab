"""Find a plug-in by its name: a file in its room of the package, or any module by its dotted name.

A room is a folder; a plug-in is a module in it that ends in the attribute the room asks for. There is no
registry: what is there is what can be found.
"""

import importlib
import pkgutil
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from parse_p2p.core.errors import ConfigError, nearest


@dataclass(frozen=True)
class Room:
    """Where plug-ins of one kind live, and the attribute that makes a module one of them."""

    what: str
    package: str
    attribute: str


METHODS = Room("method", "parse_p2p.methods", "METHOD")
DATA = Room("data set", "parse_p2p.data", "open")
CODECS = Room("codec", "parse_p2p.codecs", "CODEC")
ENCODERS = Room("encoder", "parse_p2p.models.encoders", "build")
NETWORKS = Room("network", "parse_p2p.models", "NETWORK")
MEASURES = Room("measure", "parse_p2p.lab.measures", "measure")


def known(room: Room) -> list[str]:
    """The names of all plug-ins shipped in a room."""
    package = importlib.import_module(room.package)
    modules = [info.name for info in pkgutil.iter_modules(package.__path__) if not info.ispkg]
    return [
        name.replace("_", "-")
        for name in modules
        if hasattr(importlib.import_module(f"{room.package}.{name}"), room.attribute)
    ]


def load(room: Room, name: str) -> Any:
    """The plug-in's attribute. Raises ConfigError naming what there is and the nearest name."""
    return getattr(module(room, name), room.attribute)


def module(room: Room, name: str) -> ModuleType:
    """The module of a plug-in; a name with a dot is taken as a module of another package."""
    dotted = name if "." in name else f"{room.package}.{name.replace('-', '_')}"
    try:
        found = importlib.import_module("" if name.startswith(".") else dotted)
    except ValueError:  # no name at all
        raise ConfigError(f"there is no {room.what} {name!r}: {nearest(name, known(room))}") from None
    except ModuleNotFoundError as error:
        if error.name is None or not dotted.startswith(error.name):
            needed = error.name
            raise ConfigError(f"{room.what} {name!r} needs the package {needed!r}: pip install {needed}") from None
        raise ConfigError(f"there is no {room.what} {name!r}: {nearest(name, known(room))}") from None
    if not hasattr(found, room.attribute):
        raise ConfigError(f"{name!r} is no {room.what} (it has no {room.attribute}): {nearest(name, known(room))}")
    return found
