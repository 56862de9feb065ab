"""Train a backbone on public samples, so that it can read any of their modalities alone or together."""

import torch
from torch.nn.functional import cross_entropy

from parse_p2p.core.optimisers import Adam
from parse_p2p.core.types import Modality
from parse_p2p.data.base import Batch, Dataset
from parse_p2p.models.base import initialise
from parse_p2p.models.lora.backbone import Backbone

BATCH = 64
RATE = 3e-3


def pretrain(backbone: Backbone, data: Dataset, steps: int, generator: torch.Generator) -> None:
    """Initialise the backbone and take Adam steps on the cross-entropy; every draw is the generator's.

    Each minibatch shows a random set of the modalities, one at least.
    """
    initialise(backbone, generator)
    optimiser = Adam(backbone.parameters(), lr=RATE)
    for _ in range(steps if len(data) else 0):
        batch = data.batch(torch.randint(len(data), (BATCH,), generator=generator))
        kept = some(data, generator)
        loss = cross_entropy(backbone({m: batch.inputs[m] for m in kept}).logits(), batch.targets)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def some(data: Dataset, generator: torch.Generator) -> list[Modality]:
    """A set of modalities, every set but the empty one as likely as any other."""
    drawn = int(torch.randint(1, 2 ** len(data.modalities), (), generator=generator))
    return [m for i, m in enumerate(data.modalities) if drawn >> i & 1]


def views(batch: Batch) -> list[Batch]:
    """The batch as seen with all modalities, and with each alone."""
    names = sorted(batch.inputs)
    kept = [names, *([m] for m in names if len(names) > 1)]
    return [Batch({m: batch.inputs[m] for m in some}, batch.targets) for some in kept]
