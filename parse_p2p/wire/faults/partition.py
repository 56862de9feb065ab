"""The network falls into parts for some rounds."""

from collections.abc import Iterator
from typing import Self

import torch
from pydantic import Field, model_validator

from parse_p2p.core.types import PeerId
from parse_p2p.wire.faults.base import Agents, Delivery, Envelope, MessageFault, refuse_no_rounds


class Partition(MessageFault):
    """Nothing passes between groups, heartbeats included; agents of no group are one more group together."""

    groups: list[Agents] = Field(min_length=1, description="agents that hear only those of their own group")
    rounds: tuple[int, int] = Field(description="from the first, at least 1, up to, not including, the second")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        refuse_no_rounds(self.rounds)
        if self.rounds[0] < 1:
            raise ValueError("a partition begins in round 1 at the earliest, since agents must have met")
        named = [me for group in self.groups for me in group]
        if twice := sorted({me for me in named if named.count(me) > 1}):
            raise ValueError(f"{twice[0]} can be in one group only")
        return self

    def named(self) -> Iterator[tuple[str, str]]:
        yield from (("groups", me) for group in self.groups for me in group)

    def concerns(self, envelope: Envelope) -> bool:
        return envelope.round in range(*self.rounds) and self._group(envelope.sender) != self._group(envelope.receiver)

    def apply(self, delivery: Delivery, rng: torch.Generator) -> Delivery:
        return Delivery(delivery.frames, copies=0)

    def _group(self, me: PeerId) -> int | None:
        return next((i for i, group in enumerate(self.groups) if me in group), None)


FAULT = Partition
