"""DSGD-Task: agents of the same type share everything, and nothing crosses between types.

Decentralised SGD (Lian et al. 2017, arXiv 1705.09056) inside each agent type; the reading of "task" as type is
a reconstruction from arXiv 2601.10012.
"""

from parse_p2p.core.slices import Sharing, nobody, same_type
from parse_p2p.methods.base import Method
from parse_p2p.methods.gossip import SCRIPTS, GossipOptions

TABLE: Sharing = {"*": same_type, "gate": nobody, "discriminator": nobody}

METHOD = Method(
    name="dsgd-task",
    paper="arXiv 1705.09056, as a baseline of arXiv 2601.10012",
    summary="gossip everything among agents with the same modalities",
    options=GossipOptions,
    scripts=SCRIPTS,
    sharing=lambda options, round, rounds: TABLE,
    gaps=True,
)
