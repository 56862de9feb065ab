"""What the agents of a run have logged, read as it grows: the one reader for screen, summary, report and TensorBoard.

Logs may be missing, cut off, or in part those of other hosts; a line that is no event is passed over.
"""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.event_log import Tail
from parse_p2p.core.events import DriftDetected, End, Event, Failed, Left, ModalitiesChanged, Resumed, Round, Start
from parse_p2p.core.types import PeerId
from parse_p2p.launch.run_folder import RunFolder


@dataclass(frozen=True)
class ArrivalSummary:
    """What arrived at an agent while it ran: ``score`` is the mean over the samples before it was trained on them."""

    samples: int
    score: float | None
    drifts: int


def arrived_score(row: Round) -> float | None:
    """The score of a round on what arrived in it, whatever the task calls it."""
    return next((value for name, value in (row.arrived or {}).items() if name != "loss" and "/" not in name), None)


class AgentHistory:
    """What one agent has logged so far; ``kind`` is what it senses at first.

    ``rounds`` are without their sketches and without what was sent to whom, which would fill the memory.
    """

    def __init__(self, kind: str, rounds: int) -> None:
        self._last = rounds
        self.kinds = {0: kind}  # by the round from which it is so
        self.state = ""  # what it is doing; empty as long as it has logged nothing
        self.heard = 0.0  # Unix seconds of the last event
        self.start: Start | None = None
        self.resumed = False
        self.rounds: dict[int, Round] = {}
        self.drifts: set[tuple[int, str, str]] = set()  # the rounds in which one was seen, by what, and of what
        self.end: End | Left | Failed | None = None

    @property
    def kind(self) -> str:
        """What it senses now."""
        return self.kinds[max(self.kinds)]

    def kind_in(self, round: int) -> str:
        """What it sensed in a round."""
        return self.kinds[max(first for first in self.kinds if first <= round)]

    @property
    def latest(self) -> Round | None:
        """The last of its rounds."""
        return self.rounds[max(self.rounds)] if self.rounds else None

    @property
    def done(self) -> int:
        """How many rounds it has gone through, those of before it was resumed included."""
        return max(self.rounds, default=-1) + 1

    @property
    def arrived(self) -> ArrivalSummary | None:
        """What arrived in all its rounds; None where nothing did."""
        rounds = [row for row in self.rounds.values() if row.arriving]
        if not rounds:
            return None
        known = [(row.arriving or 0, score) for row in rounds if (score := arrived_score(row)) is not None]
        counted = sum(count for count, _ in known)
        score = sum(count * score for count, score in known) / counted if counted else None
        return ArrivalSummary(sum(row.arriving or 0 for row in rounds), score, len(self.drifts))

    def take(self, event: Event) -> None:
        """Take in an event."""
        self.state = event.state or self.state
        self.heard = max(self.heard, event.time)
        match event:
            case Start():
                self.start, self.end = event, None
            case Resumed():
                self.resumed, self.end = True, None
                self.kinds = {first: kind for first, kind in self.kinds.items() if first <= event.round}
            case Round() if event.round < self._last:
                self.rounds[event.round] = event.model_copy(update={"sketch": None, "sent": {}})
            case DriftDetected():
                self.drifts.add((event.round, event.kind, event.what))
            case ModalitiesChanged():
                self.kinds[event.round] = "+".join(event.modalities)
            case End() | Left() | Failed():
                self.end = event


class RunHistory:
    """The agents of a run of so many rounds, ``kinds`` being what each senses at first."""

    def __init__(self, folder: RunFolder, kinds: Mapping[PeerId, str], rounds: int) -> None:
        self.agents = {me: AgentHistory(kind, rounds) for me, kind in kinds.items()}
        self.first, self.last = math.inf, -math.inf  # Unix seconds of the first event and the last
        self._tails = {me: Tail(folder.events(me)) for me in kinds}
        self._heard = time.monotonic()

    @classmethod
    def of(cls, plan: RunPlan, folder: RunFolder) -> Self:
        """All agents' logs of a run, of which nothing has been read yet."""
        return cls(folder, {me: plan.kind(me) for me in plan.specs}, plan.run.rounds)

    @classmethod
    def whole(cls, plan: RunPlan, folder: RunFolder) -> Self:
        """All that agents have logged, of before they were resumed too."""
        history = cls.of(plan, folder)
        for _ in history.read():
            pass
        return history

    @property
    def arrived(self) -> dict[PeerId, ArrivalSummary]:
        """What arrived at agents while they ran, of those at which anything did."""
        return {me: found for me, agent in self.agents.items() if (found := agent.arrived) is not None}

    def skip(self) -> None:
        """Pass over what was logged before now."""
        for tail in self._tails.values():
            tail.skip()

    def read(self) -> Iterator[Event]:
        """Take in what was logged since the last call, and give it, one by one: a long run's sketches fill a memory."""
        for me, tail in self._tails.items():
            yield from (self.take(me, event) for event in tail.read())

    def take(self, me: PeerId, event: Event) -> Event:
        """Take in an event of an agent, wherever it was read, and give it as one of that agent."""
        event = event if event.agent == me else event.model_copy(update={"agent": me})
        self.agents[me].take(event)
        self._heard = time.monotonic()
        self.first, self.last = min(self.first, event.time), max(self.last, event.time)
        return event

    @property
    def seconds(self) -> float:
        """From the first event to the last."""
        return max(0.0, self.last - self.first)

    @property
    def silence(self) -> float:
        """Seconds since anything was read."""
        return time.monotonic() - self._heard
