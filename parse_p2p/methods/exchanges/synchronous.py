"""Everyone waits for everyone."""

from parse_p2p.methods.base import Local, Stretch
from parse_p2p.methods.exchanges.base import ExchangeMode, Mix, mix_slices, slices


class Synchronous(ExchangeMode):
    """Wait for every neighbour's slices of this round."""

    def run(self, local: Local, mix: Mix) -> Stretch:
        mix_slices(local, (yield slices(local)), mix)


EXCHANGE = Synchronous
