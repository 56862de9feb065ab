"""Whom an agent wants for a neighbour: on each of a few rings the nearest on either side.

A ring orders names by a hash, the same for every agent, so each may tell for itself who its neighbours are among those
it knows. Where all know their nearest the rings are closed and their union is connected; two rings or more make an
expander of 2 edges a ring and agent, with high probability (Law and Siu, INFOCOM 2003). Knowing who is nearer than
whom lets gossip converge on the rings in O(log n) rounds (T-Man; Jelasity, Montresor and Babaoglu 2009).
"""

import hashlib
from collections.abc import Collection, Iterator
from functools import lru_cache

from parse_p2p.names import PeerId

CIRCLE = 1 << 64


@lru_cache(maxsize=1 << 14)
def place(ring: int, peer: PeerId) -> int:
    """Where on the ring this agent is, from 0 to ``CIRCLE`` − 1."""
    digest = hashlib.blake2b(f"ring {ring} {peer}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def gaps(me: PeerId, other: PeerId, rings: int) -> Iterator[int]:
    """How far the other is ahead of me and behind me, for one ring after another: 2 · ``rings`` numbers."""
    for ring in range(rings):
        ahead = (place(ring, other) - place(ring, me)) % CIRCLE
        yield ahead
        yield CIRCLE - ahead


def nearest(me: PeerId, others: Collection[PeerId], rings: int, count: int = 1) -> list[PeerId]:
    """The ``count`` nearest of each side of each ring, the nearest first; at most 2 · ``rings`` · ``count``.

    ``others`` does not hold ``me``.
    """
    sides = zip(*([(gap, other) for gap in gaps(me, other, rings)] for other in others), strict=True)
    ranked = [sorted(side)[:count] for side in sides]
    return list(dict.fromkeys(side[k][1] for k in range(count) for side in ranked if k < len(side)))


def reach(me: PeerId, others: Collection[PeerId], rings: int) -> tuple[int, ...]:
    """The distance to the nearest on each side of each ring, ``CIRCLE`` where there is none."""
    sides = zip(*(gaps(me, other, rings) for other in others), strict=True)
    return tuple(min(side) for side in sides) or (CIRCLE,) * (2 * rings)


def nearer(me: PeerId, other: PeerId, reached: tuple[int, ...]) -> bool:
    """Whether the other is nearer than what is ``reached``, on some side of some ring."""
    return any(gap < least for gap, least in zip(gaps(me, other, len(reached) // 2), reached, strict=True))
