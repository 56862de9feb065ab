"""Faults that a run file asks for: what befalls which mail and which agents, drawn from the run's seed and names.

Whether a fault strikes a message depends on the seed, the fault's place in the file, and the message's sender,
receiver, round, plane and number alone: the same mail meets the same fate in every run.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from parse_p2p.core.errors import ConfigError, nearest
from parse_p2p.core.rng import seeded
from parse_p2p.core.types import PeerId
from parse_p2p.wire.framing import Frames

Agents = Annotated[list[str], Field(min_length=1)]


@dataclass(frozen=True)
class Envelope:
    """Where one message stands: ``number`` counts those of its sender, receiver, plane and round from 0."""

    sender: PeerId
    receiver: PeerId
    round: int
    plane: str
    number: int


class _Fault(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class MessageFault(_Fault):
    """By place, by time and by chance; what is left out means everywhere, always and surely."""

    probability: float = Field(1.0, gt=0, le=1, description="with which it strikes each message")
    senders: Agents | None = Field(None, description="only mail of these agents; none: of all")
    receivers: Agents | None = Field(None, description="only mail to these agents; none: to all")
    rounds: tuple[int, int] | None = Field(None, description="from the first up to, not including, the second")
    plane: Literal["data", "control", "both"] = Field("data", description="parcels, heartbeats, or both")

    @model_validator(mode="after")
    def _some_rounds(self) -> Self:
        _refuse_no_rounds(self.rounds)
        return self

    def concerns(self, envelope: Envelope) -> bool:
        """Whether it may strike this message."""
        return (
            self.plane in (envelope.plane, "both")
            and (self.senders is None or envelope.sender in self.senders)
            and (self.receivers is None or envelope.receiver in self.receivers)
            and (self.rounds is None or envelope.round in range(*self.rounds))
        )


class Drop(MessageFault):
    """The message is lost."""

    kind: Literal["drop"]


class Delay(MessageFault):
    """The message comes later; those behind it are not held up."""

    kind: Literal["delay"]
    seconds: float = Field(gt=0, description="by how much later")


class Duplicate(MessageFault):
    """The message comes twice."""

    kind: Literal["duplicate"]


class Reorder(MessageFault):
    """The message comes after the next one to that peer on that plane, if there is one soon."""

    kind: Literal["reorder"]
    seconds: float = Field(0.2, gt=0, description="it waits at most so long for the next one")


class Corrupt(MessageFault):
    """Some bytes of the message are others.

    What no longer parses, or holds a number that cannot be, is refused; what still looks right is not noticed.
    """

    kind: Literal["corrupt"]
    bytes: int = Field(4, ge=1, le=1024, description="how many of them")


class Partition(_Fault):
    """Nothing passes between groups, heartbeats included; agents of no group are one more group together."""

    kind: Literal["partition"]
    groups: list[Agents] = Field(min_length=1, description="agents that hear only those of their own group")
    rounds: tuple[int, int] = Field(description="from the first, at least 1, up to, not including, the second")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        _refuse_no_rounds(self.rounds)
        if self.rounds[0] < 1:
            raise ValueError("a partition begins in round 1 at the earliest, since agents must have met")
        named = [me for group in self.groups for me in group]
        if twice := sorted({me for me in named if named.count(me) > 1}):
            raise ValueError(f"{twice[0]} can be in one group only")
        return self

    def concerns(self, envelope: Envelope) -> bool:
        """Whether it cuts this message's way."""
        return envelope.round in range(*self.rounds) and self._group(envelope.sender) != self._group(envelope.receiver)

    def _group(self, me: PeerId) -> int | None:
        return next((i for i, group in enumerate(self.groups) if me in group), None)


class ProcessFault(_Fault):
    """Befalls named agents, or a share of all (but for a coordinator), each once, when it begins a round."""

    agents: Agents | None = Field(None, description="which agents; give them or a share")
    share: float | None = Field(None, gt=0, le=1, description="so many of all, drawn by chance, one at least")
    round: int | None = Field(None, ge=0, description="none: another for each agent, drawn by chance")

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if (self.agents is None) == (self.share is None):
            raise ValueError("give exactly one of agents and share")
        return self


class Kill(ProcessFault):
    """SIGKILL; a local launcher starts it again ``restart`` seconds later."""

    kind: Literal["kill"]
    restart: float | None = Field(None, ge=0, description="none: it stays dead")


class Stop(ProcessFault):
    """SIGSTOP: the process hangs, its sockets stay open; SIGCONT after so many seconds."""

    kind: Literal["stop"]
    seconds: float = Field(gt=0, description="for so long")


class Sensor(_Fault):
    """A sensor breaks: from this round on the agents read no numbers of this modality."""

    kind: Literal["sensor"]
    agents: Agents = Field(description="whose sensor breaks")
    modality: str = Field(description="what is no longer read")
    round: int = Field(ge=0, description="the first without numbers")


AnyMessageFault = Drop | Delay | Duplicate | Reorder | Corrupt | Partition
AnyProcessFault = Kill | Stop
Fault = Annotated[AnyMessageFault | AnyProcessFault | Sensor, Field(discriminator="kind")]


def _refuse_no_rounds(rounds: tuple[int, int] | None) -> None:
    if rounds is not None and not 0 <= rounds[0] < rounds[1]:
        raise ValueError(f"rounds {list(rounds)} are none: the second must be above the first, as in [10, 20]")


def refuse_unknown_agents(faults: Iterable[Fault], known: Collection[str]) -> None:
    """Raise ConfigError, naming the key, for a fault among agents that the run file does not have."""
    for i, fault in enumerate(faults):
        for key, me in _named(fault):
            if me not in known:
                raise ConfigError(f"faults.{i}.{key}: there is no agent {me!r}: {nearest(me, known)}")


def _named(fault: Fault) -> Iterator[tuple[str, str]]:
    if isinstance(fault, Partition):
        yield from (("groups", me) for group in fault.groups for me in group)
    elif isinstance(fault, ProcessFault | Sensor):
        yield from (("agents", me) for me in fault.agents or ())
    else:
        yield from (("senders", me) for me in fault.senders or ())
        yield from (("receivers", me) for me in fault.receivers or ())


def broken(faults: Iterable[Fault], me: PeerId, round: int) -> frozenset[str]:
    """The modalities of which an agent reads no numbers in a round."""
    sensors = (fault for fault in faults if isinstance(fault, Sensor))
    return frozenset(fault.modality for fault in sensors if me in fault.agents and fault.round <= round)


DrawnFault = tuple[AnyMessageFault, torch.Generator]
"""A fault that strikes a message, and a generator for whatever else it draws."""


def draw_faults(faults: Sequence[Fault], seed: int, envelope: Envelope) -> list[DrawnFault]:
    """What strikes one message, in the order of the file. A function of its arguments alone."""
    return list(_drawn(faults, seed, envelope))


def _drawn(faults: Sequence[Fault], seed: int, envelope: Envelope) -> Iterator[DrawnFault]:
    for i, fault in enumerate(faults):
        if isinstance(fault, ProcessFault | Sensor) or not fault.concerns(envelope):
            continue
        rng = seeded(
            seed, "fault", i, envelope.sender, envelope.receiver, envelope.round, envelope.plane, envelope.number
        )
        drawn = torch.rand((), generator=rng, dtype=torch.float64).item()
        if isinstance(fault, Partition) or drawn < fault.probability:
            yield fault, rng


def corrupted(frames: Frames, count: int, rng: torch.Generator) -> Frames:
    """A copy of a message with ``count`` bytes changed, each in a frame drawn first and at a place drawn in it.

    So a header, small as it is, is hit as often as a tensor. The same byte may be hit more than once.
    """
    changed = [bytearray(frame) for frame in frames]
    full = [frame for frame in changed if frame]
    for _ in range(count if full else 0):
        frame = full[_below(len(full), rng)]
        frame[_below(len(frame), rng)] ^= 1 + _below(255, rng)
    return [memoryview(frame) for frame in changed]


def _below(limit: int, rng: torch.Generator) -> int:
    return int(torch.randint(limit, (), generator=rng))


def scheduled_rounds(
    fault: ProcessFault, position: int, seed: int, agents: Sequence[PeerId], rounds: int
) -> dict[PeerId, int]:
    """Whom the fault at a place of the file strikes, and at the beginning of which round.

    ``agents`` are those a share is drawn from, ``rounds`` those of the run; a drawn round is at least 1.
    """
    return {me: _round(fault, position, seed, me, rounds) for me in _victims(fault, position, seed, agents)}


def _victims(fault: ProcessFault, position: int, seed: int, agents: Sequence[PeerId]) -> list[PeerId]:
    if fault.share is None:
        return [PeerId(me) for me in fault.agents or ()]
    order = torch.randperm(len(agents), generator=seeded(seed, "fault", position)).tolist()
    return [agents[i] for i in order[: max(1, round(fault.share * len(agents)))]]


def _round(fault: ProcessFault, position: int, seed: int, me: PeerId, rounds: int) -> int:
    if fault.round is not None:
        return fault.round
    return 1 + _below(max(1, rounds - 1), seeded(seed, "fault", position, me))
