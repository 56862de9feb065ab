"""One agent's learning: model, optimiser and data, trained by loss terms that a method passes in.

Every draw of a round comes from a generator seeded by (seed, agent, round), so that a resumed run draws what an
uninterrupted one would have drawn and no generator's state has to be kept.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from parse_p2p.core.errors import ConfigError, Interrupted, TrainingError
from parse_p2p.core.optimisers import SGD
from parse_p2p.core.rng import seeded
from parse_p2p.core.slices import Holder, Region
from parse_p2p.core.types import PeerId
from parse_p2p.data.base import Batch, Dataset
from parse_p2p.data.streams import Stream
from parse_p2p.learning.transfer import to_host
from parse_p2p.models.base import Network, Outputs
from parse_p2p.models.parameter_buffer import ParameterBuffer, fill

LossTerm = Callable[[Network, Batch, Outputs], Tensor]
"""A function of (network, batch, outputs) giving a scalar to be minimised; the sum of a round's terms is the loss."""

Adjust = Callable[[ParameterBuffer], None]
"""A change to the gradients of a step, made in place in the buffer's ``grads`` (size,)."""

K = TypeVar("K")

EVALUATION_BATCH = 4096

UNSAID = -1
"""In place of a class, of a sample of which nothing was said."""


class Training(BaseModel):
    """Local steps of one round."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lr: float = Field(0.05, gt=0, description="learning rate of stochastic gradient descent")
    momentum: float = Field(0.9, ge=0, lt=1, description="of stochastic gradient descent")
    weight_decay: float = Field(1e-4, ge=0, description="weight of the squared norm of all parameters")
    batch: int = Field(32, ge=1, description="samples in a minibatch")
    epochs: int = Field(1, ge=1, description="passes over the agent's data in a round")
    clip: float = Field(5.0, gt=0, description="largest norm of a gradient")
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced: in the loss each class of an agent's samples weighs as much as any other"
    )
    autocast: Literal["none", "bf16"] = Field(
        "none", description="bf16: forward passes of local steps in bfloat16 where that is safe"
    )
    schedule: str = Field("constant", pattern="^(constant|cosine)$", description="learning rate over the rounds")


class Learner:
    """One agent's model, optimiser and data: it trains on loss terms, cuts snapshots to send, and evaluates.

    ``model`` is the network, ``buffer`` all its parameters, flat and on ``buffer.values.device``. ``data`` are the
    training samples, of a stream those seen so far; ``test`` the test set; ``holder`` is what sharing tables see;
    ``seed`` is the run's.
    """

    def __init__(self, me: PeerId, model: Network, train: Dataset, test: Dataset, options: Training, seed: int,
                 device: torch.device, stream: Stream | None = None) -> None:  # fmt: skip
        self.me = me
        self.model = model.to(device)
        self.buffer = ParameterBuffer(model.parts(), device)
        self.data, self.test = _on(self._weighed(train, options), device), _on(test, device)
        self.stream = stream
        self.others = None if stream is None else _on(stream.others, device)
        self.options = options
        self.seed = seed
        self.holder = Holder(me, tuple(sorted(train.modalities)), self.buffer.regions, model.dimensions)
        groups = [{"params": [leaf], "component": name} for name, leaf in self.buffer.leaves.items()]
        self.optimiser = SGD(groups, lr=options.lr, momentum=options.momentum, weight_decay=options.weight_decay)
        self.halted = False  # set from another thread to end training at the next step
        self._draw = seeded(seed, me, 0)

    def begin(self, round: int, rounds: int) -> None:
        """Set the draws, the learning rate and, from a stream, the data of a round."""
        if self.stream is not None:
            self.data = _on(self._weighed(self.stream.at(round), self.options), self.test.targets.device)
        self._draw = seeded(self.seed, self.me, round)
        share = round / rounds if self.options.schedule == "cosine" else 0.0
        for group in self.optimiser.param_groups:
            group["lr"] = self.options.lr * 0.5 * (1 + math.cos(math.pi * share))

    def _weighed(self, data: Dataset, options: Training) -> Dataset:
        """With weights of mean 1, so that they change what counts and not how large the steps are."""
        if data.weights is None and options.class_weights == "none":
            return data
        weights = data.weighed()
        if options.class_weights == "balanced":
            counts = torch.zeros(data.classes).index_add(0, data.targets, weights)
            weights = weights / counts[data.targets].clamp(min=1e-12)
        if not bool(weights.sum() > 0):
            raise ConfigError(f"the weights of the training samples of {self.me} are all 0: give some a weight")
        return replace(data, weights=weights / weights.mean())

    @property
    def samples(self) -> int:
        """The number of training samples."""
        return len(self.data)

    def train(
        self,
        *terms: LossTerm,
        scale: Callable[[str], float] = lambda component: 1.0,
        adjust: Adjust | None = None,
        only: Callable[[str], bool] | None = None,
    ) -> Mapping[str, float]:
        """Take one round of local steps on the sum of the terms; the mean loss as the metric ``loss``.

        ``scale`` gives a factor on the learning rate of each component, by its name; ``adjust`` and ``only`` are
        those of ``step``. Raises TrainingError when the loss stops being a number.
        """
        rates = [group["lr"] for group in self.optimiser.param_groups]
        for group in self.optimiser.param_groups:
            group["lr"] *= scale(group["component"])
        losses = [loss for _ in range(self.options.epochs) for loss in self.epoch(terms, adjust, only)]
        for group, rate in zip(self.optimiser.param_groups, rates, strict=True):
            group["lr"] = rate
        return {"loss": self.mean(losses)}

    def mean(self, losses: Sequence[Tensor]) -> float:
        """The mean of a round's losses. Raises TrainingError when it or a parameter is no number any more."""
        loss = torch.stack(list(losses)).mean().item()
        if not math.isfinite(loss) or not bool(self.buffer.values.isfinite().all()):
            raise TrainingError(
                f"the loss of agent {self.me} is {loss} with train.lr {self.options.lr}: lower train.lr or train.clip, "
                "or look for extreme values in its data"
            )
        return loss

    def batches(self, data: Dataset | None = None) -> Iterator[Batch]:
        """One shuffled pass over a data set, by default this agent's own."""
        chosen = self.data if data is None else data
        order = torch.randperm(len(chosen), generator=self._draw).to(chosen.targets.device)
        # nearly equal batches: in a last one of two samples any two features correlate perfectly
        for rows in torch.tensor_split(order, math.ceil(len(chosen) / self.options.batch)):
            yield chosen.batch(rows)

    def step(
        self, loss: Callable[[], Tensor], adjust: Adjust | None = None, only: Callable[[str], bool] | None = None
    ) -> Tensor:
        """One step down the gradient of ``loss()``; the loss, detached.

        With ``train.autocast: bf16`` the loss is computed under autocast. Parameters, their gradients and the steps
        are float32 all the same, and so is all that is computed outside of steps: evaluation, embeddings.
        ``adjust`` may change the gradients before they are clipped. ``only`` chooses by its name which components
        are stepped; the others, and their momentum, stay as they are. Raises Interrupted once halted.
        """
        if self.halted:
            raise Interrupted(f"the training of {self.me} was stopped")
        self.buffer.grads.zero_()
        with torch.autocast(self.buffer.values.device.type, torch.bfloat16, enabled=self.options.autocast == "bf16"):
            value = loss().float()
        value.backward()  # type: ignore[no-untyped-call]
        resting = [name for name in self.buffer.leaves if only is not None and not only(name)]
        for name in resting:
            region = self.buffer.regions[name]
            self.buffer.grads[region.start : region.stop].zero_()  # not to count in the norm
            self.buffer.leaves[name].grad = None
        if adjust is not None:
            adjust(self.buffer)
        norm = self.buffer.grads.norm()
        self.buffer.grads.mul_((self.options.clip / (norm + 1e-6)).clamp(max=1.0))
        self.optimiser.step()
        for name in resting:
            region = self.buffer.regions[name]
            self.buffer.leaves[name].grad = self.buffer.grads[region.start : region.stop]
        return value.detach()

    def epoch(
        self,
        terms: Collection[LossTerm],
        adjust: Adjust | None = None,
        only: Callable[[str], bool] | None = None,
    ) -> list[Tensor]:
        """One pass over this agent's data on the sum of the terms; the losses (), detached, one for each batch.

        ``adjust`` and ``only`` are those of ``step``. Raises Interrupted once halted.
        """

        def of(part: Batch) -> Tensor:
            outputs = self.model(part.inputs)
            return torch.stack([term(self.model, part, outputs) for term in terms]).sum()

        def loss(batch: Batch) -> Tensor:
            # a branch learns from the rows that have its inputs, each row with the weight of any other
            parts = [part for _, part in batch.parts()]
            if len(parts) == 1:
                return of(parts[0])
            return torch.stack([of(part) * (len(part) / len(batch)) for part in parts]).sum()

        self.model.train()
        return [self.step(partial(loss, batch), adjust, only) for batch in self.batches()]

    @torch.no_grad()
    def outputs(self, data: Dataset) -> Outputs:
        """The model's outputs on a data set that holds this agent's modalities."""
        self.model.eval()
        result: Outputs = self.model(data.inputs)
        return result

    @torch.no_grad()
    def evaluate(self, branches: Collection[str] | None = None) -> dict[str, float]:
        """Accuracy and cross-entropy (nats) on the test set, with all branches or some.

        Where a closed form is known the accuracy is the expected one, see ``Dataset.chances``.
        With a stream the test set is that of the agent's own tasks, and ``others`` the accuracy on all others'. Where
        samples lack a modality, ``accuracy_without_audio`` is that of those that lack audio, and ``accuracy_whole`` of
        those that lack none; some branches are measured on the samples that have what one of them reads.
        """
        self.model.eval()
        said, nats = self._said(self.test, branches)
        known = torch.nonzero(said != UNSAID).flatten()
        if not len(known):
            raise ConfigError(f"no test sample of {self.me} has what {', '.join(branches or ())} reads")
        chances = self.test.chances(said)
        found = {"accuracy": float(chances[known].sum()) / len(known), "test_loss": nats / len(known)}
        if self.others is not None:
            heard = self._said(self.others, branches)[0]
            found["others"] = float(self.others.chances(heard).sum()) / len(self.others)
        if branches is None:
            for missing, rows in self.test.lacking().items():
                name = f"accuracy_without_{'+'.join(missing)}" if missing else "accuracy_whole"
                found[name] = float(chances[rows].mean())
        return found

    def _said(self, data: Dataset, branches: Collection[str] | None) -> tuple[Tensor, float]:
        """The class that is said of each sample, (N,), and the sum of the cross-entropies in nats."""
        said = torch.full((len(data),), UNSAID, device=data.targets.device)
        nats = 0.0
        for rows in torch.split(torch.arange(len(data), device=data.targets.device), EVALUATION_BATCH):
            for at, part in data.batch(rows).parts():
                outputs = self.model(part.inputs)
                if data.present and not outputs.says(branches):
                    continue
                logits = outputs.logits(branches)
                said[rows[at]] = logits.argmax(1)
                nats += float(cross_entropy(logits, part.targets, reduction="sum"))
        return said, nats

    @torch.no_grad()
    def branch_accuracy(self) -> dict[str, dict[str, float]]:
        """Accuracy with one branch alone and with one dropped: shows what each is used for."""
        names = list(self.model({m: x[:1] for m, x in self.test.inputs.items()}).branches)
        others = {name: [n for n in names if n != name] for name in names}
        return {
            name: {"alone": self.evaluate([name])["accuracy"]}
            | ({"dropped": self.evaluate(others[name])["accuracy"]} if others[name] else {})
            for name in names
        }

    def cut(self, regions: Mapping[K, Region]) -> dict[str, Tensor]:
        """A copy of some regions on the CPU, each (region.size,), by the names of their keys: safe to send."""
        snapshot = to_host({"": self.buffer.values})[""]
        return {str(key): snapshot[region.start : region.stop] for key, region in regions.items()}

    def state(self) -> dict[str, Tensor]:
        """All that changes from round to round, copied to the CPU; ``restore`` is its inverse."""
        state = {"parameters": self.buffer.values}
        for name, leaf in self.buffer.leaves.items():
            if (momentum := self.optimiser.state[leaf].get("momentum_buffer")) is not None:
                state[f"momentum/{name}"] = momentum
        state |= {f"buffer/{name}": buffer for name, buffer in self.model.named_buffers()}
        return to_host(state)

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a ``state`` of the same model: parameters, momentum and buffers."""
        fill(self.model, self.buffer, state)
        for name, leaf in self.buffer.leaves.items():
            self.optimiser.state[leaf].clear()
            if (momentum := state.get(f"momentum/{name}")) is not None:
                self.optimiser.state[leaf]["momentum_buffer"] = momentum.to(leaf.device, copy=True)


def _on(data: Dataset, device: torch.device) -> Dataset:
    inputs = {m: x.to(device) for m, x in data.inputs.items()}
    present = {m: there.to(device) for m, there in data.present.items()}
    weights = None if data.weights is None else data.weights.to(device)
    return replace(data, inputs=inputs, targets=data.targets.to(device), present=present, weights=weights)
