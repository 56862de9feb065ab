"""FedAvg (McMahan et al., arXiv 1602.05629), modality by modality: a slice is averaged over those who hold it.

Encoders are averaged over the owners of their modality and heads over the agents that have the same ones, as
modality-wise FedAvg is done in multimodal federated learning (arXiv 2401.00894, its baselines).
"""

from parse_p2p.core.slices import Sharing, everyone, having, nobody, same_type
from parse_p2p.core.types import Role
from parse_p2p.learning.objective import SliceLossOptions, slice_terms
from parse_p2p.methods import federation
from parse_p2p.methods.base import Local, Method, Script
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


class Options(SliceLossOptions, FederatedOptions):
    """The losses of the decentralised methods, and who takes part."""


def client(local: Local, options: Options) -> Script:
    """One round of a client."""
    return federation.client(local, options, lambda local: local.learner.train(*slice_terms(options)))


METHOD = Method(
    name="fedavg",
    paper="arXiv 1602.05629",
    summary="average encoders over the owners of a modality, heads over all that have them",
    options=Options,
    scripts={Role.CLIENT: client, Role.COORDINATOR: coordinator},
    sharing=lambda options, round, rounds: TABLE,
    gaps=True,
)
