"""The faults of a run file, done to one agent: to its messages, and to its process."""

from collections import Counter

from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core import events
from parse_p2p.core.event_log import EventLog, Tail
from parse_p2p.core.types import PeerId
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.transports.base import Transport
from parse_p2p.transports.faulty import FaultyTransport
from parse_p2p.wire.faults.base import MessageFault, ProcessFault, scheduled_rounds


class FaultInjection:
    """What the faults of a run do to one agent: give it ``transport`` for its own, and call ``begin`` every round.

    An event ``fault`` tells of what befalls the process beforehand, so that a fault whose event is in the agent's log
    strikes no more: whoever was killed and comes back is not killed by it again. An event ``fault-counts`` counts what
    was done to its messages, in the end and before it is killed.
    """

    def __init__(self, plan: RunPlan, me: PeerId, transport: Transport, folder: RunFolder, log: EventLog) -> None:
        run = plan.run
        self._log = log
        self._faulty = FaultyTransport(transport, me, run.faults, run.seed, run.clocks.drain, self._tell)
        self.transport: Transport = self._faulty if any(isinstance(f, MessageFault) for f in run.faults) else transport
        past = {event.position for event in Tail(folder.events(me)).read() if isinstance(event, events.Fault)}
        self._due: list[tuple[int, int, ProcessFault]] = []  # round, place in the file, fault
        for position, fault in enumerate(run.faults):
            if isinstance(fault, ProcessFault) and position not in past:
                rounds = scheduled_rounds(fault, position, run.seed, plan.peers, run.rounds)
                if me in rounds:
                    self._due.append((rounds[me], position, fault))

    def begin(self, round: int) -> None:
        """The agent begins a round; a fault whose round has gone by meanwhile strikes now."""
        self._faulty.begin(round)
        for due in [due for due in self._due if due[0] <= round]:
            self._due.remove(due)
            self._apply(round, due[1], due[2])

    def _apply(self, round: int, position: int, fault: ProcessFault) -> None:
        if fault.ends:
            self._faulty.tell()
        facts, restart = fault.facts(), getattr(fault, "restart", None) if fault.ends else None
        facts = events.apart({key: value for key, value in facts.items() if key != "restart"}, events.Fault)
        struck = events.Fault(
            kind=fault.kind, position=position, round=round, ends=fault.ends, restart=restart, **facts
        )
        self._log.write(struck)
        fault.strike()

    def _tell(self, counts: Counter[str]) -> None:
        if counts:
            self._log.write(events.FaultCounts(counts=dict(counts)))
