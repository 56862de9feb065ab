"""parse-p2p: a decentralised peer-to-peer runtime for multimodal federated learning.

From a notebook, ``parse_p2p.run(graph, agents, …)`` simulates a network and gives a Run. A method or a codec of one's
own is written with the names given here, a data set with those of ``parse_p2p.data``, an encoder or a network with
those of ``parse_p2p.models``. The table of the names is ``__init__.pyi``.
"""

from functools import cache
from typing import Any

__version__ = "0.2.0"


@cache
def _homes() -> dict[str, str]:
    """The module of every public name, as the table beside this file imports it."""
    import ast
    from pathlib import Path

    table = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = [node for node in table.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: ``import parse_p2p`` alone takes no time and loads no torch."""
    if name == "__all__":
        return sorted(_homes())
    if name not in _homes():
        raise AttributeError(f"module 'parse_p2p' has no attribute {name!r}")
    return getattr(__import__(_homes()[name], fromlist=[name]), name)  # as ``from home import name`` does


def __dir__() -> list[str]:
    return sorted({*globals(), "__all__", *_homes()})
