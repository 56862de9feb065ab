"""An encoder for each modality, one head on their mean, and a bias that all agents share."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from parse_p2p import Component, Kind, Modality
from parse_p2p.models import EncoderOptions, ModelOptions, Network, Outputs, Parts, trainable


class Mean(Network):
    """Reads any set of modalities whose encoders are equally wide."""

    def __init__(
        self,
        shapes: Mapping[Modality, tuple[int, ...]],
        classes: int,
        options: ModelOptions,
        encoders: Mapping[Modality, EncoderOptions],
    ) -> None:
        super().__init__(shapes, options, encoders)
        self.head = nn.Linear(options.encoder.width, classes, bias=False)
        self.bias = nn.Linear(1, classes)

    def forward(self, inputs: Mapping[Modality, Tensor]) -> Outputs:
        return self.read({m: {Kind.JOINT: self.trunk_of(m)(inputs[m])} for m in self.modalities})

    def read(self, latents: Mapping[Modality, Mapping[Kind, Tensor]]) -> Outputs:
        mean = torch.stack([z[Kind.JOINT] for z in latents.values()]).mean(0)
        said = {"joint": self.head(mean) + self.bias(torch.ones_like(mean[:, :1]))}
        return Outputs(said, latents, said)

    def parts(self) -> Parts:
        trunks = [(Component("trunk", m, Kind.JOINT, self.architectures[m]), self.trunk_of(m)) for m in self.modalities]
        heads = [(Component("head.joint"), self.head), (Component("head.bias"), self.bias)]
        return [(component, trainable(module)) for component, module in [*trunks, *heads]]


NETWORK = Mean
