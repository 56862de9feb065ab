"""A whole network in one loop: no sockets, no clock, no threads.

It drives the same participants as the real runtime and ends with the same parameters, bit for bit, so an
experiment may be run here and trusted there. Nothing is ever lost or late here: the faults of a run file need agents
that run.
"""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from parse_p2p.core.errors import QuorumLost, WireError
from parse_p2p.core.message import Parcel
from parse_p2p.core.types import Metrics, PeerId
from parse_p2p.methods.base import Done, Exchange, Inbox, Script, advance
from parse_p2p.runtime.agent_state import Participant
from parse_p2p.wire.codecs.base import Codec, suited

Ledger = dict[PeerId, dict[PeerId, dict[str, int]]]
"""Payload bytes by sender, receiver and slice."""

Watch = Callable[[int, Mapping[PeerId, Metrics], Ledger], None]


def simulate(participants: Sequence[Participant], rounds: int, start: int = 0, codec: Codec | None = None,
             watch: Watch | None = None) -> dict[PeerId, Metrics]:  # fmt: skip
    """Run the rounds ``start`` to ``rounds``; the metrics of the last one by agent.

    ``watch(round, metrics, ledger)`` is called after each round. A round that loses its quorum raises QuorumLost:
    nothing can be lost here, so the script asks for peers it does not have.
    """
    metrics: dict[PeerId, Metrics] = {}
    for round in range(start, rounds):
        ledger: Ledger = {}
        metrics = _Round([p for p in participants if p.present(p.me, round)], round, codec, ledger).run()
        if watch is not None:
            watch(round, metrics, ledger)
    return metrics


class _Round:
    """One round of all scripts: whoever has all the mail it waits for goes on, in the order of the agents."""

    def __init__(self, participants: Sequence[Participant], round: int, codec: Codec | None, ledger: Ledger) -> None:
        self.scripts: dict[PeerId, Script] = {p.me: p.begin(round) for p in participants}
        self.codec = codec
        self.ledger = ledger
        self.mail: dict[tuple[PeerId, str], dict[PeerId, Parcel]] = {}
        self.waiting: dict[PeerId, Exchange] = {}
        self.metrics: dict[PeerId, Metrics] = {}

    def run(self) -> dict[PeerId, Metrics]:
        for me in self.scripts:
            self._advance(me, None)
        while self.waiting:
            ready = [me for me, exchange in self.waiting.items() if exchange.expect <= self._mail(me, exchange).keys()]
            # no one can go on: what is waited for was never sent, so each goes on with what it has
            for me in ready or list(self.waiting):
                exchange = self.waiting.pop(me)
                self._advance(me, self._inbox(me, exchange))
        return self.metrics

    def _mail(self, me: PeerId, exchange: Exchange) -> dict[PeerId, Parcel]:
        return self.mail.setdefault((me, exchange.topic), {})

    def _inbox(self, me: PeerId, exchange: Exchange) -> Inbox:
        mail = self._mail(me, exchange)
        came = {peer: mail.pop(peer) for peer in sorted(exchange.expect & mail.keys())}
        inbox = {peer: parcel for peer, parcel in came.items() if self._accepted(exchange, peer, parcel)}
        if len(inbox) < exchange.quorum:
            raise QuorumLost(f"{me} asked {exchange.quorum} answers on {exchange.topic!r} and {len(inbox)} were sent")
        return inbox

    def _accepted(self, exchange: Exchange, peer: PeerId, parcel: Parcel) -> bool:
        try:
            exchange.check(peer, parcel)
        except WireError:
            return False
        return True

    def _advance(self, me: PeerId, inbox: Inbox | None) -> None:
        step = advance(self.scripts[me], inbox)
        if isinstance(step, Done):
            self.metrics[me] = step.metrics
            return
        self.waiting[me] = step
        for peer, parcel in step.send.items():
            self.mail.setdefault((peer, step.topic), {})[me] = self._carried(parcel)
            row = self.ledger.setdefault(me, {}).setdefault(peer, {})
            for name, nbytes in self._bytes(parcel).items():
                row[name] = row.get(name, 0) + nbytes

    def _carried(self, parcel: Parcel) -> Parcel:
        """The parcel as it would come off the wire."""
        if self.codec is None or self.codec.lossless:
            return parcel
        codec = self.codec

        def carried(tensor: Tensor) -> Tensor:
            by = suited(codec, tensor)
            return by.decode(by.encode(tensor), tensor.numel()).reshape(tensor.shape)

        return Parcel({name: carried(tensor) for name, tensor in parcel.tensors.items()}, parcel.meta)

    def _bytes(self, parcel: Parcel) -> dict[str, int]:
        if self.codec is None:
            return parcel.bytes_by_slice()
        return {name: suited(self.codec, t).length(t.numel()) for name, t in parcel.tensors.items()}
