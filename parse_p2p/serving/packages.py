"""Packages that only some need, each with an extra of ours that installs it."""

import importlib
from typing import Any

from parse_p2p.core.errors import ConfigError


def package(module: str, extra: str, what: str) -> Any:
    """A module of a package that may be missing. Raises ConfigError, saying how it is installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        name = (error.name or module).partition(".")[0]
        raise ConfigError(f"{what} needs the package {name}: pip install 'parse-p2p[{extra}]'") from None
