"""What agents say of themselves to each other in every heartbeat, and how long they wait for one another."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from parse_p2p.core.errors import MalformedFrame
from parse_p2p.core.message import Fact

NEVER = -1
MANY = 256  # entries in a list of a card


class Clocks(BaseModel):
    """The named clocks of the network, in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    join: float = Field(120.0, gt=0, description="until all neighbours are up (loading torch takes many seconds)")
    exchange: float = Field(
        120.0, gt=0, description="waiting for a message of a round once its sender is in that round"
    )
    heartbeat: float = Field(1.0, gt=0, description="between two heartbeats")
    lost: float = Field(15.0, gt=0, description="silence after which a peer counts as lost")
    coordinator: float = Field(60.0, ge=0, description="waiting for a lost coordinator before clients train on alone")
    drain: float = Field(5.0, ge=0, description="for the last messages to leave before the sockets close")


@dataclass(frozen=True)
class Card:
    """What an agent says of itself: rounds it is in, from and up to which it takes part (−1: not known).

    ``modalities`` is what it has, ``layout`` a digest of the slices it offers, ``changes`` what it announced.
    ``welcome`` and ``heard``, the number of the receiver's announcements it knows, are meant for the life of the
    receiver that is named by its incarnation in ``known``. ``keys`` is ``RunKeys.said``, for one that has
    another run file.
    """

    incarnation: int
    round: int
    joins: int = NEVER
    until: int = NEVER
    welcome: int = NEVER
    known: int = NEVER
    heard: int = 0
    modalities: tuple[str, ...] = ()
    layout: str = ""
    changes: tuple[str, ...] = ()
    keys: str = ""

    def facts(self) -> dict[str, Fact]:
        facts: dict[str, Fact] = {name: getattr(self, name) for name in NUMBERS}
        return facts | {"layout": self.layout, "keys": self.keys, "modalities": list(self.modalities),
                        "changes": list(self.changes)}  # fmt: skip

    @staticmethod
    def read(facts: Mapping[str, Fact]) -> "Card":
        """The inverse of ``facts``. Raises MalformedFrame."""
        if set(facts) != set(Card.__dataclass_fields__):
            raise MalformedFrame(f"a card says {', '.join(Card.__dataclass_fields__)}")
        if not all(type(facts[name]) is int for name in NUMBERS):
            raise MalformedFrame(f"{', '.join(NUMBERS)} of a card are whole numbers")
        if any(facts[name] < NEVER for name in NUMBERS):  # type: ignore[operator]
            raise MalformedFrame("no number of a card is below -1")
        lists = facts["modalities"], facts["changes"]
        texts = facts["layout"], facts["keys"]
        if not all(type(x) is str for x in texts) or not all(_strings(x) for x in lists):
            raise MalformedFrame("layout and keys of a card are texts, modalities and changes are lists of texts")
        kept = {name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()}
        return Card(**kept)  # type: ignore[arg-type]


NUMBERS = ("incarnation", "round", "joins", "until", "welcome", "known", "heard")


def _strings(value: Fact) -> bool:
    return isinstance(value, list) and len(value) <= MANY and all(type(x) is str for x in value)
