"""The objective of local training: the same loss terms for every method, so that these differ in their exchange."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from parse_p2p.core.plugin_options import refused
from parse_p2p.learning import losses
from parse_p2p.learning.factorised import factorised
from parse_p2p.learning.learner import LossTerm

Synergy = Literal["joint", "remainder", "apart"]
"""How the synergistic branch learns beside the others."""


class LossOptions(BaseModel):
    """Options of a method: the weights of the losses that any network has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    branch: float = Field(1.0, ge=0, description="weight of each head's own cross-entropy")
    detach: bool = Field(False, description="let the heads' own losses train the heads only")

    @property
    def needs_classes(self) -> str:
        """The key that says what only samples of one class each can do, if one does."""
        return ""


class SliceLossOptions(LossOptions):
    """Options of a method: the weights of the losses on slices too, which do nothing on a network without them."""

    contrast: float = Field(0.0, ge=0, description="weight of InfoNCE between redundant slices")
    supervised: bool = Field(False, description="take every sample of the class as a positive of the contrast")
    temperature: float = Field(0.2, gt=0, description="temperature of the contrast")
    align: float = Field(0.0, ge=0, description="weight of the distance between redundant slices")
    orthogonal: float = Field(5.0, ge=0, description="weight of the correlation between slices")
    modality: float = Field(
        0.0, ge=0, description="weight of each modality's own cross-entropy, of its redundant and unique head together"
    )
    synergy: Synergy = Field(
        "apart",
        description="joint: all heads learn by their sum; remainder: the others learn as if there were no synergy, and "
        "the synergistic one on top of their sum held fixed, without a loss of its own; apart: so too, and the heads "
        "on each modality learn by that modality alone, as at an agent that has no other, with synergy or without",
    )
    teach: float = Field(
        0.0,
        ge=0,
        description="weight with which the other heads teach the synergistic one what they say of wrong classes, in "
        "place of a loss of its own",
    )
    factor: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="weight of bounds, after FactorCL, of what slices share of the class: more redundant ones, "
        "unique ones less",
    )

    @model_validator(mode="after")
    def _factored_by_heads(self) -> Self:
        if self.factor and not self.branch:
            raise refused(
                "factor", "it tells by the heads what slices share, and branch trains them: give branch above 0"
            )
        return self

    @property
    def needs_classes(self) -> str:
        """The contrast of whole classes, what is taught of wrong ones, and what is shared of them."""
        if self.contrast and self.supervised:
            return "supervised"
        return "teach" if self.teach else "factor" if self.factor else ""


SYNERGY: dict[Synergy, LossTerm] = {"joint": losses.task, "remainder": losses.remainder, "apart": losses.apart}
"""What stands in the place of the task's loss."""


def terms(options: LossOptions) -> list[LossTerm]:
    """The loss of a round, term by term, for ``Learner.train``; terms of weight zero are left out."""
    return [losses.task, *([losses.branches(options.branch, options.detach)] if options.branch else [])]


def slice_terms(options: SliceLossOptions) -> list[LossTerm]:
    """The loss of a round with the terms on slices, for ``Learner.train``; terms of weight zero are left out."""
    chosen: list[LossTerm] = [SYNERGY[options.synergy]]
    if options.branch:
        alone = options.synergy == "joint" and not options.teach
        chosen.append(losses.branches(options.branch, options.detach, synergy=alone))
    if options.modality:
        chosen.append(losses.modality(options.modality))
    if options.teach:
        chosen.append(losses.teach(options.teach))
    if options.contrast:
        chosen.append(losses.contrast(options.contrast, options.temperature, options.supervised))
    if options.align:
        chosen.append(losses.align(options.align))
    if options.orthogonal:
        chosen.append(losses.orthogonal(options.orthogonal))
    if options.factor:
        chosen.append(factorised(options.factor))
    return chosen
