"""State of one agent, independent of the transport: its learner, its method's script of a round, and what it keeps.

The simulator and the real agent drive the very same object, which is why they end with the same parameters.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.events import Event
from parse_p2p.core.membership import Membership, Modalities
from parse_p2p.core.types import PeerId, Role
from parse_p2p.data.base import Dataset, unread, without
from parse_p2p.learning.learner import Learner
from parse_p2p.learning.transfer import to_host
from parse_p2p.methods.base import Local, Method, Script
from parse_p2p.runtime import scale_agreement
from parse_p2p.runtime.arrivals.arrivals import Arrivals
from parse_p2p.runtime.modality_handover import carry, introduced
from parse_p2p.runtime.scale_agreement import Agreed, Agreement, Steps
from parse_p2p.runtime.sketch import Sketches, sketched
from parse_p2p.topology.overlay import Overlays, Plan

MODALITIES = "modalities"  # in a state


def modalities_in(state: Mapping[str, Tensor], known: Modalities) -> Modalities:
    """The modalities of the model whose state it is, where they may change; ``known`` are all that there are."""
    return tuple(m for m, has in zip(known, state[MODALITIES].tolist(), strict=True) if has)


@dataclass(frozen=True)
class LearnerVariants:
    """What an agent needs whose modalities may change: a learner for each set. ``modalities`` are all there are."""

    modalities: Modalities
    learner: Callable[[Modalities], Learner]


@dataclass
class AgentState:
    """Training state of one agent, independent of the transport.

    ``membership`` is what this agent knows by now of who has which modalities when; ``overlays_under(round,
    membership)`` are the overlays in force in a round, on which all agents of a run must agree. With an ``agreement``
    all agree on scales before their first round; ``agreed`` is what came of it, of which ``on_agreed`` is told.
    ``arrivals`` are samples that come while it runs.
    """

    me: PeerId
    role: Role
    method: Method
    options: Any
    learner: Learner
    membership: Membership
    overlays_under: Callable[[int, Membership], Overlays]
    rounds: int
    memory: dict[str, Tensor] = field(default_factory=dict)
    public: Dataset | None = None
    variants: "LearnerVariants | None" = None
    sense: Callable[[int, Dataset], Dataset] = lambda round, data: data
    agreement: Agreement | None = None
    agreed: Agreed | None = None
    on_agreed: Callable[[Agreed], None] = lambda agreed: None
    arrivals: Arrivals | None = None
    sketching: bool = False
    sketches: Sketches = field(default_factory=dict)
    """Of this round's slices ``before`` and ``after`` they were mixed, where ``sketching`` asks for them."""
    failed: Modalities = ()
    """Those of which this round's samples held no numbers; the agent trains without them as if they were average."""

    def __post_init__(self) -> None:
        if self.role not in self.method.scripts:
            raise ConfigError(
                f"{self.me} is a {self.role} and the method {self.method.name!r} has no such role: "
                f"it knows {', '.join(self.method.scripts)}"
            )

    @cached_property
    def coordinator(self) -> PeerId | None:
        """The one that coordinates me; None for a peer and for the coordinator itself."""
        hub = self.overlays(0).coordinator
        return hub if hub != self.me else None

    def overlays(self, round: int) -> Overlays:
        """The overlays in force in a round, by what is known now."""
        return self.overlays_under(round, self.membership)

    def plan(self, round: int) -> Plan:
        return self.overlays(round).plan(self.me)

    @property
    def span(self) -> range:
        """The rounds this agent is there, by what is known now."""
        whole = range(self.rounds)
        return whole if self.variants is None else self.membership.span(self.me, self.rounds)

    def present(self, peer: PeerId, round: int) -> bool:
        """Whether an agent is there in a round, by what is known now."""
        return self.variants is None or bool(self.membership.of(peer, round))

    def joins(self, peer: PeerId, round: int) -> bool:
        """Whether an agent comes in this round, by what is known now."""
        return round > 0 and self.present(peer, round) and not self.present(peer, round - 1)

    def agree(self, round: int, back: Collection[PeerId] = ()) -> Script | None:
        """What comes before a round's script where scales are agreed on, or else told to who is new; or None.

        Those who are ``back`` may have stopped before they had agreed; they hear it from their neighbours.
        """
        if self.agreement is None:
            return None
        if round == 0:  # whoever agreed before it was stopped agrees anew with those who had not
            return self._agreeing(scale_agreement.agree(self.agreement))
        there = set(self.overlays(round).members)
        new = {peer for peer in there if self.joins(peer, round)}
        if self.agreed is not None:
            new |= self.agreement.neighbours.intersection(back)
            return scale_agreement.send(self.agreement, self.agreed, new) if new else None
        others = there - new if self.me in new else self.agreement.neighbours
        return self._agreeing(scale_agreement.hear(self.agreement, others))

    def _agreeing(self, steps: Steps) -> Script:
        agreed = yield from steps
        self.use_agreed(agreed)
        self.on_agreed(agreed)
        return {}

    def use_agreed(self, agreed: Agreed) -> None:
        """Learn from samples that are scaled as was agreed."""
        assert self.agreement is not None
        self.agreed = agreed
        public = self.agreement.apply(agreed, self.learner)
        self.public = None if self.public is None else public
        if self.arrivals is not None:
            self.arrivals.forget()

    @property
    def happened(self) -> Sequence[Event]:
        """What there is to log as the last round began."""
        return () if self.arrivals is None else self.arrivals.happened

    @property
    def samples(self) -> int:
        """The number of training samples, before the first round that of those that are kept from the start."""
        there = self.learner.samples
        return there if self.arrivals is None else self.arrivals.kept_of(there)

    def begin(self, round: int) -> Script:
        """The script of one round, not yet started."""
        if self.variants is not None:
            self._switch_to(self.membership.of(self.me, round))
        self.learner.begin(round, self.rounds)
        arrived = {} if self.arrivals is None else self.arrivals.begin(round, self.learner, partial(self._read, round))
        self._read_sensors(round)
        local = Local(self.me, self.role, round, self.rounds, self.learner, self.plan(round), self.memory,
                      self.public)  # fmt: skip
        script = self.method.scripts[self.role](local, self.options)
        if arrived:
            script = _measured(script, arrived)
        if self.sketching:
            script = sketched(local, script, self.sketches)
        if self.learner.options.stepping.looks_back:
            script = _looking_back(self.learner, script)
        if self.learner.model.weighting is not None:
            script = _weighing(local, script, self.failed)
        if self.variants is None or not self.membership.changed(round):
            return script
        return introduced(local, self.overlays(round - 1), self.overlays(round), script)

    def _read(self, round: int, data: Dataset) -> Dataset:
        """Samples as they are read in a round, with the average for what a broken sensor gives no numbers of."""
        data = self.sense(round, data)
        failed = unread(data)
        return without(data, failed) if failed else data

    def _read_sensors(self, round: int) -> None:
        data = self.sense(round, self.learner.data)
        self.failed = unread(data)
        if self.failed:  # the average of a standardised feature is 0
            self.learner.data = without(data, self.failed)
            self.learner.test = without(self.learner.test, self.failed)
            if self.learner.validation is not None:
                self.learner.validation = without(self.learner.validation, self.failed)
            if self.learner.held is not None:
                self.learner.held = without(self.learner.held, self.failed)
            if self.learner.common is not None:
                self.learner.common = without(self.learner.common, self.failed)

    def _switch_to(self, modalities: Modalities) -> None:
        """Have a model for exactly these modalities, with all that carries over."""
        if self.variants is None or self.learner.holder.modalities == modalities:
            return
        learner = self.variants.learner(modalities)
        carry(self.learner, learner, self.memory)
        self.learner = learner

    def state(self) -> dict[str, Tensor]:
        """All that the next round depends on, on the CPU; ``restore`` is its inverse."""
        kept = to_host({f"memory/{name}": tensor for name, tensor in self.memory.items()})
        arrived = {} if self.arrivals is None else self.arrivals.state()
        return self.learner.state() | kept | arrived | self._modalities_now()

    def _modalities_now(self) -> dict[str, Tensor]:
        """Which of the data's modalities the model has, where that may change."""
        if self.variants is None:
            return {}
        mine = self.learner.holder.modalities
        return {MODALITIES: torch.tensor([float(m in mine) for m in self.variants.modalities])}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        if self.variants is not None:
            self._switch_to(modalities_in(state, self.variants.modalities))
        self.learner.restore(state)
        if self.arrivals is not None:
            self.arrivals.expect(state)
        self.memory.clear()
        self.memory |= {n.removeprefix("memory/"): t.clone() for n, t in state.items() if n.startswith("memory/")}


def _measured(script: Script, metrics: Mapping[str, float]) -> Script:
    """The same script with more metrics."""
    found = yield from script
    return {**found, **metrics}


def _looking_back(learner: Learner, script: Script) -> Script:
    """The same script, after which the optimiser is told where it led; a round that loses its quorum is undone."""
    learner.look_ahead()
    metrics = yield from script
    learner.look_back()
    return metrics


def _weighing(local: Local, script: Script, broken: Modalities) -> Script:
    """The same script, around which is learnt what weighs predictions; a round that loses its quorum is undone."""
    if local.round:  # before the first the network says nothing yet
        local.learner.fit_weights()
    metrics = yield from script
    local.learner.learn_weights(broken)
    return metrics
