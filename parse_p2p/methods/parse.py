"""PARSE (arXiv 2601.10012): each slice is shared exactly as far as its information reaches.

Redundant information can be read from any modality, so its head is everyone's; unique information belongs to the
holders of its modality; synergy exists only where two modalities meet. An audio-only and a video-only agent
exchange the redundant head and nothing else.
"""

from pydantic import Field

from parse_p2p.core.slices import Sharing, both, everyone, having, multimodal, same_type
from parse_p2p.methods.base import Method
from parse_p2p.methods.gossip import SCRIPTS, GossipOptions


class Options(GossipOptions):
    redundant_scope: str = Field(
        "everyone", pattern="^(everyone|same-type)$", description="who shares the redundant head"
    )
    synergistic_scope: str = Field(
        "same-type",
        pattern="^(same-type|multimodal)$",
        description="who shares the fusion: multimodal needs one that fits any set of modalities (product, sum)",
    )


def sharing(options: Options, round: int, rounds: int) -> Sharing:
    return {
        "trunk": having,
        "rows.redundant": having,
        "rows.unique": having,
        "rows.synergistic": both(having, multimodal),
        "head.redundant": everyone if options.redundant_scope == "everyone" else same_type,
        "head.unique": having,
        "head.weights": same_type,
        "head.synergistic": both(same_type if options.synergistic_scope == "same-type" else multimodal, multimodal),
    }


METHOD = Method(
    name="parse",
    paper="arXiv 2601.10012",
    summary="gossip each slice with the agents that hold its modalities",
    options=Options,
    scripts=SCRIPTS,
    sharing=sharing,
    networks=("fission",),
    gaps=True,
)
