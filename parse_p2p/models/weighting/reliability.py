"""A modality counts less the further its latents lie from those of the agent's own training samples.

Of each modality's latents the mean μ and the deviation σ of every number over the agent's training samples are kept,
in double until they are stored. How unusual a sample is, is its mean square distance in deviations,

    u_m(x) = mean_j ((z_j − μ_j) / σ_j)²,

a Mahalanobis distance (arXiv 1807.03888, section 2.1) with a diagonal covariance and without classes, so that it serves
every task. A limit t_m is the quantile of u_m over the same samples, above which a modality is the less reliable:

    e_m = max(1, u_m / t_m),    w_m = (min_k e_k / e_m) ^ falloff.

So about a share ``quantile`` of samples like those trained on is predicted as without any weighting, to the bit. The
weights are relative to the most reliable modality, which counts in full: where all are unusual, nothing is gained by
trusting none. Each agent keeps statistics of its own: those of all agents add little (``scripts/weighting``).
"""

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn

from parse_p2p.core.types import Modality
from parse_p2p.models.base import Latents, Network, key_of, module_dict
from parse_p2p.models.weighting.base import Weigher, Weighting, joined

CONSTANT = 1e-3
"""A number whose deviation is below this share of the largest counts as constant: it has no unit to measure by."""

FURTHEST = 1e12
"""No sample counts as more unusual than so many limits, which keeps ratios finite."""


class Usual(nn.Module):
    """What is usual of one modality: ``mean`` and ``factor`` (d,), the latter 1/σ or 0, and the ``limit`` ()."""

    mean: Tensor
    factor: Tensor
    limit: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("factor", torch.zeros(width))  # until something is learnt nothing is unusual
        self.register_buffer("limit", torch.ones(()))

    def unusual(self, latents: Tensor) -> Tensor:
        """u, (B,), of latents (B, d)."""
        return ((latents - self.mean) * self.factor).square().mean(1)

    def excess(self, latents: Tensor) -> Tensor:
        """e, (B,), from 1."""
        return (self.unusual(latents) / self.limit).clamp(1.0, FURTHEST)

    def learn(self, latents: Tensor, quantile: float) -> None:
        """From latents (N, d) of at least one sample."""
        deviation, mean = torch.std_mean(latents.double(), 0, correction=0)
        constant = deviation <= CONSTANT * deviation.max()
        self.mean.copy_(mean)
        self.factor.copy_(torch.where(constant, 0.0, 1 / deviation))
        self.limit.copy_(_quantile(self.unusual(latents), quantile).clamp(min=1.0))


class Reliable(Weigher):
    """See the module's docstring."""

    def __init__(self, widths: Mapping[Modality, int], quantile: float, falloff: float) -> None:
        super().__init__()
        self.quantile, self.falloff = quantile, falloff
        self.usual = module_dict({m: Usual(width) for m, width in widths.items()})

    @torch.no_grad()
    def learn(self, latents: Mapping[Modality, Tensor]) -> None:
        for m, x in latents.items():
            self._of(m).learn(x, self.quantile)

    def weights(self, network: Network, latents: Latents) -> dict[Modality, Tensor]:
        excess = {m: self._of(m).excess(x) for m, x in joined(latents).items()}
        least = torch.stack(list(excess.values())).amin(0)
        return {m: (least / e) ** self.falloff for m, e in excess.items()}

    def _of(self, modality: Modality) -> Usual:
        usual = self.usual[key_of(modality)]
        assert isinstance(usual, Usual)
        return usual


class Reliability(Weighting):
    """Which samples are unusual, and how much less they count."""

    quantile: float = Field(0.99, gt=0, le=1, description="share of training samples that count in full")
    falloff: float = Field(1.0, gt=0, allow_inf_nan=False, description="power of the distance by which a weight falls")

    def weigher(self, widths: Mapping[Modality, int]) -> Reliable:
        return Reliable(widths, self.quantile, self.falloff)


def _quantile(values: Tensor, share: float) -> Tensor:
    """The least of N values that this share of N + 1 does not exceed, or the largest: that of one sample more."""
    ordered = values.sort().values
    return ordered[min(len(ordered), max(1, -int(-share * (len(ordered) + 1) // 1))) - 1]


WEIGHTING = Reliability
