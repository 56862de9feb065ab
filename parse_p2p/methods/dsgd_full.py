"""DSGD in full: everything is shared with everyone who has a part of the same name and shape, whatever it senses.

Decentralised SGD (Lian et al. 2017, arXiv 1705.09056) is for equal models. Where agents differ, what fits is averaged
(a reconstruction): a part of a modality among all that have it, and a part of none, such as a head of several
modalities, among all in whom its tensors have the same shapes, whichever modalities it reads there.
"""

from parse_p2p.core.slices import Sharing, nobody, same_shape
from parse_p2p.methods.base import Method
from parse_p2p.methods.gossip import SCRIPTS, GossipOptions

TABLE: Sharing = {"*": same_shape, "gate": nobody, "discriminator": nobody}

METHOD = Method(
    name="dsgd-full",
    paper="arXiv 1705.09056",
    summary="gossip everything with everyone who has a part of the same name and shape",
    options=GossipOptions,
    scripts=SCRIPTS,
    sharing=lambda options, round, rounds: TABLE,
    gaps=True,
)
