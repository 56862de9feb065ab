"""The one script of PARSE and of the whole DSGD family: train, exchange slices, mix.

The methods differ in their tables alone, so that any two can be compared on the same network with the same
losses. How slices are exchanged and mixed are options of them all, each a plug-in by its name: a file in
``methods/exchanges`` and one in ``core/mixers``, whose own options stand beside the name.
"""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, model_validator

from parse_p2p.core import plugins
from parse_p2p.core.mixers.base import Mixer
from parse_p2p.core.plugin_options import Named, OptionsBeside, refused
from parse_p2p.core.types import Role
from parse_p2p.learning.objective import SliceLossOptions, slice_terms
from parse_p2p.methods.base import Local, Script, Stretch
from parse_p2p.methods.exchanges.base import ExchangeMode


class GossipOptions(SliceLossOptions, OptionsBeside):
    """The weights of the losses, the order of a round, exchange and mixer; the same for every method of the family."""

    order: str = Field("atc", pattern="^(atc|cta)$", description="adapt then combine, or combine then adapt")
    exchange: Annotated[str, Named(plugins.EXCHANGES)] = Field(
        "synchronous", description="whether agents wait, and what bears late or lost messages"
    )
    mixer: Annotated[str, Named(plugins.MIXERS)] = Field("weighted", description="how the copies of a slice become one")

    @model_validator(mode="after")
    def _sums_are_kept_by_weights(self) -> Self:
        if self.exchange_mode.keeps_sums and self.mixer != "weighted":
            said = f"with exchange {self.exchange!r}, which keeps sums, it must be 'weighted', not {self.mixer!r}"
            raise refused("mixer", said)
        return self

    @property
    def exchange_mode(self) -> ExchangeMode:
        """The exchange with its options."""
        mode: ExchangeMode = self.chosen("exchange")
        return mode

    @property
    def mixing(self) -> Mixer:
        """The mixer with its options."""
        mixer: Mixer = self.chosen("mixer")
        return mixer


def gossip(local: Local, options: GossipOptions) -> Script:
    """One round of one agent."""
    metrics: Mapping[str, float] = {}
    mode = options.exchange_mode
    if options.order == "atc":
        metrics = mode.train(local, slice_terms(options))
    yield from mode.run(local, options.mixing.mix)
    if options.order == "cta":
        metrics = mode.train(local, slice_terms(options))
    return metrics


def exchange(local: Local, options: GossipOptions) -> Stretch:
    """The part of a round in which slices are exchanged and mixed."""
    yield from options.exchange_mode.run(local, options.mixing.mix)


SCRIPTS = {Role.PEER: gossip}
"""The scripts of every method of the family."""
