"""FedAvg (McMahan et al., arXiv 1602.05629), slice by slice or model by model.

Slice by slice, encoders are averaged over the owners of their modality and heads over the agents that have the same
ones, as modality-wise FedAvg is done in multimodal federated learning (arXiv 2401.00894, its baselines). Model by model
is the paper's own: equal models are averaged whole, so that nothing crosses between agents of different modalities.
"""

from pydantic import Field

from parse_p2p.core.slices import Sharing, everyone, having, nobody, same_type
from parse_p2p.core.types import Role
from parse_p2p.learning.objective import SliceLossOptions, slice_terms
from parse_p2p.methods import federation
from parse_p2p.methods.base import GENERAL, Local, Method, Script
from parse_p2p.methods.federation import FederatedOptions, coordinator

TABLE: Sharing = {
    "*": having,
    "head.redundant": everyone,
    "head.fusion": everyone,
    "head.synergistic": same_type,
    "head.joint": same_type,
    "head.weights": same_type,
    "gate": nobody,
    "discriminator": nobody,
}


MODEL: Sharing = {"*": same_type, "gate": nobody, "discriminator": nobody}


class Options(SliceLossOptions, FederatedOptions):
    """The losses of the decentralised methods, who takes part, and what is averaged with what."""

    scope: str = Field(
        "slices",
        pattern="^(slices|model)$",
        description="slices: each is averaged over all that hold it; model: whole models, over agents of one type",
    )


def sharing(options: Options, round: int, rounds: int) -> Sharing:
    return TABLE if options.scope == "slices" else MODEL


def client(local: Local, options: Options) -> Script:
    """One round of a client."""
    return federation.client(local, options, lambda local: local.learner.train(*slice_terms(options)))


METHOD = Method(
    name="fedavg",
    paper="arXiv 1602.05629",
    summary="average each slice over all that hold it, or whole models over equal agents",
    options=Options,
    scripts={Role.CLIENT: client, Role.COORDINATOR: coordinator},
    sharing=sharing,
    networks=(*GENERAL, "prototyped"),  # whose missing modalities are zeros then
    gaps=True,
)
