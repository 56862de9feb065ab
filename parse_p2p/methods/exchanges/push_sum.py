"""Push-sum by running sums: a mean that bears lost messages, exactly.

Every agent holds of each slice a mass (w·x, w), from (x, 1) on, and reads its parameters off as their ratio. It splits
the mass over its links and itself, so that no mass is made or lost, and all ratios tend to the mean over the agents
(Kempe, Dobra and Gehrke 2003). What crosses a link is the sum of all that ever went over it; the receiver adds what is
new in it, so a lost message is made good by the next (Hadjicostis, Vaidya and Domínguez-García 2016, IEEE TAC 61(6)).
A local step that changes the parameters by Δ adds w·Δ to w·x.

Added here: mass goes over a link only after new mass came over it, the first excepted. Else whoever is fast, or has a
neighbour that is gone, would give its mass away and get none. ``since``, the round in which an agent's memory begins,
tells apart the lives of an agent that came back without its memory. A sum that grew by no mass that could be, as that
of an agent back from an older checkpoint, or of a liar, is only taken note of.

Where edges go one way (Nedić and Olshevsky 2015, arXiv 1303.2289) nothing comes back, so mass goes over every link in
every round, in equal parts over all whom one sends to and oneself; of a link that began before an agent's own life it
only takes note of what went over it until then.

In memory and on the wire all is float64: a mass is (D + 1,), a message (D + 3,), the sum and the two ``since``.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from parse_p2p.core.message import LARGEST, Message, check_tensors
from parse_p2p.core.slices import SliceKey
from parse_p2p.core.types import PeerId
from parse_p2p.methods.base import Exchange, Local, Stretch
from parse_p2p.methods.exchanges.base import Mix, Patient

KEEP = 1 / 64  # share of a mass that is never given away, lest a ratio be 0/0
LEAST = 2.0**-20  # weight below which nothing is given away


def check(local: Local, sender: PeerId, message: Message) -> None:
    """Refuse a message that has no mass for each slice of the link. Raises SpecMismatch."""
    wanted = {str(key): (local.plan.regions[key].size + 3,) for key in local.plan.expected[sender]}
    check_tensors(sender, message, wanted, dtype=torch.float64, largest=torch.finfo(torch.float64).max)


class Mass:
    """The mass of one slice and the sums of its links, all of it in ``local.memory``."""

    def __init__(self, local: Local, key: SliceKey) -> None:
        self._memory = local.memory
        self._name = f"push-sum/{key}"
        self._slice = local.learner.buffer.view(local.plan.regions[key])
        self._agents = len(local.plan.holders)
        senders, receivers = local.plan.weights[key], local.plan.audience[key]
        self._one_way = key in local.plan.one_way  # for all alike, also where just this agent hears of all it sends to
        self._weights = dict.fromkeys(receivers, 1 / (1 + len(receivers))) if self._one_way else senders
        values = self._slice.cpu().double()
        self.mass = self._kept("mass", lambda: torch.cat([values, values.new_ones(1)]))
        self.mass[:-1] += self.mass[-1] * (values - self._ratio().double())  # what local steps changed
        self.since = self._kept("since", lambda: torch.tensor(local.round, dtype=torch.float64))
        self._links = {peer: self._link(peer) for peer in {**self._weights, **senders}}

    def give(self) -> None:
        """Put on the link to each peer its weight's share of the mass, where it is my turn."""
        due = {peer: weight for peer, weight in self._weights.items() if self._one_way or self._links[peer]["turn"]}
        if self.mass[-1] < LEAST:
            return
        before, scale = self.mass.clone(), min(1.0, (1 - KEEP) / max(sum(due.values()), KEEP))
        for peer, weight in due.items():
            share = before * (weight * scale)
            self._links[peer]["given"] += share
            self._links[peer]["turn"].fill_(False)
            self.mass -= share

    def message(self, peer: PeerId) -> Tensor:
        """What the peer is to know: all that I gave it, since when I count, and since when I think it does."""
        link = self._links[peer]
        return torch.cat([link["given"], self.since.reshape(1), link["since"].reshape(1)])

    def take(self, peer: PeerId, message: Tensor) -> None:
        """Add what is new in the peer's sum."""
        total, theirs, mine = message[:-2], message[-2], message[-1]
        link = self._links[peer]
        if self._one_way:
            self._hear(peer, total, theirs)
            return
        if theirs != link["since"]:  # another life of it, which knows nothing of what I gave and took
            link["since"].copy_(theirs)
            link["given"].zero_()
            link["taken"].zero_()
            link["turn"].fill_(True)
        if mine != self.since:  # meant for another life of mine
            return
        if self._grow(link, total):
            link["turn"].fill_(True)

    def _hear(self, peer: PeerId, total: Tensor, theirs: Tensor) -> None:
        """Add what is new in the sum of one that hears nothing of me, nor knows which life of mine this is."""
        link, known = self._links[peer], self._kept(f"known/{peer}", lambda: torch.tensor(False))
        first = not known
        known.fill_(True)
        if first and theirs < self.since:  # what went before I was there another life of mine took
            link["taken"].copy_(total)
        elif theirs != link["since"]:
            link["taken"].zero_()
        link["since"].copy_(theirs)
        self._grow(link, total)

    def _grow(self, link: dict[str, Tensor], total: Tensor) -> bool:
        """Take what is new in a sum, if it is a mass, and note it; whether anything is."""
        growth = total - link["taken"]
        link["taken"].copy_(total)
        if self._could_be(growth):
            self.mass += growth
        return bool(growth.any())

    def show(self) -> None:
        """Make the ratio the slice's parameters."""
        self._slice.copy_(self._ratio())

    def _ratio(self) -> Tensor:
        return (self.mass[:-1] / self.mass[-1]).float()

    def _could_be(self, growth: Tensor) -> bool:
        """Whether it is a mass: no more weight than all agents began with, and values a model could have."""
        weight = float(growth[-1])
        return 0 < weight <= self._agents and float(growth[:-1].abs().max()) <= LARGEST * weight

    def _link(self, peer: PeerId) -> dict[str, Tensor]:
        """The sums given and taken, whether it is my turn to give, and since when the peer counts (a guess: as I)."""
        return {
            "given": self._kept(f"given/{peer}", lambda: torch.zeros_like(self.mass)),
            "taken": self._kept(f"taken/{peer}", lambda: torch.zeros_like(self.mass)),
            "turn": self._kept(f"turn/{peer}", lambda: torch.tensor(True)),
            "since": self._kept(f"since/{peer}", self.since.clone),
        }

    def _kept(self, name: str, first: Callable[[], Tensor]) -> Tensor:
        name = f"{self._name}/{name}"
        if name not in self._memory:
            self._memory[name] = first()
        return self._memory[name]


class PushSum(Patient):
    """Push-sum by running sums at this patience; its messages are in double."""

    keeps_sums = True
    copies = 2.0
    one_way = True

    def run(self, local: Local, mix: Mix) -> Stretch:
        """Give every slice's mass to the neighbours, take what came, and read the parameters off."""
        links, checked = local.plan.links, partial(check, local)
        masses = {key: Mass(local, key) for key in local.plan.weights}
        for mass in masses.values():
            mass.give()
        send = {peer: Message({str(key): masses[key].message(peer) for key in keys}) for peer, keys in links.items()}
        expected = local.plan.expected
        inbox = yield Exchange("mass", send, frozenset(expected), check=checked, deadline=self.patience, newest=True)
        for peer in sorted(inbox):
            for key in expected[peer]:
                masses[key].take(peer, inbox[peer].tensors[str(key)])
        for mass in masses.values():
            mass.show()


EXCHANGE = PushSum
