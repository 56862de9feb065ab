"""How much each modality of a sample counts in a prediction: what every weighting promises.

A weight is the chance that a modality is kept: with weights w_m the prediction is the mean of what the network says
of the samples with some of their modalities left out,

    Σ_S Π_{m in S} w_m Π_{m not in S} (1 − w_m) · logits(S),

so that a branch on several modalities counts as little as the least reliable of them, whatever the network. Where all
weights are 1 that is the network's own prediction, and it is given as it is, to the bit.

Training knows nothing of it, and nothing of it is sent. A weighting that counts something else than modalities says so
itself; what it has as parameters is shared as the method's table says of its parts.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.rng import seeded
from parse_p2p.core.types import Modality, PeerId
from parse_p2p.data.base import Batch, Dataset
from parse_p2p.data.splits import Cut, amount
from parse_p2p.data.tasks.base import Task
from parse_p2p.models.base import InputShapes, Latents, Network, Outputs
from parse_p2p.models.encoder import two_samples
from parse_p2p.models.parameter_buffer import Parts

MOST = 8
"""Modalities of one agent, at most: the heads are asked about every set of them."""


class Weigher(nn.Module):
    """Weighs the modalities of samples. What it has learnt lies in buffers, which are in checkpoints and exports.

    One of one's own gives ``weights``, and ``learn`` if it keeps anything of the training samples.
    """

    def learn(self, latents: Mapping[Modality, Tensor]) -> None:
        """Learn what is usual: ``latents[m]`` (N_m, d_m) of all training samples that have the modality.

        Called after every round, with what the network then says.
        """

    def count(self, train: Dataset) -> None:
        """Learn how often each class is there, of all training samples. Called after every round."""

    def fit(self, said: Sequence[tuple[Outputs, Batch]]) -> None:
        """Fit to what the network says of all samples that are kept (``Weighting.keeps_apart``), by what they lack.

        Called before every round but the first, so that parameters take part in its exchange.
        """

    def parts(self) -> Parts:
        """The components with its parameters, where it has any; they take no gradients."""
        return []

    def weights(self, network: Network, latents: Latents) -> Mapping[Modality, Tensor]:
        """The weight of each modality that is there, (B,), from 0 to 1; one of them at least is 1."""
        raise NotImplementedError

    def forward(self, network: Network, outputs: Outputs, task: Task) -> Tensor:
        """What the network predicts, (B, K), with the modalities weighed."""
        whole = outputs.logits(task=task)
        if len(outputs.latents) < 2:  # there is nothing else to go by
            return whole
        weights = self.weights(network, outputs.latents)
        least = torch.stack(list(weights.values())).amin(0)
        if not torch.onnx.is_in_onnx_export() and bool((least == 1).all()):
            return whole
        mixed = _chance(weights, outputs.latents)[:, None] * whole
        for count in range(1, len(weights)):
            for some in combinations(weights, count):
                kept = {m: outputs.latents[m] for m in some}
                mixed = mixed + _chance(weights, kept)[:, None] * network.read(kept).logits(task=task)
        return torch.where(least[:, None] < 1, mixed, whole)


class Weighting(BaseModel):
    """Options: a plug-in is a file in this folder whose ``WEIGHTING`` is a class derived from this one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    needs_classes: ClassVar[bool] = False
    """Whether it looks at the class of each sample."""

    @property
    def keeps_apart(self) -> float:
        """The share of an agent's training samples that it keeps for itself, and that are never trained on."""
        return 0.0

    def weigher(self, widths: Mapping[Modality, int]) -> Weigher | None:
        """What weighs modalities whose latents are so wide, all slices together; None weighs nothing."""
        raise NotImplementedError

    def made_for(self, network: Network, shapes: InputShapes, name: str) -> Weigher | None:
        """What weighs this network, of the weighting of this name; None where there is nothing to weigh.

        By default it weighs modalities, where there are several. Raises ConfigError for a network that it cannot weigh.
        """
        if len(shapes) < 2 or self.weigher({}) is None:
            return None
        _refuse(network, shapes, name)
        if torch.get_default_device().type == "meta":  # there only the parameters are asked for
            return None
        return self.weigher(_widths(network, shapes, name))


def joined(latents: Latents) -> dict[Modality, Tensor]:
    """The slices of each modality side by side, (B, d_m)."""
    return {m: torch.cat(list(slices.values()), dim=1) for m, slices in latents.items()}


@torch.no_grad()
def probed(network: Network, shapes: InputShapes) -> Outputs:
    """What a network says of two samples of zeros, or of one token, for their shapes; it stays as it is."""
    training = network.training
    network.eval()
    outputs: Outputs = network({m: two_samples(shape) for m, shape in shapes.items()})
    network.train(training)
    return outputs


def weigh(network: Network, shapes: InputShapes, name: str, weighting: Weighting) -> Network:
    """The network with what weighs what it says, of the weighting of this name. Raises ConfigError where it cannot."""
    network.weighting = weighting.made_for(network, shapes, name)
    return network


def held_out(train: Dataset, share: float, me: PeerId, seed: int, cut: Cut) -> tuple[Dataset, Dataset]:
    """An agent's training samples without a share that is kept to weigh predictions by, and these.

    Raises ConfigError where it has too few for both.
    """
    try:
        return cut(train, share, seeded(seed, "held out", me).initial_seed())
    except ConfigError:
        said = f"{share} leaves agent {me}, which has {amount(train, cut)}, none to train on or to weigh branches by"
        remedy = "take a share nearer a half, deal it more, or take weighting: none"
        raise ConfigError(f"model.held_out: {said}; {remedy}") from None


def _refuse(network: Network, shapes: InputShapes, name: str) -> None:
    """Raise ConfigError for a network that cannot do without one of its modalities."""
    if not network.reads_some:
        raise ConfigError(
            f"model.weighting: {name} weighs what is said without a modality, and a {type(network).__name__} reads all "
            "of its modalities at once; take weighting: none"
        )
    if len(shapes) > MOST:
        raise ConfigError(
            f"model.weighting: {name} weighs up to {MOST} modalities, and an agent has {len(shapes)}; take "
            "weighting: none"
        )


@torch.no_grad()
def _widths(network: Network, shapes: InputShapes, name: str) -> dict[Modality, int]:
    """How wide the latents of each modality are."""
    outputs = probed(network, shapes)
    if missing := [m for m in shapes if m not in outputs.latents]:
        raise ConfigError(
            f"model.weighting: {name} weighs modalities by their latents, and a {type(network).__name__} gives none "
            f"of {missing[0]!r}; take weighting: none"
        )
    for m in shapes:
        try:
            network.read({m: outputs.latents[m]})
        except ConfigError as error:
            raise ConfigError(
                f"model.weighting: {name} weighs what is said without a modality, and {error}; take weighting: none"
            ) from None
    return {m: x.shape[1] for m, x in joined(outputs.latents).items()}


def _chance(weights: Mapping[Modality, Tensor], kept: Latents) -> Tensor:
    """How likely just these modalities are kept, (B,)."""
    return torch.stack([w if m in kept else 1 - w for m, w in weights.items()]).prod(0)
