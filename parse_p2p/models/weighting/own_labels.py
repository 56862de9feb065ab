"""Each class counts by how often the agent's own training samples have it.

What agents learn together says how likely a class is among them all. Where an agent meets classes as often as it has
trained on them, it knows better: of its N samples n_c have the class c, of C, and the prediction is that of the logits

    logits_c / temperature + log((n_c + 1) / (N + C)).

That is Bayes' rule where classes are alike in frequency among all agents (Marco Saerens, Patrice Latinne and Christine
Decaestecker, Neural Computation 14(1), 2002, section 2). Networks are surer than they are right, for they are right of
nearly all that they have trained on, and would hardly be moved; a temperature makes up for it (arXiv 1706.04599,
section 4.2). Of test samples with classes in another mix less is right: it serves an agent that is asked about what it
has seen.
"""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from parse_p2p.data.base import Dataset
from parse_p2p.data.tasks.base import Task
from parse_p2p.models.base import InputShapes, Network, Outputs
from parse_p2p.models.weighting.base import Weigher, Weighting, probed


class OwnLabels(Weigher):
    """What is added to the logits of each class, once they are cooled: ``prior`` (C,)."""

    prior: Tensor

    def __init__(self, classes: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.register_buffer("prior", torch.zeros(classes))

    @torch.no_grad()
    def count(self, train: Dataset) -> None:
        counts = torch.bincount(train.targets, minlength=len(self.prior)).double()
        self.prior.copy_(((counts + 1) / (counts.sum() + len(counts))).log())

    def forward(self, network: Network, outputs: Outputs, task: Task) -> Tensor:
        return outputs.logits(task=task) / self.temperature + self.prior


class Options(Weighting):
    """How much surer the network is than it is right."""

    needs_classes: ClassVar[bool] = True

    temperature: float = Field(3.0, gt=0, allow_inf_nan=False, description="what logits are divided by beforehand")

    def made_for(self, network: Network, shapes: InputShapes, name: str) -> Weigher | None:
        if torch.get_default_device().type == "meta":  # there only the parameters are asked for
            return None
        return OwnLabels(probed(network, shapes).logits().shape[1], self.temperature)


WEIGHTING = Options
