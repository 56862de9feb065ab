"""What agents tell one another to find each other: cards, and the messages that carry them.

It travels as the facts of a ``Message``. Slices are named once in a table and each card marks its own by the bits
of one hexadecimal number, so that a dozen cards with twenty slices each take about 2 kB:

    drawn, asks, slices, ids, addresses, senses, held, ages, offers, wants, degrees

``write`` and ``read`` are inverses; ``read`` refuses all that ``write`` could not have made.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from parse_p2p.core.errors import MalformedFrame
from parse_p2p.core.message import Fact
from parse_p2p.core.slices import SliceKey
from parse_p2p.core.types import Modality, PeerId

OLDEST = 32  # rounds: a card of that age is forgotten, and its owner with it
MAX_DESCRIPTORS = 16  # in a message
MAX_SLICES = 64  # of one agent
MAX_TABLE = 256  # slices named in a message
MAX_ADDRESSES = 2  # of one agent: where it takes data and where control
MAX_DEGREE = 64
MAX_NAME = 128  # characters, of a name or an address
MAX_LABEL = 176  # of a slice with its digest: a full message stays below the limit of framing.py

NAME = re.compile(r"\S+")
HEX = re.compile(r"0|[1-9a-f][0-9a-f]*")


def label(key: SliceKey | str, digest: str) -> str:
    """The name of a slice together with that of its layout: who holds the same key in another shape is no co-holder."""
    return f"{key}#{digest}"


@dataclass(frozen=True)
class PeerDescriptor:
    """Who an agent is, where it listens, what it senses and which slices it holds.

    ``slices`` are labels. ``age`` counts the rounds since the owner made the card; every keeper counts on.
    """

    id: PeerId
    addresses: tuple[str, ...] = ()
    modalities: tuple[Modality, ...] = ()
    slices: frozenset[str] = frozenset()
    age: int = 0

    def alike(self, other: "PeerDescriptor") -> bool:
        """Whether both say the same, whatever their ages."""
        return (self.id, self.addresses, self.modalities, self.slices) == (
            other.id, other.addresses, other.modalities, other.slices,
        )  # fmt: skip


@dataclass(frozen=True)
class Edge:
    """What one end says of an edge it offers: whether it wants it itself, and how many it has for that slice."""

    wants: bool
    degree: int


@dataclass(frozen=True)
class GossipMessage:
    """The first card is the sender's own. The first ``drawn`` are for the receiver's random view.

    ``edges`` are all edges that the sender offers to the receiver, by label; what it does not name is not offered any
    more. ``asks``: whether the sender needs an answer.
    """

    descriptors: tuple[PeerDescriptor, ...]
    drawn: int = 0
    asks: bool = False
    edges: Mapping[str, Edge] = field(default_factory=dict)


def fitting(descriptors: Iterable[PeerDescriptor], labels: Collection[str] = ()) -> list[PeerDescriptor]:
    """As many of the cards, from the first on, as one message carries beside these labels."""
    chosen: list[PeerDescriptor] = []
    table = set(labels)
    for descriptor in descriptors:
        if len(chosen) < MAX_DESCRIPTORS and len(table | descriptor.slices) <= MAX_TABLE:
            chosen.append(descriptor)
            table |= descriptor.slices
    return chosen


def write(message: GossipMessage) -> dict[str, Fact]:
    table = sorted({*message.edges}.union(*(descriptor.slices for descriptor in message.descriptors)))
    ages: list[float] = [descriptor.age for descriptor in message.descriptors]
    degrees: list[float] = [message.edges[name].degree for name in table if name in message.edges]
    return {
        "drawn": message.drawn,
        "asks": message.asks,
        "slices": table,
        "ids": [str(descriptor.id) for descriptor in message.descriptors],
        "addresses": [",".join(descriptor.addresses) for descriptor in message.descriptors],
        "senses": ["+".join(descriptor.modalities) for descriptor in message.descriptors],
        "held": [_mask(table, descriptor.slices) for descriptor in message.descriptors],
        "ages": ages,
        "offers": _mask(table, message.edges),
        "wants": _mask(table, {name for name, edge in message.edges.items() if edge.wants}),
        "degrees": degrees,
    }


def read(facts: Mapping[str, Fact]) -> GossipMessage:
    """The inverse of ``write``. Raises MalformedFrame, naming what is wrong."""
    columns = ("ids", "addresses", "senses", "held", "ages")
    _require(set(facts) == {"drawn", "asks", "slices", "offers", "wants", "degrees", *columns}, "its eleven facts")
    table = _strings(facts["slices"], MAX_TABLE, MAX_LABEL)
    _require(all(map(NAME.fullmatch, table)) and table == sorted(set(table)), "a sorted table of slices, each once")
    ids = _names(facts["ids"], MAX_DESCRIPTORS)
    _require(0 < len(ids) == len(set(ids)), "at least one card, and one for each agent")
    addresses = [_parts(text, ",", MAX_ADDRESSES) for text in _column(facts["addresses"], len(ids), 2 * MAX_NAME + 1)]
    senses = [_parts(text, "+", MAX_SLICES) for text in _column(facts["senses"], len(ids), MAX_NAME)]
    marks = _column(facts["held"], len(ids), MAX_TABLE // 4)
    sets = {text: _labels(text, table, MAX_SLICES) for text in marks}
    ages = _numbers(facts["ages"], OLDEST)
    _require(len(ages) == len(ids) and ages[0] == 0, "an age for each card, 0 for the sender's own")
    drawn, asks = facts["drawn"], facts["asks"]
    _require(type(drawn) is int and 0 <= drawn <= len(ids) and type(asks) is bool, "a count of cards and a yes or no")
    descriptors = (
        PeerDescriptor(PeerId(id), where, tuple(map(Modality, kinds)), sets[mark], age)
        for id, where, kinds, mark, age in zip(ids, addresses, senses, marks, ages, strict=True)
    )
    return GossipMessage(tuple(descriptors), int(drawn), bool(asks), _edges(facts, table))  # type: ignore[arg-type]


def _edges(facts: Mapping[str, Fact], table: list[str]) -> dict[str, Edge]:
    offers = _labels(facts["offers"], table, MAX_SLICES)
    wants = _labels(facts["wants"], table, MAX_SLICES)
    degrees = _numbers(facts["degrees"], MAX_DEGREE + 1)
    _require(wants <= offers and len(degrees) == len(offers), "wanted edges among those offered, each with a degree")
    return {name: Edge(name in wants, degree) for name, degree in zip(sorted(offers), degrees, strict=True)}


def _mask(table: list[str], chosen: Collection[str]) -> str:
    return f"{sum(1 << i for i, name in enumerate(table) if name in chosen):x}"


def _labels(text: Fact, table: list[str], limit: int) -> frozenset[str]:
    _require(isinstance(text, str) and len(text) <= MAX_TABLE // 4 and bool(HEX.fullmatch(text)), "a short number")
    mask = int(str(text), 16)
    _require(mask < 1 << len(table) and mask.bit_count() <= limit, f"at most {limit} slices of the table")
    return frozenset(name for i, name in enumerate(table) if mask >> i & 1)


def _parts(text: str, separator: str, limit: int) -> tuple[str, ...]:
    parts = tuple(text.split(separator)) if text else ()
    _require(len(parts) <= limit and all(len(p) <= MAX_NAME and NAME.fullmatch(p) for p in parts), "plain short words")
    return parts


def _names(value: Fact, limit: int) -> list[str]:
    names = _strings(value, limit, MAX_NAME)
    _require(all(map(NAME.fullmatch, names)), "names without blanks")
    return names


def _column(value: Fact, count: int, longest: int) -> list[str]:
    column = _strings(value, count, longest)
    _require(len(column) == count, "an entry for each card")
    return column


def _strings(value: Fact, limit: int, longest: int) -> list[str]:
    _require(_all(value, lambda text: isinstance(text, str) and len(text) <= longest, limit), "short lists of words")
    return list(value)  # type: ignore[arg-type]


def _numbers(value: Fact, limit: int) -> list[int]:
    _require(_all(value, lambda n: type(n) is int and 0 <= n < limit, MAX_TABLE), f"whole numbers below {limit}")
    return list(value)  # type: ignore[arg-type]


def _all(value: Fact, good: Callable[[object], bool], limit: int) -> bool:
    return isinstance(value, list) and len(value) <= limit and all(map(good, value))


def _require(condition: bool, wanted: str) -> None:
    if not condition:
        raise MalformedFrame(f"a message of the discovery must have {wanted}")
