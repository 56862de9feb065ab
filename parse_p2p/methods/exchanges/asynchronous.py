"""Wait for nobody: each neighbour's newest copy counts ``W_ij · decay^age``, and once.

The age is how many rounds it is behind mine, 0 for one that is ahead; what a weight loses stays at home. Used again
and again, an old copy would draw an agent in each of its rounds, so that the slowest would count most, and one that is
gone for ever. Once, both ends of a link take as much from it. The mean over the agents still moves.
"""

from dataclasses import replace
from functools import partial

from pydantic import Field

from parse_p2p.core.errors import SpecMismatch
from parse_p2p.core.message import Message
from parse_p2p.core.types import PeerId
from parse_p2p.methods.base import Local, Stretch
from parse_p2p.methods.exchanges.base import Mix, Patient, copies, slices


class Asynchronous(Patient):
    """``asynchronous`` at this patience and decay."""

    decay: float = Field(0.9, gt=0, le=1, description="asynchronous: factor on a copy's weight for each round of age")

    def run(self, local: Local, mix: Mix) -> Stretch:
        now = slices(local)
        send = {peer: Message(message.tensors, {"round": local.round}) for peer, message in now.send.items()}
        check = partial(check_dated, local)
        inbox = yield replace(now, send=send, check=check, deadline=self.patience, newest=True)
        ages = {peer: max(0, local.round - round_of(message)) for peer, message in inbox.items()}
        for key, row in local.plan.weights.items():
            weights = {peer: row[peer] * self.decay ** ages[peer] for peer in row if peer in inbox}
            mix(local.learner.buffer.view(local.plan.regions[key]), copies(local, inbox, key, weights), weights)


def check_dated(local: Local, sender: PeerId, message: Message) -> None:
    """Refuse slices that are not those of the link, or of no round of this run. Raises SpecMismatch."""
    local.plan.check(sender, message)
    if not 0 <= round_of(message) < local.rounds:
        raise SpecMismatch(f"a message of {sender} must say its round, a whole number below {local.rounds}")


def round_of(message: Message) -> int:
    """The round that a message says it is of; −1 where it does not say."""
    said = message.meta.get("round")
    return said if isinstance(said, int) and not isinstance(said, bool) else -1


EXCHANGE = Asynchronous
