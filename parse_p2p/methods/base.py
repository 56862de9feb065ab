"""A method is a script: it yields what it wants exchanged and is sent what came.

One generator is one round of one role. It knows neither sockets nor clocks, so the same script runs in the
simulator, over ZeroMQ and across hosts. It must not hold a ``with`` across a ``yield`` (a round's stretches may
run on another thread than its caller's), and only ``advance`` may call ``send``: a StopIteration that escapes
into an asyncio future would hang whoever awaits it.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from torch import Tensor

from parse_p2p.core.errors import QuorumLost
from parse_p2p.core.message import Message
from parse_p2p.core.slices import Sharing
from parse_p2p.core.types import Metrics, PeerId, Role
from parse_p2p.data.base import Dataset
from parse_p2p.learning.learner import Learner
from parse_p2p.topology.overlay import Plan

Inbox = Mapping[PeerId, Message]
"""The messages that came, by sender; a peer that is gone, or whose message was refused, is simply not in it."""

Check = Callable[[PeerId, Message], None]
"""Refuses a sender's message that must not be used, by raising SpecMismatch or another WireError."""


def anything(sender: PeerId, message: Message) -> None:
    """Accept any message."""


@dataclass(frozen=True)
class Exchange:
    """What a script yields: send these messages under ``topic``, then wait for those of ``expect``.

    The ``yield`` gives an ``Inbox``. Fewer than ``quorum`` answers make the round void (QuorumLost is thrown at the
    ``yield``). A message that ``check`` refuses, by raising WireError, counts as not come. After ``deadline`` seconds
    stragglers are waited for no longer; None leaves it to the run's ``clocks.exchange``.

    A message serves in its own round alone. With ``newest`` a straggler's newest message of an earlier round serves
    where this round's is not there in time (with ``deadline`` 0: at once), and so does one of a later round. Each
    message is handed out once. What round it is of, the script must write into it if it wants to know.
    """

    topic: str
    send: Mapping[PeerId, Message] = field(default_factory=dict)
    expect: frozenset[PeerId] = frozenset()
    quorum: int = 0
    check: Check = anything
    deadline: float | None = None
    newest: bool = False


@dataclass
class Local:
    """What a script is given and may touch: this agent, in this round.

    ``round`` counts from 0 to ``rounds`` - 1. ``plan`` is the agent's share of this round's overlays; ``memory``,
    tensors of any shape by name, is kept from round to round and in checkpoints. ``public`` is the public data set,
    labelled and with all modalities; the coordinator alone has it.
    """

    me: PeerId
    role: Role
    round: int
    rounds: int
    learner: Learner
    plan: Plan
    memory: dict[str, Tensor] = field(default_factory=dict)
    public: Dataset | None = None


GENERAL = ("fission", "monolithic", "infiltration", "embedding")
"""The networks whose parts every table without a network of its own knows."""

Script = Generator[Exchange, Inbox, Metrics]
"""One round of one role; what it returns are the round's metrics."""

Stretch = Generator[Exchange, Inbox, None]
"""A part of a script, for ``yield from``."""


@dataclass(frozen=True)
class Done:
    """The script has ended with these metrics."""

    metrics: Metrics


def advance(script: Script, inbox: Inbox | QuorumLost | None) -> Exchange | Done:
    """Run a script up to its next exchange or its end; the first call takes None.

    QuorumLost in place of an inbox is thrown at the ``yield``; a script that does not catch it ends with it.
    """
    try:
        if isinstance(inbox, QuorumLost):
            return script.throw(inbox)
        return next(script) if inbox is None else script.send(inbox)
    except StopIteration as stop:
        return Done(stop.value or {})


@dataclass(frozen=True)
class Method:
    """Everything the runtime needs to know of a method; a module that has one as ``METHOD`` is a method.

    ``name`` is as a run file says it, ``paper`` the source, ``summary`` a line for people. ``options`` is the model of
    the run file's ``options``. ``scripts`` has one for ``Role.PEER``, or two, for ``Role.CLIENT`` and
    ``Role.COORDINATOR``. ``sharing(options, round, rounds)`` is the table in that round; ``networks`` the networks it
    is made for, the first by default; ``public`` says that its coordinator needs a public data set; ``gaps`` that its
    agents may learn from samples that lack a modality: they call the network through ``Learner.train`` alone;
    ``classes`` that its losses need the class of each sample, so that it learns no other task than classification;
    ``common_start`` that its agents must begin with equal slices.
    """

    name: str
    paper: str
    summary: str
    options: type[BaseModel]
    scripts: Mapping[Role, Callable[[Local, Any], Script]]
    sharing: Callable[[Any, int, int], Sharing]
    networks: tuple[str, ...] = GENERAL
    public: bool = False
    gaps: bool = False
    classes: bool = False
    common_start: bool = False

    @property
    def centralised(self) -> bool:
        """Whether it has clients and a coordinator in place of peers."""
        return Role.COORDINATOR in self.scripts
