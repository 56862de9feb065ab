"""DSGD-Hybrid: encoders as in DSGD-Modality, heads as in DSGD-Task (reconstructed from arXiv 2601.10012)."""

from parse_p2p.core.slices import Sharing
from parse_p2p.methods import dsgd_modality, dsgd_task
from parse_p2p.methods.base import Method
from parse_p2p.methods.gossip import SCRIPTS, GossipOptions

TABLE: Sharing = {
    part: (dsgd_task if part.startswith("head.") else dsgd_modality).TABLE[part] for part in dsgd_task.TABLE
}

METHOD = Method(
    name="dsgd-hybrid",
    paper="arXiv 1705.09056, as a baseline of arXiv 2601.10012",
    summary="gossip encoders per modality and heads per agent type",
    options=GossipOptions,
    scripts=SCRIPTS,
    sharing=lambda options, round, rounds: TABLE,
)
