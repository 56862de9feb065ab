"""How good a model is on labelled samples: the one place where its figures are computed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch.nn.functional import cross_entropy

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import Modality
from parse_p2p.data.base import Dataset
from parse_p2p.data.label_spaces import seen_as
from parse_p2p.data.schema import conform
from parse_p2p.serving.trained import TrainedModel


@dataclass(frozen=True)
class Scores:
    """Figures of one model on one data set.

    ``cross_entropy`` is in nats; ``classes`` has the rows of each class that there are, and the accuracy on those;
    ``modalities`` are those that the samples were seen through.
    """

    agent: str
    round: int
    modalities: tuple[Modality, ...]
    rows: int
    accuracy: float
    cross_entropy: float
    classes: dict[str, tuple[int, float]]

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        classes = {name: {"rows": rows, "accuracy": accuracy} for name, (rows, accuracy) in self.classes.items()}
        return {**vars(self), "modalities": list(self.modalities), "classes": classes}


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
        raise ConfigError(f"{whose}: there are no samples of the classes of {about.agent}: {', '.join(model.classes)}")
    return _scores(model, samples, there)


def _scores(model: TrainedModel, samples: Dataset, modalities: Sequence[Modality]) -> Scores:
    logits = model.logits(samples.inputs, samples.present)
    right = samples.chances(logits.argmax(1))
    nats = cross_entropy(logits, samples.targets)
    classes = {}
    for k in sorted(set(samples.targets.tolist())):
        mine = right[samples.targets == k]
        classes[model.classes[k]] = (len(mine), float(mine.mean()))
    return Scores(
        model.description.agent, model.round, tuple(modalities), len(samples), float(right.mean()), float(nats), classes
    )
