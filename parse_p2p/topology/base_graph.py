"""Rounds after which any number of agents have the exact mean, with at most k neighbours each in every round.

After the Base-(k+1) graph of Takezawa et al., arXiv 2305.11420 (algorithms 1 to 3). A number of agents whose prime
factors are at most k + 1 is a grid, and one axis after another is averaged. Others are cut in blocks of a·(k+1)^p, the
digits of n. When a block has its mean, each agent of the smaller ones mixes with a of it, by weights after which the
mean of either side is that of all; then either side averages itself.
"""

from functools import cache

Edge = tuple[int, int, float]
"""Two places from 0, and the weight with which both mix."""

Round = tuple[Edge, ...]


@cache
def base_graph(n: int, k: int) -> tuple[Round, ...]:
    """The rounds for n agents, k ≥ 1; their weights, each agent keeping the rest, multiply to 1/n everywhere.

    At most 2·log_{k+1}(n) + 2 of them; none where there is nobody to meet. No agent has more than k edges in a round.
    """
    if n < 2:
        return ()
    k = min(k, n - 1)
    grid = _smooth(n, k)
    whole, first = _blocks(n, k), _axes(grid, k)
    parts = tuple(_copies(each, n // grid, grid) for each in _blocks(n // grid, k))
    gridded = (*(tuple(_stretched(each, n // grid)) for each in first), *parts)
    return min(whole, gridded, key=len)


def _smooth(n: int, k: int) -> int:
    """The largest divisor of n without a prime factor above k + 1."""
    left = n
    for factor in range(2, k + 2):
        while left % factor == 0:
            left //= factor
    return n // left


def _axes(n: int, k: int) -> tuple[Round, ...]:
    """Of n agents on a grid whose axes are k + 1 long at most: all on a line of an axis average, one axis a round."""
    rounds, stride = [], 1
    for length in _lengths(n, k):
        lines = [start for start in range(n) if start // stride % length == 0]
        pairs = [(a, b) for b in range(length) for a in range(b)]
        rounds.append(tuple((i + a * stride, i + b * stride, 1 / length) for i in lines for a, b in pairs))
        stride *= length
    return tuple(rounds)


@cache
def _lengths(n: int, k: int) -> tuple[int, ...]:
    """The fewest factors of n that are k + 1 at most, where there are any."""
    if n == 1:
        return ()
    ways = [(f, *_lengths(n // f, k)) for f in range(k + 1, 1, -1) if n % f == 0]
    return min(ways, key=len)


def _blocks(n: int, k: int) -> tuple[Round, ...]:
    """The simple form: blocks average themselves, the first mixes with all after it, the second so too, and so on.

    A bridge changes the mean of all equal parts of a block alike, so that each part then averages itself alone.
    """
    blocks, sizes = _digits(n, k)
    whole = [_axes(len(block), k) for block in blocks]
    parts = [
        tuple(_copies(each, size, len(block) // size) for each in _axes(size, k))
        for block, size in zip(blocks, sizes, strict=True)
    ]
    rounds = [[edge for own in zip(blocks, whole, strict=True) for edge in _at(*own, t)] for t in range(len(whole[0]))]
    for t in range(max((i + 1 + len(own) for i, own in enumerate(parts[:-1])), default=0)):
        edges = [edge for i in range(min(t, len(blocks))) for edge in _at(blocks[i], parts[i], t - i - 1)]
        if t < len(blocks) - 1:
            edges += _bridge(blocks[t], sizes[t], range(blocks[t].stop, n))
        rounds.append(edges)
    return tuple(map(tuple, rounds))


def _digits(n: int, k: int) -> tuple[list[range], list[int]]:
    """A stretch of all places for each digit of n to the base k + 1, the largest first, and the power of the digit."""
    blocks: list[range] = []
    sizes: list[int] = []
    start, size = 0, 1
    while size * (k + 1) <= n:
        size *= k + 1
    while start < n:
        if count := (n - start) // size:
            blocks.append(range(start, start + count * size))
            sizes.append(size)
            start = blocks[-1].stop
        size //= k + 1
    return blocks, sizes


def _bridge(block: range, size: int, rest: range) -> list[Edge]:
    """Each of the rest with every agent of the block that is ``size`` further on; the rest are fewer than that."""
    weight = size / (len(block) + len(rest))
    return [(at, there, weight) for i, there in enumerate(rest) for at in block[i::size]]


def _at(block: range, rounds: tuple[Round, ...], t: int) -> list[Edge]:
    """The round of a block that averages itself; it begins anew when it is done, which changes no mean."""
    return [(block[a], block[b], weight) for a, b, weight in rounds[t % len(rounds)]] if rounds else []


def _stretched(edges: Round, copies: int) -> list[Edge]:
    """The same among agents that are ``copies`` places apart, for each of so many beginnings."""
    return [(a * copies + c, b * copies + c, weight) for c in range(copies) for a, b, weight in edges]


def _copies(edges: Round, size: int, copies: int) -> Round:
    """The same in each of so many stretches of ``size`` places."""
    return tuple((a + c * size, b + c * size, weight) for c in range(copies) for a, b, weight in edges)
