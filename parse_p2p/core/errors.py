"""Every error of the package, each one sentence: what is wrong, where, and what would be right.

P2PError
├── ConfigError            the run file, an option or the machine does not allow the run
├── TrainingError          the learning itself failed (a loss that is not a number)
├── Interrupted            training was told to stop in the middle of a round
├── WireError
│   ├── MalformedFrame     bytes that are not a message of ours
│   ├── SpecMismatch       a peer's slices have another layout than mine
│   └── WrongRun           a message of another run
└── PeerError
    ├── QuorumLost         fewer answers than the script needs: the round is void
    └── JoinTimeout        a neighbour did not come up in time
"""

from collections.abc import Iterable
from difflib import get_close_matches


class P2PError(Exception):
    """Base of all errors of the package; the command line prints its one sentence and exits with 2."""


class ConfigError(P2PError):
    """The run file, an option, the data or the machine does not allow the run; nothing was written.

    Raised before the first round, by the package and by data sets, encoders and networks of one's own; later only of
    samples that are read lazily and cannot be read any more.
    """


class TrainingError(P2PError):
    """The learning itself failed: the loss, or a parameter, is not a finite number any more."""


class Interrupted(P2PError):
    """Training was told to stop in the middle of a round; the round begins again from its checkpoint.

    A script must let it pass.
    """


class WireError(P2PError):
    """A message arrived that must not be used; raised by an exchange's ``check``, it counts as not come."""


class MalformedFrame(WireError):
    """The bytes that arrived are not a message of this package."""


class SpecMismatch(WireError):
    """The names, shapes, types or values of a message's tensors are not those that were to come."""


class WrongRun(WireError):
    """The message belongs to another run."""


class PeerError(P2PError):
    """A peer is missing where the run cannot do without it."""


class QuorumLost(PeerError):
    """An exchange got fewer answers than its quorum; thrown at the ``yield``, it makes the round void."""


class JoinTimeout(PeerError):
    """A neighbour was not there in time for the run to begin (``clocks.join`` seconds)."""


class DataWarning(UserWarning):
    """Samples can be read, though perhaps not as they are meant."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A clause naming the nearest known name and all of them: ``did you mean 'ring'? Known: line, ring``."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    return (f"did you mean {near[0]!r}? " if near else "") + f"Known: {', '.join(names)}"


def cause(error: BaseException) -> str:
    """What another's error says, in one line: ``NameError: name 'np' is not defined``."""
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def an(noun: str) -> str:
    """The noun with its article."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def printable(text: str) -> str:
    """Text of others on one line, with the signs that a terminal would act on, and broken names, as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
