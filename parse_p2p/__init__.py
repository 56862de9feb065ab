"""parse-p2p: a decentralised peer-to-peer runtime for multimodal federated learning.

For notebooks: ``parse_p2p.run(graph, agents, …)`` simulates a network and gives a Run (see docs/how-to/notebook.md).
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["P2PError", "Run", "run"]

if TYPE_CHECKING:
    from parse_p2p.api import Run, run
    from parse_p2p.core.errors import P2PError
else:
    HOMES = {"P2PError": "core.errors", "Run": "api", "run": "api"}

    def __getattr__(name):
        """Import what is asked for only then: ``import parse_p2p`` alone takes no time."""
        if name not in HOMES:
            raise AttributeError(f"module 'parse_p2p' has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(f"parse_p2p.{HOMES[name]}"), name)

    def __dir__():
        return sorted([*globals(), *__all__])
