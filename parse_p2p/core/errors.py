"""Every error of the package, each one sentence: what is wrong, where, and what would be right.

P2PError
├── ConfigError            the run file, an option or the machine does not allow the run
├── TrainingError          the learning itself failed (a loss that is not a number)
├── Interrupted            training was told to stop in the middle of a round
├── WireError
│   ├── MalformedFrame     bytes that are not a message of ours
│   ├── SpecMismatch       a peer's slices have another layout than mine
│   └── WrongRun           mail of another run
└── PeerError
    ├── QuorumLost         fewer answers than the script needs: the round is void
    └── JoinTimeout        a neighbour did not come up in time
"""

from collections.abc import Iterable
from difflib import get_close_matches


class P2PError(Exception):
    """Base of all; the command line prints it and exits with 2."""


class ConfigError(P2PError):
    """The run as asked for cannot be; nothing was written."""


class TrainingError(P2PError):
    """Local training broke down."""


class Interrupted(P2PError):
    """The round will not be finished; its beginning is in the checkpoint."""


class WireError(P2PError):
    """Something arrived that must not be used."""


class MalformedFrame(WireError):
    """Bytes that do not follow the layout in framing.py."""


class SpecMismatch(WireError):
    """Two peers would exchange a slice whose layouts differ."""


class WrongRun(WireError):
    """A message that belongs to another run."""


class PeerError(P2PError):
    """A peer is missing where the script cannot do without it."""


class QuorumLost(PeerError):
    """An exchange got fewer answers than its quorum; the round is void."""


class JoinTimeout(PeerError):
    """A neighbour was not there when the run had to begin."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A clause naming the nearest known name and all of them: ``did you mean 'ring'? Known: line, ring``."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    return (f"did you mean {near[0]!r}? " if near else "") + f"Known: {', '.join(names)}"
