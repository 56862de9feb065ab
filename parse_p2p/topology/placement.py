"""Where the agent types stand matters as much as how many there are: a block of one type mixes by itself.

``{"audio": 3, "motion": 3, "audio+motion": 2}`` becomes one tuple of modalities per agent, in node order.
"""

import random
from collections.abc import Callable, Mapping, Sequence

from parse_p2p.core.errors import ConfigError, nearest
from parse_p2p.core.types import Modality

Type = tuple[Modality, ...]
Types = Sequence[tuple[Type, int]]


def place(mix: Mapping[str, int], placement: str, seed: int) -> list[Type]:
    """The sorted modalities of every agent; ``seed`` matters to ``random`` only.

    ConfigError for an unknown placement, a count that is no number from 0 up, a mix of nobody, and a type
    with an empty or a repeated modality.
    """
    if placement not in PLACEMENTS:
        raise ConfigError(f"there is no placement {placement!r}; {nearest(placement, PLACEMENTS)}")
    types = [(_type(name), _count(name, count)) for name, count in mix.items()]
    if not sum(count for _, count in types):
        raise ConfigError("the mix has no agents; write for instance 'audio: 3'")
    return PLACEMENTS[placement](types, seed)


def _blocks(types: Types, seed: int) -> list[Type]:
    return [kind for kind, count in types for _ in range(count)]


def _random(types: Types, seed: int) -> list[Type]:
    agents = _blocks(types, seed)
    random.Random(seed).shuffle(agents)
    return agents


def _alternating(types: Types, seed: int) -> list[Type]:
    # agent k of c of its type wants to stand (k + 1/2)/c of the way along; ties go in the order of the mix
    wishes = [((k + 0.5) / count, i) for i, (_, count) in enumerate(types) for k in range(count)]
    return [types[i][0] for _, i in sorted(wishes)]


PLACEMENTS: Mapping[str, Callable[[Types, int], list[Type]]] = {
    "alternating": _alternating,
    "blocks": _blocks,
    "random": _random,
}


def _type(name: str) -> Type:
    parts = [part.strip() for part in str(name).split("+")]
    if not all(parts):
        raise ConfigError(f"the agent type {name!r} has an empty modality; write for instance 'audio+motion'")
    if len(set(parts)) < len(parts):
        raise ConfigError(f"the agent type {name!r} names a modality twice; name each once")
    return tuple(Modality(part) for part in sorted(parts))


def _count(name: str, count: int) -> int:
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise ConfigError(f"the mix has {count!r} agents of type {name!r}; write a whole number from 0 up")
    return count
