"""Faults that a run file asks for: what happens to which messages and which agents, drawn from the seed and names.

A plug-in is a file in this folder whose ``FAULT`` is a class derived from MessageFault, ProcessFault or SensorFault.
Whether a fault strikes a message depends on the seed, the fault's place in the file, and the message's sender,
receiver, round, plane and number alone: the same message meets the same fate in every run.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import ConfigDict, Field, model_validator

from parse_p2p.core import plugins
from parse_p2p.core.errors import ConfigError, nearest
from parse_p2p.core.plugin_options import ByKind
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


@dataclass(frozen=True)
class Delivery:
    """What is to be done with one message: so many ``copies`` of these frames go, none where it is lost.

    They go after ``delay`` seconds; or, where that is 0, after the next message to the same peer on the same plane,
    for which they wait ``behind`` seconds at most. ``overtakes``: another message is waiting for this one to go.
    """

    frames: Frames
    overtakes: bool = False
    copies: int = 1
    delay: float = 0.0
    behind: float = 0.0


class Fault(ByKind):
    """One entry of ``faults`` in a run file."""

    model_config = ConfigDict(allow_inf_nan=False)

    plugin_kind: ClassVar = plugins.FAULTS

    def named(self) -> Iterator[tuple[str, str]]:
        """The agents it names, each with the key it stands under."""
        yield from ()


class MessageFault(Fault):
    """Befalls messages."""

    def concerns(self, envelope: Envelope) -> bool:
        """Whether it may strike this message."""
        raise NotImplementedError

    def strikes(self, rng: torch.Generator) -> bool:
        """Whether it strikes one that it concerns; what is drawn is drawn from this generator."""
        return True

    def apply(self, delivery: Delivery, rng: torch.Generator) -> Delivery | None:
        """What it makes of a delivery; None where it leaves the message alone after all."""
        raise NotImplementedError


class ChanceFault(MessageFault):
    """By place, by time and by chance; what is left out means everywhere, always and surely."""

    probability: float = Field(1.0, gt=0, le=1, description="with which it strikes each message")
    senders: Agents | None = Field(None, description="only messages of these agents; none: of all")
    receivers: Agents | None = Field(None, description="only messages to these agents; none: to all")
    rounds: tuple[int, int] | None = Field(None, description="from the first up to, not including, the second")
    plane: Literal["data", "control", "both"] = Field("data", description="slices, heartbeats, or both")

    @model_validator(mode="after")
    def _some_rounds(self) -> Self:
        refuse_no_rounds(self.rounds)
        return self

    def named(self) -> Iterator[tuple[str, str]]:
        yield from (("senders", me) for me in self.senders or ())
        yield from (("receivers", me) for me in self.receivers or ())

    def concerns(self, envelope: Envelope) -> bool:
        return (
            self.plane in (envelope.plane, "both")
            and (self.senders is None or envelope.sender in self.senders)
            and (self.receivers is None or envelope.receiver in self.receivers)
            and (self.rounds is None or envelope.round in range(*self.rounds))
        )

    def strikes(self, rng: torch.Generator) -> bool:
        return torch.rand((), generator=rng, dtype=torch.float64).item() < self.probability


class ProcessFault(Fault):
    """Befalls the processes of named agents, or of a share of all (but for a coordinator), each once in some round.

    ``ends`` says that the process is no more after it; an option ``restart`` of such a fault is the seconds after which
    a launcher of processes starts it again.
    """

    ends: ClassVar[bool] = False

    agents: Agents | None = Field(None, description="which agents; give them or a share")
    share: float | None = Field(None, gt=0, le=1, description="so many of all, drawn by chance, one at least")
    round: int | None = Field(None, ge=0, description="none: another for each agent, drawn by chance")

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if (self.agents is None) == (self.share is None):
            raise ValueError("give exactly one of agents and share")
        return self

    def named(self) -> Iterator[tuple[str, str]]:
        yield from (("agents", me) for me in self.agents or ())

    def facts(self) -> dict[str, Any]:
        """What the event in the log says of it: its own options."""
        return self.model_dump(mode="json", exclude=set(ProcessFault.model_fields))

    def strike(self) -> None:
        """Do it to this process, in its main thread, when it begins the round."""
        raise NotImplementedError


class SensorFault(Fault):
    """Befalls what named agents read of a modality."""

    agents: Agents = Field(description="whose sensor breaks")
    modality: str = Field(description="what is no longer read")

    def named(self) -> Iterator[tuple[str, str]]:
        yield from (("agents", me) for me in self.agents)

    def breaks(self, round: int) -> bool:
        """Whether they read no numbers of it in a round."""
        raise NotImplementedError


def refuse_no_rounds(rounds: tuple[int, int] | None) -> None:
    """Raise ValueError for rounds that are none."""
    if rounds is not None and not 0 <= rounds[0] < rounds[1]:
        raise ValueError(f"rounds {list(rounds)} are none: the second must be above the first, as in [10, 20]")


def refuse_unknown_agents(faults: Iterable[Fault], known: Collection[str]) -> None:
    """Raise ConfigError, naming the key, for a fault among agents that the run file does not have."""
    for i, fault in enumerate(faults):
        for key, me in fault.named():
            if me not in known:
                raise ConfigError(f"faults.{i}.{key}: there is no agent {me!r}: {nearest(me, known)}")


def broken(faults: Iterable[Fault], me: PeerId, round: int) -> frozenset[str]:
    """The modalities of which an agent reads no numbers in a round."""
    sensors = (fault for fault in faults if isinstance(fault, SensorFault))
    return frozenset(fault.modality for fault in sensors if me in fault.agents and fault.breaks(round))


DrawnFault = tuple[MessageFault, torch.Generator]
"""A fault that strikes a message, and a generator for whatever else it draws."""


def draw_faults(faults: Sequence[Fault], seed: int, envelope: Envelope) -> list[DrawnFault]:
    """What strikes one message, in the order of the file. A function of its arguments alone."""
    return list(_drawn(faults, seed, envelope))


def _drawn(faults: Sequence[Fault], seed: int, envelope: Envelope) -> Iterator[DrawnFault]:
    for i, fault in enumerate(faults):
        if not isinstance(fault, MessageFault) or not fault.concerns(envelope):
            continue
        rng = seeded(
            seed, "fault", i, envelope.sender, envelope.receiver, envelope.round, envelope.plane, envelope.number
        )
        if fault.strikes(rng):
            yield fault, rng


def below(limit: int, rng: torch.Generator) -> int:
    """A whole number from 0 up to, not including, the limit."""
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
    return 1 + below(max(1, rounds - 1), seeded(seed, "fault", position, me))
