"""DSGD-Modality: encoders are shared among all holders of a modality, heads stay at home.

Decentralised SGD (Lian et al. 2017, arXiv 1705.09056) per modality; reconstructed from arXiv 2601.10012.
"""

from parse_p2p.core.slices import Sharing, having, nobody
from parse_p2p.methods.base import Method
from parse_p2p.methods.gossip import SCRIPTS, GossipOptions

TABLE: Sharing = {"*": having, "head": nobody, "gate": nobody, "discriminator": nobody}

METHOD = Method(
    name="dsgd-modality",
    paper="arXiv 1705.09056, as a baseline of arXiv 2601.10012",
    summary="gossip encoders per modality, keep heads",
    options=GossipOptions,
    scripts=SCRIPTS,
    sharing=lambda options, round, rounds: TABLE,
    gaps=True,
)
