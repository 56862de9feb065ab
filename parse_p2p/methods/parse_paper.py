"""PARSE as its paper has it (arXiv 2601.10012), as far as that is known, without what was added to it here.

The network, the table of who shares what and the round are those of ``parse``; only the losses are others:

    the task's loss of the summed logits + branch · Σ that of each head by itself + contrast · InfoNCE

**Known** of the paper, from its abstract, its public reviews and summaries of its text: a modality's latent is cut into
three equal slices by position, each with a head of its own; unique slices are shared by all that have the modality,
redundant ones by all agents, synergistic ones by those with several modalities; there is a contrastive loss.
**Reconstructed**: that the loss of the task is that of summed logits, that each head has a loss of weight 1, that the
contrast is InfoNCE between the redundant slices of two modalities, of weight 1 and temperature 0.2, who shares the
fusion, the order of a round, and every rate and size. **Left out**, for they are no part of it: the losses that set
slices apart, align them, learn a modality by itself, or treat synergy as what others leave over.
"""

from dataclasses import replace

from pydantic import Field

from parse_p2p.learning.objective import Synergy
from parse_p2p.methods import parse

SAID = {name: field.description for name, field in parse.Options.model_fields.items()}


class Options(parse.Options):
    """Those of ``parse``, with the losses of the paper as defaults, whatever the defaults there are."""

    branch: float = Field(1.0, ge=0, description=SAID["branch"])
    contrast: float = Field(1.0, ge=0, description=SAID["contrast"])
    align: float = Field(0.0, ge=0, description=SAID["align"])
    orthogonal: float = Field(0.0, ge=0, description=SAID["orthogonal"])
    modality: float = Field(0.0, ge=0, description=SAID["modality"])
    synergy: Synergy = Field("joint", description=SAID["synergy"])
    teach: float = Field(0.0, ge=0, description=SAID["teach"])
    factor: float = Field(0.0, ge=0, allow_inf_nan=False, description=SAID["factor"])


METHOD = replace(
    parse.METHOD,
    name="parse-paper",
    summary="PARSE with the losses of its paper alone, a contrast between redundant slices among them",
    options=Options,
)
