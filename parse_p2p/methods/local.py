"""Every agent alone: the floor that any exchange has to beat."""

from parse_p2p.core.slices import Sharing, nobody
from parse_p2p.core.types import Role
from parse_p2p.learning.objective import SliceLossOptions, slice_terms
from parse_p2p.methods.base import Local, Method, Script

TABLE: Sharing = {"*": nobody}


def alone(local: Local, options: SliceLossOptions) -> Script:
    """Train; nothing is exchanged."""
    return local.learner.train(*slice_terms(options))
    yield  # a generator like every script, that never asks for anything


METHOD = Method(
    name="local",
    paper="",
    summary="train alone, exchange nothing",
    options=SliceLossOptions,
    scripts={Role.PEER: alone},
    sharing=lambda options, round, rounds: TABLE,
    gaps=True,
)
