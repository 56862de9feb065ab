"""One agent's learning: model, optimiser and data, trained by loss terms that a method passes in.

Every draw of a round comes from a generator seeded by (seed, agent, round), so that a resumed run draws what an
uninterrupted one would have drawn and no generator's state has to be kept.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Annotated, Any, Literal, Self, TypeVar

import torch
from pydantic import Field, model_validator
from torch import Tensor

from parse_p2p.core import plugins
from parse_p2p.core.errors import ConfigError, Interrupted, TrainingError
from parse_p2p.core.events import SCORE
from parse_p2p.core.plugin_options import Named, OptionsBeside, refused
from parse_p2p.core.rng import seeded
from parse_p2p.core.slices import Holder, Region
from parse_p2p.core.types import Modality, PeerId
from parse_p2p.data.base import Batch, Dataset, evened, prior_of, relative
from parse_p2p.data.streams import Stream
from parse_p2p.learning.metrics import base as metrics_of
from parse_p2p.learning.metrics.base import Metric, Predictions
from parse_p2p.learning.noise import Noise
from parse_p2p.learning.optimisers import memory
from parse_p2p.learning.optimisers.base import Optimiser
from parse_p2p.learning.schedules.base import Schedule
from parse_p2p.learning.transfer import to_host
from parse_p2p.models.base import Network, Outputs
from parse_p2p.models.parameter_buffer import ParameterBuffer, fill
from parse_p2p.models.weighting.base import Weigher, joined

LossTerm = Callable[[Network, Batch, Outputs], Tensor]
"""A function of (network, batch, outputs) giving a scalar to be minimised; the sum of a round's terms is the loss."""

Adjust = Callable[[ParameterBuffer], None]
"""A change to the gradients of a step, made in place in the buffer's ``grads`` (size,)."""

K = TypeVar("K")

EVALUATION_BATCH = 4096

FEDERATION = "federation"
"""As ``class_weights``: samples come weighed by how frequent their classes are among all agents."""

BATCH_NORM = torch.nn.modules.batchnorm._BatchNorm
"""The base of all layers that normalise over a batch, which has no public name."""


class Training(OptionsBeside):
    """Local steps of one round, and beside them the options of optimiser and schedule."""

    lr: float = Field(0.05, gt=0, allow_inf_nan=False, description="learning rate, before its schedule")
    batch: int = Field(32, ge=1, description="samples in a minibatch")
    epochs: int = Field(1, ge=1, description="passes over the agent's data in a round")
    clip: float = Field(5.0, gt=0, description="largest norm of a gradient")
    class_weights: Literal["none", "balanced", "federation"] = Field(
        "none",
        description="balanced: in the loss each class of an agent's samples weighs as much as any other; federation: "
        "each class of all agents' samples, whose counts they agree on",
    )
    prior: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="strength with which the logits of local steps are corrected for how much more frequent each "
        "class is at an agent than among all, whose counts they agree on",
    )
    autocast: Literal["none", "bf16"] = Field(
        "none", description="bf16: forward passes of local steps in bfloat16 where that is safe"
    )
    optimiser: Annotated[str, Named(plugins.OPTIMISERS)] = Field(
        "sgd", description="sgd, adam, adamw, or a class such as torch.optim.RMSprop, its arguments beside"
    )
    schedule: Annotated[str, Named(plugins.SCHEDULES)] = Field(
        "cosine", description="learning rate over the rounds: cosine, constant …, or a class of torch's"
    )
    warmup: int = Field(0, ge=0, description="rounds at the beginning over which the learning rate grows, linearly")

    @model_validator(mode="after")
    def _corrected_once(self) -> Self:
        if self.prior and self.class_weights == "balanced":
            raise refused("prior", "class_weights: balanced makes each agent's classes alike; take federation, or none")
        return self

    @property
    def counts_classes(self) -> bool:
        """Whether the agents count their classes together."""
        return self.class_weights == FEDERATION or self.prior > 0

    def of_all(self, train: Dataset, frequencies: Tensor | None) -> Dataset:
        """Training samples with what follows from how frequent each class is among all agents, (C,)."""
        if frequencies is None:
            return train
        if self.class_weights == FEDERATION:
            train, frequencies = evened(train, frequencies), (frequencies > 0) / (frequencies > 0).sum().clamp(min=1)
        return replace(train, frequencies=frequencies) if self.prior else train

    @property
    def stepping(self) -> Optimiser:
        """The optimiser with its options."""
        optimiser: Optimiser = self.chosen("optimiser")
        return optimiser

    def rate(self, round: int, rounds: int) -> float:
        """The learning rate of a round."""
        schedule: Schedule = self.chosen("schedule")
        after = max(0, round - self.warmup)
        full = schedule.rate(self.lr, after, max(1, rounds - self.warmup))
        found = full if round >= self.warmup else full * (round + 1) / (self.warmup + 1)
        if not 0 <= found < math.inf:
            raise ConfigError(
                f"train.schedule: {self.schedule} gives the learning rate {found} in round {round} of {rounds}: give "
                "arguments that keep it a number from 0"
            )
        return found


@dataclass(frozen=True)
class Judgement:
    """What a model is worth on N samples that it was not trained on: the task's score, the mean loss, and ``errors``.

    ``errors`` are those of each sample, float64 (N,) from 0 to 1 and on the CPU, see ``Task.errors``.
    """

    score: float
    loss: float
    errors: Tensor


@dataclass(frozen=True)
class Said:
    """What a model says of N samples: ``logits`` (N, C); ``nats`` is the sum of their losses.

    ``known`` (N,) are the samples of which it says something, at least one.
    """

    data: Dataset
    logits: Tensor
    known: Tensor
    nats: float

    @property
    def accuracy(self) -> float:
        """The score of the task, which is the accuracy where a sample has one class."""
        return self.accuracy_of(self.known)

    def accuracy_of(self, rows: Tensor) -> float:
        """Likewise of some samples."""
        return self.data.task.scored(self.data, self.logits, rows)

    @property
    def loss(self) -> float:
        """The mean loss, cross-entropy in nats or that of another task."""
        return self.nats / int(self.known.sum())


@dataclass(frozen=True)
class Objective:
    """What a step is for, by its name; a method may have others beside the task.

    ``weight`` is a factor on the steps, taken after the gradient is clipped: of gradient descent it is the weight of
    the loss, and optimisers that see no scale (Adam) heed it too. As it goes to zero so does all that a step changes:
    decay of weights is the task's alone. Without ``momentum`` each step is that of its own gradient, as suits a game
    of two sides, which momentum keeps from settling (Gidel et al., arXiv 1807.04740).
    """

    name: str
    weight: float = 1.0
    momentum: bool = True

    def settings(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """What differs for it in a parameter group of the run's optimiser."""
        quiet: dict[str, Any] = {} if self.momentum else {"momentum": 0.0, "betas": (0.0, *group.get("betas", ())[1:])}
        wanted = {"lr": self.weight * group["lr"], "weight_decay": 0.0} | quiet
        return {key: value for key, value in wanted.items() if key in group}


TASK = Objective("")


class Learner:
    """One agent's model, optimiser and data: it trains on loss terms, cuts snapshots to send, and evaluates.

    ``model`` is the network, ``buffer`` all its parameters, flat and on ``buffer.values.device``. ``data`` are the
    training samples, of a stream those seen so far, and ``held`` others, kept to fit what weighs predictions; ``test``
    is the test set, ``common`` one that all agents have beside it; ``holder`` is what sharing tables see;
    ``seed`` is the run's; ``metrics`` are evaluated beside accuracy. Raises ConfigError where the
    package of the metrics is missing.
    """

    def __init__(self, me: PeerId, model: Network, train: Dataset, test: Dataset, options: Training, seed: int,
                 device: torch.device, stream: Stream | None = None,
                 metrics: Sequence[Metric] = (), validation: Dataset | None = None,
                 held: Dataset | None = None, common: Dataset | None = None) -> None:  # fmt: skip
        if metrics:
            metrics_of.check()
        self.me = me
        self.metrics = metrics
        self.model = model.to(device)
        self.buffer = ParameterBuffer(model.components(), device)
        self.options = options
        self.seed = seed
        self.learn_from(train, test, stream, validation, held, common)
        self.holder = Holder(me, tuple(sorted(train.modalities)), self.buffer.regions, model.dimensions)
        self.optimiser = self._optimiser(self.buffer.leaves)
        self.optimisers = {TASK.name: self.optimiser}  # by objective; others are made when they are first stepped on
        self.rate = options.lr  # of this round, before a method's own factors
        self._start: Tensor | None = None  # the parameters at the round's start, for an optimiser that looks back
        self._rates: dict[str, float] = {}  # the sum of the learning rates of each component's steps since then
        self.halted = False  # set from another thread to end training at the next step
        self.brief = False  # set where only what is sent matters: each pass over data ends with its first minibatch
        self._draw = seeded(seed, me, 0)
        self._noise = Noise(device, seed, me, 0)
        self._round = 0

    def learn_from(
        self,
        train: Dataset,
        test: Dataset,
        stream: Stream | None = None,
        validation: Dataset | None = None,
        held: Dataset | None = None,
        common: Dataset | None = None,
    ) -> None:
        """Take these samples from now on; of a stream, those it begins with."""
        device = self.buffer.values.device
        self.train_on(train)
        self.test = _on(test, device)
        self.validation = None if validation is None else _on(validation, device)
        self.held = None if held is None else _on(held, device)
        self.common = None if common is None else _on(common, device)
        self.stream = stream
        self.others = None if stream is None else _on(stream.others, device)

    def train_on(self, train: Dataset) -> None:
        """Train on these samples from now on. Raises ConfigError where their weights are all 0."""
        self.data = _on(self._weighed(train, self.options), self.buffer.values.device)

    def begin(self, round: int, rounds: int) -> None:
        """Set the draws, the learning rate and, from a stream, the data of a round."""
        if self.stream is not None:
            self.train_on(self.stream.at(round))
        self._draw = seeded(self.seed, self.me, round)
        self._noise = Noise(self.buffer.values.device, self.seed, self.me, round)
        self._round = round
        self.rate = self.options.rate(round, rounds)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate

    def look_ahead(self) -> None:
        """Note where the parameters are before a round's script, for ``look_back``."""
        if self.options.stepping.looks_back:
            self._start = self.buffer.values.clone()
            self._rates = dict.fromkeys(self.buffer.leaves, 0.0)

    @torch.no_grad()
    def look_back(self) -> None:
        """Tell the optimiser how the round moved what was stepped in it, but for steps of other objectives.

        See ``Optimiser.after_round``.
        """
        if self._start is None:
            return
        moved = self._start - self.buffer.values
        stepped = {name: rates for name, rates in self._rates.items() if rates}
        regions = {name: self.buffer.regions[name] for name in stepped}
        parts = {name: moved[region.start : region.stop].clone() for name, region in regions.items()}
        self.options.stepping.after_round(self.optimiser, parts, stepped)
        self._start = None

    def _weighed(self, data: Dataset, options: Training) -> Dataset:
        """With weights of mean 1, so that they change what counts and not how large the steps are."""
        if not len(data) or (data.weights is None and options.class_weights == "none"):
            return data
        weights = data.weighed().double()  # whose sum may be beyond float32
        if options.class_weights == "balanced":
            counts = torch.zeros(data.classes, dtype=torch.float64).index_add(0, data.targets, weights)
            weights = weights / torch.where(counts > 0, counts, 1.0)[data.targets]
        if not bool(weights.sum() > 0):
            raise ConfigError(f"the weights of the training samples of {self.me} are all 0: give some a weight")
        return replace(data, weights=relative(weights).float())

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
        prior = self._prior(chosen)
        for rows in torch.tensor_split(order, math.ceil(len(chosen) / self.options.batch)):
            yield chosen.batch(rows) if prior is None else replace(chosen.batch(rows), prior=prior)
            if self.brief:
                return

    def _prior(self, data: Dataset) -> Tensor | None:
        """What losses add to the logits, (C,), where they are corrected for how frequent classes are here."""
        if not self.options.prior or data.frequencies is None:
            return None
        return (self.options.prior * prior_of(data)).float().to(data.targets.device)

    def step(
        self,
        loss: Callable[[], Tensor],
        adjust: Adjust | None = None,
        only: Callable[[str], bool] | None = None,
        objective: Objective = TASK,
    ) -> Tensor:
        """One step down the gradient of ``loss()``; the loss, detached and before its weight.

        Each ``objective`` has an optimiser of its own, so that none runs on the momentum of another.

        With ``train.autocast: bf16`` the loss is computed under autocast. Parameters, their gradients and the steps
        are float32 all the same, and so is all that is computed outside of steps: evaluation, embeddings.
        ``adjust`` may change the gradients before they are clipped. ``only`` chooses by its name which components
        are stepped; the others, and what the optimiser keeps of them, stay as they are. Raises Interrupted once halted.
        """
        if self.halted:
            raise Interrupted(f"the training of {self.me} was stopped")
        self.buffer.grads.zero_()
        autocast = torch.autocast(
            self.buffer.values.device.type, torch.bfloat16, enabled=self.options.autocast == "bf16"
        )
        with self._noise.drawn(), autocast:
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
        self._stepped(objective, resting)
        for name in resting:
            region = self.buffer.regions[name]
            self.buffer.leaves[name].grad = self.buffer.grads[region.start : region.stop]
        return value.detach()

    @torch.no_grad()
    def _stepped(self, objective: Objective, resting: Collection[str]) -> None:
        """A step of the optimiser; of what it does for other objectives than the task ``look_back`` sees nothing."""
        optimiser = self._stepping(objective)
        if self._start is None:
            optimiser.step()
        elif objective.name == TASK.name:
            optimiser.step()
            for group in optimiser.param_groups:
                if group["component"] not in resting:
                    self._rates[group["component"]] += group["lr"]
        else:
            before = self.buffer.values.clone()
            optimiser.step()
            self._start += self.buffer.values - before

    def _optimiser(self, components: Collection[str]) -> torch.optim.Optimizer:
        """A new optimiser of these components."""
        groups = [{"params": [self.buffer.leaves[name]], "component": name} for name in components]
        return self.options.stepping.make(groups, self.options.lr)

    def optimiser_of(self, objective: str) -> torch.optim.Optimizer:
        """The optimiser of an objective, made where there is none yet."""
        if objective not in self.optimisers:
            self.optimisers[objective] = self._optimiser(self.buffer.leaves)
        return self.optimisers[objective]

    def _stepping(self, objective: Objective) -> torch.optim.Optimizer:
        """The optimiser of an objective, at this round's learning rates."""
        chosen = self.optimiser_of(objective.name)
        if chosen is not self.optimiser:
            for mine, common in zip(chosen.param_groups, self.optimiser.param_groups, strict=True):
                mine |= objective.settings(common)
        return chosen

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
            with _single(self.model) if len(part) == 1 else nullcontext():
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
        result: Outputs = self.model(data.in_memory())
        return result

    @torch.no_grad()
    def learn_weights(self, broken: Collection[Modality] = ()) -> None:
        """Learn what weighs predictions, from the training samples and how the network sees them now.

        Without the modalities that are ``broken``, of which this round's samples show nothing.
        """
        weigher, data = self.model.weighting, self.data
        if not isinstance(weigher, Weigher) or not len(data):
            return
        weigher.count(data)
        if type(weigher).learn is Weigher.learn:  # it does not look at latents
            return
        self.model.eval()
        seen: dict[Modality, list[Tensor]] = {}
        with Noise(self.buffer.values.device, self.seed, self.me, self._round, "weighting").drawn():
            for rows in torch.split(torch.arange(len(data), device=data.targets.device), EVALUATION_BATCH):
                for _, part in data.batch(rows).parts():
                    for m, x in joined(self.model(part.inputs).latents).items():
                        seen.setdefault(m, []).append(x)
        weigher.learn({m: torch.cat(found) for m, found in seen.items() if m not in broken})

    @torch.no_grad()
    def fit_weights(self) -> None:
        """Fit what weighs predictions to the samples that are kept for it, where it asks for any."""
        weigher, held = self.model.weighting, self.held
        if not isinstance(weigher, Weigher) or held is None:
            return
        self.model.eval()
        with Noise(self.buffer.values.device, self.seed, self.me, self._round, "held out").drawn(), _one_thread():
            rows = torch.split(torch.arange(len(held), device=held.targets.device), EVALUATION_BATCH)
            prior = self._prior(self.data)  # that of training: a few samples say too little of how frequent classes are
            batches = [replace(held.batch(some), prior=prior) for some in rows]
            parts = [part for batch in batches for _, part in batch.parts()]
            weigher.fit([(self.model(part.inputs), part) for part in parts])

    @torch.no_grad()
    def evaluate(self, branches: Collection[str] | None = None) -> dict[str, float]:
        """Accuracy and cross-entropy (nats) on the test set, with all branches or some.

        Of other tasks than classification ``accuracy`` is their score and ``test_loss`` their loss.

        Where a closed form is known the accuracy is the expected one, see ``Dataset.chances``.
        The metrics of the run file stand beside them, by their names behind ``test/``, where all branches are taken,
        and so do accuracy and cross-entropy on ``validation``, where samples are kept for that. With a stream the test
        set is that of the agent's own tasks, and ``others`` the accuracy on all others'. Where samples lack a modality,
        ``test/accuracy-without-audio`` is that of those that lack audio, and ``test/accuracy-whole`` of those that lack
        none; ``test/accuracy-common`` is that on the test set that all agents have. Some branches are measured on the
        samples that have what one of them reads.
        """
        with Noise(self.buffer.values.device, self.seed, self.me, self._round, "evaluation").drawn():
            return self._evaluated(branches)

    @torch.no_grad()
    def judge(self, data: Dataset) -> Judgement:
        """What the model says of other samples than its own, as it is. Raises ConfigError where it can read none."""
        self.model.eval()
        with Noise(self.buffer.values.device, self.seed, self.me, self._round, "judgement").drawn():
            said = self._said(_on(data, self.buffer.values.device), None)
        errors = data.task.errors(said.logits[said.known], said.data.targets[said.known])
        return Judgement(said.accuracy, said.loss, errors.cpu())

    def _evaluated(self, branches: Collection[str] | None) -> dict[str, float]:
        self.model.eval()
        said = self._said(self.test, branches)
        found = {"accuracy": said.accuracy, "test_loss": said.loss}
        if self.others is not None:
            found["others"] = self._said(self.others, branches).accuracy
        if branches is not None:
            return found
        if self.validation is not None:
            kept = self._said(self.validation, branches)
            found |= {"validation": kept.accuracy, "validation_loss": kept.loss}
        return found | {f"{SCORE}{name}": value for name, value in self._scores(said) if math.isfinite(value)}

    def _scores(self, said: "Said") -> Iterator[tuple[str, float]]:
        """The metrics that are asked for, and the accuracy of samples by what they lack."""
        for missing, rows in self.test.lacking().items():
            which = f"without-{'+'.join(missing)}" if missing else "whole"
            yield f"{self.test.task.key}-{which}", said.accuracy_of(rows)
        if self.common is not None:
            yield f"{self.test.task.key}-common", self._said(self.common, None).accuracy
        if self.metrics:
            given = Predictions(self.test.task.said(said.logits), self.test.targets, self.test.class_names)
            for metric in self.metrics:
                yield from metric(given).items()

    def _said(self, data: Dataset, branches: Collection[str] | None) -> "Said":
        """What the model says of the samples that have what one of the branches reads.

        Raises ConfigError where none has.
        """
        device, nats = data.targets.device, 0.0
        logits = torch.zeros(len(data), data.classes, device=device)
        known = torch.zeros(len(data), dtype=torch.bool, device=device)
        for rows in torch.split(torch.arange(len(data), device=device), EVALUATION_BATCH):
            for at, part in data.batch(rows).parts():
                outputs = self.model(part.inputs)
                if data.present and not outputs.says(branches):
                    continue
                plain = branches is not None  # some branches are measured as they are
                found = outputs.logits(branches, data.task) if plain else self.model.prediction(outputs, data.task)
                logits[rows[at]], known[rows[at]] = found, True
                nats += float(data.task.loss(found, part.targets, "sum"))
        if not known.any():
            raise ConfigError(f"no sample of {self.me} has what {', '.join(branches or ())} reads")
        return Said(data, logits, known, nats)

    @torch.no_grad()
    def branch_accuracy(self) -> dict[str, dict[str, float]]:
        """Accuracy with one branch alone and with one dropped: shows what each is used for."""
        self.model.eval()
        alike = list(self.test.lacking().values()) or [torch.arange(1)]
        parts = [part for rows in alike for _, part in self.test.batch(rows[:1]).parts()]
        said = [self.model(part.inputs).branches for part in parts]
        names = list(dict.fromkeys(name for branches in said for name in branches))
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
        for objective, optimiser in self.optimisers.items():
            for component, kept in memory.read(optimiser).items():
                state |= {f"{_kept_as(objective)}{key}/{component}": tensor for key, tensor in kept.items()}
        state |= {f"buffer/{name}": buffer for name, buffer in self.model.changing_buffers().items()}
        return to_host(state | self._frozen)

    @cached_property
    def _frozen(self) -> dict[str, Tensor]:
        """Of the tensors that never change and are not kept, where there are any."""
        return self.model.frozen_digest()

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a ``state`` of the same model: parameters, the optimiser's memory and buffers.

        Raises ConfigError where a trunk is frozen as another than then.
        """
        if not self.model.frozen_as(state):
            raise ConfigError(
                f"{self.me}: its frozen trunk is not the one that the run began with: give it the same weights"
            )
        fill(self.model.changing_buffers(), self.buffer, state)
        others = {name.split("/")[1] for name in state if name.startswith(OBJECTIVE)}
        self.optimisers = {TASK.name: self.optimiser}
        self.optimisers |= {each: self._optimiser(self.buffer.leaves) for each in sorted(others)}
        for objective, optimiser in self.optimisers.items():
            kept: dict[str, dict[str, Tensor]] = {name: {} for name in self.buffer.leaves}
            where = _kept_as(objective)
            for path in (name.removeprefix(where).split("/", 2) for name in state if name.startswith(where)):
                kept[path[2]][f"{path[0]}/{path[1]}"] = state[where + "/".join(path)]
            memory.write(optimiser, kept)

    def forget(self, component: str) -> None:
        """Let the optimisers begin anew with a component, whose parameters were given other values."""
        for optimiser in self.optimisers.values():
            memory.write(optimiser, memory.read(self._optimiser([component])))


OBJECTIVE = "objective/"


def _kept_as(objective: str) -> str:
    """How the names begin, in a state, of what the optimiser of an objective remembers."""
    return "optimiser/" if objective == TASK.name else f"{OBJECTIVE}{objective}/"


@contextmanager
def _one_thread() -> Iterator[None]:
    """Of few samples sums differ in their last bit by how many threads share them; what is exchanged must not."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _single(model: Network) -> Iterator[None]:
    """Layers that normalise over a batch take the statistics they have for a batch of one sample, which has none."""
    norms = [layer for layer in model.modules() if isinstance(layer, BATCH_NORM) and layer.training]
    for layer in norms:
        layer.eval()
    try:
        yield
    finally:
        for layer in norms:
            layer.train()


def _on(data: Dataset, device: torch.device) -> Dataset:
    inputs = {m: x.to(device) for m, x in data.inputs.items()}
    present = {m: there.to(device) for m, there in data.present.items()}
    weights = None if data.weights is None else data.weights.to(device)
    return replace(data, inputs=inputs, targets=data.targets.to(device), present=present, weights=weights)
