"""DSGD-Task: agents of the same type share everything, and nothing crosses between types.

Decentralised SGD (Lian et al. 2017, arXiv 1705.09056) inside each agent type. The text of arXiv 2601.10012 that says
what "task" means was not at hand, and there are two readings: the task of an agent is that of its type, by default;
or it is what the heads solve, so that heads are shared with all agents that have equal ones, and encoders stay at home.
"""

from pydantic import Field

from parse_p2p.core.slices import Sharing, nobody, same_shape, same_type
from parse_p2p.methods.base import Method
from parse_p2p.methods.gossip import SCRIPTS, GossipOptions

TABLE: Sharing = {"*": same_type, "gate": nobody, "discriminator": nobody}
HEADS: Sharing = {"*": nobody, "head": same_shape}


class Options(GossipOptions):
    reading: str = Field(
        "type", pattern="^(type|head)$", description="what a task is: all that agents of one type have, or equal heads"
    )


def sharing(options: Options, round: int, rounds: int) -> Sharing:
    return TABLE if options.reading == "type" else HEADS


METHOD = Method(
    name="dsgd-task",
    paper="arXiv 1705.09056, as a baseline of arXiv 2601.10012",
    summary="gossip everything among agents with the same modalities",
    options=Options,
    scripts=SCRIPTS,
    sharing=sharing,
    gaps=True,
)
