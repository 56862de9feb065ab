"""A whole network in one loop: no sockets, no clock, no threads.

It drives the same participants as the real runtime and ends with the same parameters, bit for bit, so an
experiment may be run here and trusted there. Nothing is ever lost or late here: the faults of a run file need agents
that run.
"""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from parse_p2p.core.errors import QuorumLost, WireError
from parse_p2p.core.message import Message
from parse_p2p.core.types import Metrics, PeerId
from parse_p2p.methods.base import Done, Exchange, Inbox, Script, advance
from parse_p2p.runtime.agent_state import AgentState
from parse_p2p.wire.codecs.base import Codec, suited

Ledger = dict[PeerId, dict[PeerId, dict[str, int]]]
"""Payload bytes by sender, receiver and slice."""

Watch = Callable[[int, Mapping[PeerId, Metrics], Ledger], None]


def simulate(agent_states: Sequence[AgentState], rounds: int, start: int = 0, codec: Codec | None = None,
             watch: Watch | None = None) -> dict[PeerId, Metrics]:  # fmt: skip
    """Run the rounds ``start`` to ``rounds``; the metrics of the last one by agent.

    ``watch(round, metrics, ledger)`` is called after each round. A round that loses its quorum raises QuorumLost:
    nothing can be lost here, so the script asks for peers it does not have.
    """
    metrics: dict[PeerId, Metrics] = {}
    for round in range(start, rounds):
        ledger: Ledger = {}
        there = [p for p in agent_states if p.present(p.me, round)]
        if first := {p.me: script for p in there if (script := p.agree(round)) is not None}:
            _Round(first, codec, ledger).run()
        metrics = _Round({p.me: p.begin(round) for p in there}, codec, ledger).run()
        if watch is not None:
            watch(round, metrics, ledger)
    return metrics


class _Round:
    """One round of all scripts: whoever has all the messages it waits for goes on, in the order of the agents."""

    def __init__(self, scripts: Mapping[PeerId, Script], codec: Codec | None, ledger: Ledger) -> None:
        self.scripts = scripts
        self.codec = codec
        self.ledger = ledger
        self.messages: dict[tuple[PeerId, str], dict[PeerId, Message]] = {}
        self.waiting: dict[PeerId, Exchange] = {}
        self.metrics: dict[PeerId, Metrics] = {}

    def run(self) -> dict[PeerId, Metrics]:
        for me in self.scripts:
            self._advance(me, None)
        while self.waiting:
            ready = [
                me for me, exchange in self.waiting.items() if exchange.expect <= self._waiting(me, exchange).keys()
            ]
            # no one can go on: what is waited for was never sent, so each goes on with what it has
            for me in ready or list(self.waiting):
                exchange = self.waiting.pop(me)
                self._advance(me, self._inbox(me, exchange))
        return self.metrics

    def _waiting(self, me: PeerId, exchange: Exchange) -> dict[PeerId, Message]:
        return self.messages.setdefault((me, exchange.topic), {})

    def _inbox(self, me: PeerId, exchange: Exchange) -> Inbox:
        messages = self._waiting(me, exchange)
        came = {peer: messages.pop(peer) for peer in sorted(exchange.expect & messages.keys())}
        inbox = {peer: message for peer, message in came.items() if self._accepted(exchange, peer, message)}
        if len(inbox) < exchange.quorum:
            raise QuorumLost(f"{me} asked {exchange.quorum} answers on {exchange.topic!r} and {len(inbox)} were sent")
        return inbox

    def _accepted(self, exchange: Exchange, peer: PeerId, message: Message) -> bool:
        try:
            exchange.check(peer, message)
        except WireError:
            return False
        return True

    def _advance(self, me: PeerId, inbox: Inbox | None) -> None:
        step = advance(self.scripts[me], inbox)
        if isinstance(step, Done):
            self.metrics[me] = step.metrics
            return
        self.waiting[me] = step
        for peer, message in step.send.items():
            self.messages.setdefault((peer, step.topic), {})[me] = self._carried(message)
            row = self.ledger.setdefault(me, {}).setdefault(peer, {})
            for name, nbytes in self._bytes(message).items():
                row[name] = row.get(name, 0) + nbytes

    def _carried(self, message: Message) -> Message:
        """The message as it would come off the wire."""
        if self.codec is None or self.codec.lossless:
            return message
        codec = self.codec

        def carried(tensor: Tensor) -> Tensor:
            by = suited(codec, tensor)
            return by.decode(by.encode(tensor), tensor.numel()).reshape(tensor.shape)

        return Message({name: carried(tensor) for name, tensor in message.tensors.items()}, message.meta)

    def _bytes(self, message: Message) -> dict[str, int]:
        if self.codec is None:
            return message.bytes_by_slice()
        return {name: suited(self.codec, t).length(t.numel()) for name, t in message.tensors.items()}
