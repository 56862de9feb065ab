"""How good a model is on labelled samples: the one place where its figures are computed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import Modality
from parse_p2p.data.base import Dataset
from parse_p2p.data.label_spaces import seen_as
from parse_p2p.data.schema import conform
from parse_p2p.data.tasks.base import Task
from parse_p2p.serving.trained import TrainedModel


@dataclass(frozen=True)
class Scores:
    """Figures of one model on one data set.

    ``score`` and ``loss`` are those of the task, accuracy and cross-entropy in nats of classification; ``outputs`` has
    what the task says of each class that there is, or label or output; ``modalities`` are those that the samples were
    seen through.
    """

    agent: str
    round: int
    modalities: tuple[Modality, ...]
    rows: int
    task: Task
    score: float
    loss: float
    outputs: dict[str, dict[str, float]]

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        seen = {"agent": self.agent, "round": self.round, "modalities": list(self.modalities), "rows": self.rows}
        return {**seen, self.task.key: self.score, self.task.loss_key: self.loss, self.task.names: self.outputs}


def evaluate(model: TrainedModel, dataset: Dataset, whose: str) -> Scores:
    """How good the model is on these samples, as they were measured, seen through the modalities that both have.

    ``whose`` begins every sentence. Raises ConfigError where the samples are not what the model was trained on, and
    where there are none of its classes.
    """
    about = model.description
    there = [m for m in model.modalities if m in dataset.modalities] or list(model.modalities)
    samples = conform(dataset, about.data_schema, there, whose).sensed()
    if about.task is not None:
        samples = seen_as(about.task, samples)
    if not len(samples):
        raise ConfigError(
            f"{whose}: there are no samples of the {model.task.several} of {about.agent}: {', '.join(model.classes)}"
        )
    return _scores(model, samples, there)


def _scores(model: TrainedModel, samples: Dataset, modalities: Sequence[Modality]) -> Scores:
    logits = model.logits(samples.inputs, samples.present)
    task, every = samples.task, torch.arange(len(samples))
    return Scores(
        model.description.agent,
        model.round,
        tuple(modalities),
        len(samples),
        task,
        task.scored(samples, logits, every),
        float(task.loss(logits, samples.targets)),
        task.details(samples, logits, model.classes),
    )
