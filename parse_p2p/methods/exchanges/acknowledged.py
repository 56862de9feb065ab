"""Pairwise mixing that keeps the sum of a slice whatever is lost: what one end adds the other subtracts, once.

On each edge the agent that comes first by name proposes its slice x_i, with a number. The other adds
``d = W_ij (x_i − x_j)`` to its own, and from the next round on answers (d, number) until a proposal with a higher
number shows that the answer came; the first subtracts d when it has it, and only then raises the number. A lost
proposal changes nothing and a lost answer is repeated, so that the sum over both, less what is answered and not yet
subtracted, never changes. With no message lost two rounds make one of ``weighted``.

No number and no difference is sent before the round after that which made it, so that a checkpoint of every round
knows all that others were told: an agent that dies and comes back from it loses and repeats nothing either. An edge has
one exchange open at a time, so that an agent has promised at most the share ``Σ_j W_ij`` < 1 of itself; late messages
make the agreement slower and not unstable. Slices are kept in float64, or each end would round its steps by itself;
answers cross in float64, so that no codec parts the two ends.
"""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from parse_p2p.core.errors import SpecMismatch
from parse_p2p.core.message import Fact, Message, check_tensors
from parse_p2p.core.slices import SliceKey
from parse_p2p.core.types import PeerId
from parse_p2p.methods.base import Exchange, Local, Stretch
from parse_p2p.methods.exchanges.base import Mix, Patient

NUMBERS = 2**53  # no run has as many exchanges


def check(local: Local, sender: PeerId, message: Message) -> None:
    """Refuse a message that is no tensor and number for each slice of the link, or as an answer for some.

    Raises SpecMismatch.
    """
    wanted = {str(key): (local.plan.regions[key].size,) for key in local.plan.links[sender]}
    if local.me < sender:
        check_tensors(sender, message, {}, wanted, dtype=torch.float64)
    else:
        check_tensors(sender, message, wanted)
    for name in message.tensors:
        number = message.meta.get(name)
        if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < NUMBERS:
            raise SpecMismatch(f"{name} from {sender} has the number {number!r}, which must be whole and positive")


class End:
    """One agent's end of the exchanges of one slice, all of it in ``local.memory``."""

    def __init__(self, local: Local, key: SliceKey) -> None:
        self._me = local.me
        self._memory = local.memory
        self._name = f"acknowledged/{key}"
        self._weights = local.plan.weights[key]
        self._slice = local.learner.buffer.view(local.plan.regions[key])
        now = self._slice.cpu().double()
        self._value = self._memory.setdefault(f"{self._name}/value", now.clone())
        self._value += now - self._value.float()  # what local steps changed
        self._began = self._value.clone()

    def say(self, peer: PeerId) -> tuple[Tensor, int] | None:
        """To a later peer my slice and the number of the exchange that is open or comes next.

        To an earlier one the last step taken with it, and the number of that exchange; None before the first.
        """
        if self._me < peer:
            return self._began.float(), self._get("open", peer, 1)
        number = self._get("answered", peer, 0)
        return (self._memory[f"{self._name}/difference/{peer}"], number) if number else None

    def hear(self, peer: PeerId, tensor: Tensor, number: int) -> None:
        """Take what a peer said."""
        if self._me < peer:
            self._settle(peer, tensor, number)
        else:
            self._agree(peer, tensor, number)

    def _agree(self, peer: PeerId, theirs: Tensor, number: int) -> None:
        """Take the step that an exchange asks for, the first time it does."""
        if number > self._get("answered", peer, 0):
            difference = self._weights[peer] * (theirs - self._began)
            self._value += difference
            self._memory[f"{self._name}/difference/{peer}"] = difference
            self._set("answered", peer, number)

    def _settle(self, peer: PeerId, difference: Tensor, number: int) -> None:
        """Subtract what the peer added, if it is of the exchange that is open.

        A higher number says that I am back from an older checkpoint: go on after it.
        """
        mine = self._get("open", peer, 1)
        if number == mine:
            self._value -= difference
        if number >= mine:
            self._set("open", peer, number + 1)

    def show(self) -> None:
        """Make the value the slice's parameters."""
        self._slice.copy_(self._value)

    def _get(self, what: str, peer: PeerId, first: int) -> int:
        return int(self._memory.get(f"{self._name}/{what}/{peer}", first))

    def _set(self, what: str, peer: PeerId, number: int) -> None:
        self._memory[f"{self._name}/{what}/{peer}"] = torch.tensor(number)


def _message(said: Mapping[SliceKey, tuple[Tensor, int] | None]) -> Message:
    spoken = {str(key): entry for key, entry in said.items() if entry is not None}
    facts: dict[str, Fact] = {name: number for name, (_, number) in spoken.items()}
    return Message({name: tensor for name, (tensor, _) in spoken.items()}, facts)


def _number(message: Message, key: SliceKey) -> int:
    return int(message.meta[str(key)])  # type: ignore[arg-type]


class Acknowledged(Patient):
    """Pairwise mixing that keeps sums at this patience; its answers, one way on each link, are in double."""

    keeps_sums = True
    copies = 1.5

    def run(self, local: Local, mix: Mix) -> Stretch:
        """Propose to the neighbours that come later by name and answer the earlier ones; do what theirs ask for."""
        links, checked = local.plan.links, partial(check, local)
        ends = {key: End(local, key) for key in local.plan.weights}
        send = {peer: _message({key: ends[key].say(peer) for key in links[peer]}) for peer in links}
        inbox = yield Exchange("pairs", send, frozenset(links), check=checked, deadline=self.patience, newest=True)
        for peer in sorted(inbox):
            for key in links[peer]:
                if str(key) in inbox[peer].tensors:
                    ends[key].hear(peer, inbox[peer].tensors[str(key)], _number(inbox[peer], key))
        for end in ends.values():
            end.show()


EXCHANGE = Acknowledged
