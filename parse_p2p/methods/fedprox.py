"""FedProx (Li et al., arXiv 1812.06127): FedAvg whose clients are held near the model they began with.

The pull is part of the gradient when that is clipped.
"""

from pydantic import Field

from parse_p2p.core.types import Metrics, Role
from parse_p2p.learning.learner import Adjust
from parse_p2p.learning.objective import slice_terms
from parse_p2p.methods import fedavg, federation
from parse_p2p.methods.base import Local, Method, Script
from parse_p2p.methods.federation import coordinator
from parse_p2p.models.parameter_buffer import ParameterBuffer


class Options(fedavg.Options):
    mu: float = Field(0.01, ge=0, description="weight of the pull to the global model; 0 is FedAvg")


def pull(local: Local, mu: float) -> Adjust | None:
    """μ(w − w_g) added to the gradients of what is shared, w_g being the model as it is now."""
    if not mu:
        return None
    anchor = local.learner.buffer.values.clone()

    def adjust(buffer: ParameterBuffer) -> None:
        for region in local.plan.regions.values():
            moved = buffer.view(region) - anchor[region.start : region.stop]
            buffer.grads[region.start : region.stop].add_(moved, alpha=mu)

    return adjust


def client(local: Local, options: Options) -> Script:
    """One round of a client."""

    def train(local: Local) -> Metrics:
        return local.learner.train(*slice_terms(options), adjust=pull(local, options.mu))

    return federation.client(local, options, train)


METHOD = Method(
    name="fedprox",
    paper="arXiv 1812.06127",
    summary="FedAvg with clients held near the global model",
    options=Options,
    scripts={Role.CLIENT: client, Role.COORDINATOR: coordinator},
    sharing=fedavg.sharing,
    gaps=True,
)
