"""Who is in the run in each round, and with which modalities: a sensor bought or broken, an agent that comes or goes.

The run file says what holds at the beginning and what is planned; a change that nobody planned is announced while
the run goes on. Every agent derives the same sharing from the same changes, so overlays re-form without a server.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import Modality, PeerId

Modalities = tuple[Modality, ...]
"""Sorted; empty for an agent that is not there."""


class EventEntry(BaseModel):
    """One planned change: exactly one of gain, lose, join and leave."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    round: int | None = Field(None, ge=1, description="from this round on; the first is 0; to join: whenever it comes")
    agent: str = Field(description="to which it happens")
    gain: list[str] | None = Field(None, min_length=1, description="modalities that the agent gets")
    lose: list[str] | None = Field(None, min_length=1, description="modalities that it has no longer")
    join: Literal[True] | None = Field(None, description="the agent is not there before")
    leave: Literal[True] | None = Field(None, description="the agent is there no longer")

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if [self.gain, self.lose, self.join, self.leave].count(None) != 3:
            raise ValueError("give exactly one of gain, lose, join and leave")
        if self.round is None and not self.join:
            raise ValueError("give the round")
        return self


@dataclass(frozen=True, order=True)
class Change:
    """From ``round`` on the agent has these modalities; none: it is not there."""

    round: int
    agent: PeerId
    modalities: Modalities


class Membership:
    """Who has which modalities in each round; immutable. ``first`` are the agents' modalities before any change."""

    def __init__(self, first: Mapping[PeerId, Modalities], changes: Iterable[Change] = ()) -> None:
        self._first = dict(first)
        self._changes = sorted(set(changes))

    @property
    def changes(self) -> tuple[Change, ...]:
        return tuple(self._changes)

    def with_changes(self, changes: Iterable[Change]) -> "Membership":
        """The same with these changes. Of two of one agent in one round the one that is given later stands."""
        made = Membership(self._first)
        new = (change for change in dict.fromkeys(changes) if change not in self._changes)
        made._changes = sorted([*self._changes, *new], key=lambda c: (c.round, c.agent))
        return made

    def at(self, round: int) -> dict[PeerId, Modalities]:
        """The agents that are there in a round, with their modalities."""
        now = dict(self._first)
        now.update((c.agent, c.modalities) for c in self._changes if c.round <= round)
        return {agent: modalities for agent, modalities in now.items() if modalities}

    def of(self, agent: PeerId, round: int) -> Modalities:
        return next((m for first, m in reversed(self._history(agent)) if first <= round), ())

    def _history(self, agent: PeerId) -> list[tuple[int, Modalities]]:
        """From which round on it has what."""
        own = ((c.round, c.modalities) for c in self._changes if c.agent == agent)
        return [(0, self._first.get(agent, ())), *own]

    def changed(self, round: int) -> bool:
        """Whether anything is other in this round than in the one before."""
        return round > 0 and any(c.round == round for c in self._changes)

    def span(self, agent: PeerId, rounds: int) -> range:
        """The rounds that an agent is there, of a run of so many; who leaves does not come back."""
        history = self._history(agent)
        begin = next((first for first, modalities in history if modalities), rounds)
        end = next((first for first, modalities in history if first > begin and not modalities), rounds)
        return range(begin, min(end, rounds)) if begin < rounds else range(0)


def planned(first: Mapping[PeerId, Modalities], events: Iterable[EventEntry]) -> Membership:
    """The membership that a run file plans. Raises ConfigError for an event that cannot be."""
    ordered = sorted(enumerate(events), key=lambda item: (item[1].round or 0, item[0]))
    beginning, changes = dict(first), list[Change]()
    for _, event in ordered:
        if event.join and event.agent in beginning:
            beginning[PeerId(event.agent)] = ()
    now = dict(beginning)
    for number, event in ordered:
        where = f"events.{number}: {event.agent}"
        agent = PeerId(event.agent)
        if agent not in first:
            raise ConfigError(f"{where} is no agent of this file")
        after = _after(event, first[agent], now[agent], where)
        if event.round is None:
            continue
        if any(c.agent == agent and c.round == event.round for c in changes):
            raise ConfigError(f"{where} has two events in round {event.round}: give one, or another round")
        if not after and any(c.agent == agent and not c.modalities for c in changes):
            raise ConfigError(f"{where} leaves twice")
        changes.append(Change(event.round, agent, after))
        now[agent] = after
        if not any(now.values()):
            raise ConfigError(f"{where} is the last one and cannot leave")
    return Membership(beginning, changes)


def _after(event: EventEntry, own: Modalities, now: Modalities, where: str) -> Modalities:
    """What the agent has after an event; ``own`` is what its entry in the file says."""
    if event.join:
        if now:
            raise ConfigError(f"{where} joins in round {event.round} but is there already")
        return own
    if not now:
        raise ConfigError(f"{where} is not there in round {event.round}: it has left, or joins only later")
    if event.leave:
        return ()
    named = [Modality(m) for m in event.gain or event.lose or ()]
    if event.gain:
        if both := [m for m in named if m in now]:
            raise ConfigError(f"{where} has {both[0]!r} already in round {event.round}")
        return tuple(sorted({*now, *named}))
    if missing := [m for m in named if m not in now]:
        raise ConfigError(f"{where} has no {missing[0]!r} to lose in round {event.round}: it has {', '.join(now)}")
    left = tuple(m for m in now if m not in named)
    if not left:
        raise ConfigError(f"{where} would lose all its modalities in round {event.round}: let it leave instead")
    return left
