"""Whom an agent wants for a neighbour: on each of a few rings the nearest on either side.

A ring orders names by a hash, the same for every agent, so each may tell for itself who its neighbours are among those
it knows. Where all know their nearest the rings are closed and their union is connected; two rings or more make an
expander of 2 edges a ring and agent, with high probability (Law and Siu, INFOCOM 2003). Knowing who is nearer than
whom lets gossip converge on the rings in O(log n) rounds (T-Man; Jelasity, Montresor and Babaoglu 2009).
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from heapq import nsmallest

from parse_p2p.core.types import PeerId

CIRCLE = 1 << 64
RINGS = 2


@lru_cache(maxsize=1 << 12)
def position(ring: int, peer: PeerId) -> int:
    """Where on the ring this agent is, from 0 to ``CIRCLE`` − 1."""
    digest = hashlib.blake2b(f"ring {ring} {peer}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


@lru_cache(maxsize=1 << 16)
def gaps(me: PeerId, other: PeerId, rings: int) -> tuple[int, ...]:
    """How far the other is ahead of me and behind me, for one ring after another: 2 · ``rings`` numbers."""
    ahead = [(position(ring, other) - position(ring, me)) % CIRCLE for ring in range(rings)]
    return tuple(gap for forth in ahead for gap in (forth, CIRCLE - forth))


@lru_cache(maxsize=1 << 11)  # messages come more often than who is known changes
def nearest(me: PeerId, others: tuple[PeerId, ...], rings: int, count: int = 1) -> tuple[PeerId, ...]:
    """The ``count`` nearest of each side of each ring, the nearest first; at most 2 · ``rings`` · ``count``.

    ``others`` does not hold ``me``.
    """
    rows = [(gaps(me, other, rings), other) for other in others]
    sides = [nsmallest(count, [(row[side], other) for row, other in rows]) for side in range(2 * rings)]
    return tuple(dict.fromkeys(side[k][1] for k in range(count) for side in sides if k < len(side)))


def edges(peers: Sequence[PeerId]) -> list[tuple[PeerId, PeerId]]:
    """Each agent with its nearest on either side of every ring, where all know all."""
    found = []
    for me in peers:
        found += [(me, other) for other in nearest(me, tuple(p for p in peers if p != me), RINGS)]
    return found


def reach(me: PeerId, others: tuple[PeerId, ...], rings: int) -> tuple[int, ...]:
    """The distance to the nearest on each side of each ring, ``CIRCLE`` where there is none."""
    rows = [gaps(me, other, rings) for other in others]
    return tuple(min((row[side] for row in rows), default=CIRCLE) for side in range(2 * rings))


def nearer(me: PeerId, other: PeerId, reached: tuple[int, ...]) -> bool:
    """Whether the other is nearer than what is ``reached``, on some side of some ring."""
    return any(gap < least for gap, least in zip(gaps(me, other, len(reached) // 2), reached, strict=True))
