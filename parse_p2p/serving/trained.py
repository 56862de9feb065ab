"""A trained agent as something to be asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, overload

import torch
from numpy.typing import NDArray
from torch import Tensor

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import Modality
from parse_p2p.data.base import Batch, Present, Scale
from parse_p2p.data.lazy import Input
from parse_p2p.data.tasks.base import Task
from parse_p2p.data.tokenizer import Tokenizer
from parse_p2p.launch.kept_data import scale_of
from parse_p2p.learning.learner import EVALUATION_BATCH
from parse_p2p.models.base import Network
from parse_p2p.models.encoder import drawing
from parse_p2p.serving.description import Description
from parse_p2p.serving.inputs import checked

EVERYWHERE: Present = {}
"""All samples have all modalities that are given."""


@dataclass(frozen=True, eq=False, repr=False)
class TrainedModel:
    """The model of one agent after some round: inputs as they were measured go in, probabilities or numbers come out.

    ``network`` is the torch module, on the CPU; it reads inputs that ``scaled`` made. ``description`` says what there
    is to know beside its tensors. ``tokenizers`` are those of the modalities that it may be asked about in texts.
    """

    description: Description
    network: Network
    tokenizers: Mapping[Modality, Tokenizer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.network.eval().requires_grad_(False)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, labels or numbers, in the order of what ``predict`` gives."""
        return self.description.classes

    @property
    def task(self) -> Task:
        """What the model does: classification, multi-label or regression."""
        return self.description.solved

    @property
    def modalities(self) -> dict[Modality, tuple[int, ...]]:
        """What the model reads: the shape of one sample of each modality."""
        return {m: each.shape for m, each in self.description.data_schema.modalities.items()}

    @property
    def round(self) -> int:
        """After how many rounds this is the model."""
        return self.description.round

    @cached_property
    def scales(self) -> dict[Modality, Scale]:
        """What inputs are scaled by, as the agent's own samples were."""
        return {m: scale_of(self.description.scale[m], shape) for m, shape in self.modalities.items()}

    @overload
    def predict(self, inputs: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None) -> Tensor:
        """A tensor of tensors."""

    @overload
    def predict(self, inputs: Mapping[str, Any], present: Mapping[str, Any] | None = None) -> NDArray[Any]:
        """An array of arrays and texts."""

    def predict(self, inputs: Mapping[str, Any], present: Mapping[str, Any] | None = None) -> Any:
        """The probability of each class or label, float32 (N, classes): an array, or a tensor where any input is one.

        Of regression the numbers, in their own units.

        ``inputs[m]`` are N samples (N, *shape of m), as they were measured: they are scaled here. Any of the model's
        modalities are enough; where some samples lack one, ``present[m]``, bool (N,), says which have it. Of tokens
        they are ids, whole numbers, or N texts where the model has its tokenizer. Raises ConfigError, naming the
        modality, for anything that a model could not have learnt from.
        """
        x, there = checked(inputs, self.description.data_schema.modalities, present, self.tokenizers)
        found: Any = self.task.said(self.logits(x, there))
        tensor = next((each for each in inputs.values() if isinstance(each, Tensor)), None)
        return found.numpy() if tensor is None else found.to(tensor.device)

    def labels(self, inputs: Mapping[str, Any], present: Mapping[str, Any] | None = None) -> list[Any]:
        """The name of the likeliest class of each sample, or the list of its labels; asked of as ``predict`` is.

        Raises ConfigError for regression.
        """
        return self.task.named(torch.as_tensor(self.predict(inputs, present)), self.classes)

    def scaled(self, inputs: Mapping[Modality, Tensor]) -> dict[Modality, Tensor]:
        """Inputs as the network reads them: float32 (N, *shape), scaled; tokens as they are."""
        return {m: self.scales[m](x) for m, x in inputs.items()}

    @torch.no_grad()
    def logits(self, inputs: Mapping[Modality, Input], present: Present = EVERYWHERE) -> Tensor:
        """What is behind ``predict``, (N, classes), of inputs that are known to be right, float32 or ids."""
        self._refuse_some([m for m in inputs if m not in present])
        rows = len(next(iter(inputs.values())))
        found = torch.empty(rows, len(self.classes))
        for start in range(0, rows, EVALUATION_BATCH):
            some = slice(start, start + EVALUATION_BATCH)
            batch = Batch(_cut(inputs, some), found[some], _cut(present, some), task=self.task)
            for at, part in batch.parts():
                with drawing("prediction"):  # of a module that draws numbers even when it is not trained
                    found[some][at] = self.network.prediction(self.network(self.scaled(part.inputs)), self.task)
        if not bool(found.isfinite().all()):
            raise ConfigError("inputs: the model has no number for some rows, whose values are too large for it")
        return found

    def _refuse_some(self, given: Sequence[Modality]) -> None:
        lacking = [m for m in self.modalities if m not in given]
        if lacking and not self.network.reads_some:
            raise ConfigError(
                f"inputs: {', '.join(map(repr, lacking))} is missing, and the network "
                f"{self.description.model.network!r} reads all of its modalities: {', '.join(self.modalities)}"
            )

    def __repr__(self) -> str:
        about = self.description
        what = f"{about.agent} of {about.run.name} after {about.round} rounds of {about.run.method}"
        return f"<{what}: {'+'.join(self.modalities)} to {len(self.classes)} {self.task.several}>"


def _cut(tensors: Mapping[Modality, Input], rows: slice) -> dict[Modality, Tensor]:
    return {m: x[rows] for m, x in tensors.items()}
