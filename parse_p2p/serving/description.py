"""What there is to know of a trained agent beside its tensors: its network, what goes in and what comes out."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from parse_p2p.core import plugins
from parse_p2p.core.types import Modality
from parse_p2p.data.label_spaces import TaskOptions, class_names
from parse_p2p.data.schema import DataSchema
from parse_p2p.data.tasks.base import Task
from parse_p2p.launch.kept_data import AppliedScale
from parse_p2p.models.base import Build, ModelOptions, Network
from parse_p2p.models.encoder import EncoderOptions
from parse_p2p.models.weighting.base import weigh


class RunFacts(BaseModel):
    """The run that an agent was trained in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    digest: str
    method: str
    dataset: str
    seed: int
    rounds: int
    agents: int


class Measured(BaseModel):
    """How good a model was on the agent's own test samples, by its log."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    accuracy: float = Field(description="of classification; the score of another task")
    test_loss: float | None = Field(None, description="mean cross-entropy in nats, or the loss of another task")


class Description(BaseModel):
    """A trained agent but for its tensors; with them it can be built anywhere."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    version: str = Field(description="of the package that wrote it")
    agent: str
    round: int = Field(ge=0, description="after so many rounds")
    run: RunFacts
    data_schema: DataSchema = Field(description="of the modalities that the model reads, and all classes or outputs")
    task: TaskOptions | None = Field(None, description="the label space of the agent, where it has one of its own")
    scale: dict[Modality, AppliedScale | None] = Field(description="what inputs are scaled by; none: as they are")
    model: ModelOptions
    encoders: dict[Modality, EncoderOptions]
    measured: Measured | None = None

    @property
    def solved(self) -> Task:
        """What the model does."""
        return self.data_schema.solved

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, labels or numbers that the model puts out, in the order of its outputs."""
        names = self.data_schema.names
        return names if self.task is None else class_names(self.task, names)

    def network(self) -> Network:
        """The network with any values. Raises ConfigError where it cannot be built."""
        build: Build = plugins.load(plugins.NETWORKS, self.model.network)
        shapes = self.data_schema.shapes(list(self.data_schema.modalities))
        network = build(shapes, len(self.classes), self.model, self.encoders)
        return weigh(network, shapes, self.model.weighting, self.model.chosen("weighting"))
