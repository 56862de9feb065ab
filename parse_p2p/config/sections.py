"""The sections of a run file that only its readers know: its graph, agents, data and what they take of a host."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from parse_p2p.discovery.addresses import agent_address, binding

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"

Entrance = Annotated[str, AfterValidator(agent_address)]
Binding = Annotated[str, AfterValidator(binding)]


class Section(BaseModel):
    """Every key has to be known."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GraphEntry(Section):
    """The graph: a generator by name, or its edges, or a file; exactly one of them."""

    generator: str | None = Field(None, description="a family such as ring, or a networkx generator")
    args: dict[str, Any] = Field(default_factory=dict, description="the generator's arguments")
    edges: list[tuple[str, str]] | None = Field(None, description="pairs of agents")
    directed: bool = Field(
        False, description="edges go one way, from the first agent to the second: for push-sum; of a file it says which"
    )
    edge_weights: list[float] | None = Field(None, description="of the edges, in their order, for weights: given")
    file: str | None = Field(None, description="GraphML, GEXF, an edge list or node-link JSON, beside this file")
    nodes: list[str] | None = Field(None, description="the names in edges, where the file has others than the agents")


class AgentEntry(Section):
    """One agent; what it leaves out is the run's."""

    id: str = Field(pattern=NAME, description="its name, different from all others")
    modalities: list[str] | None = Field(None, min_length=1, description="a coordinator has those of all its clients")
    encoders: dict[str, dict[str, Any]] = Field(default_factory=dict, description="changes to model.encoder")
    model: dict[str, Any] = Field(default_factory=dict, description="changes to model")
    data: dict[str, Any] | None = Field(None, description="its own source, as {path: site3.csv}; changes to data")
    test_data: dict[str, Any] | None = Field(None, description="changes to its data, to test with; none: a share")
    task: str | None = Field(None, description="one of tasks; none: all classes of the data set")
    address: Entrance | None = Field(None, description="tcp://host:port, where others dial it; port + 1 is taken too")
    bind: Binding | None = Field(None, description="IP address of its host that it listens on; none: address's host")
    dial_only: bool = Field(False, description="it dials the others and nobody dials it, as behind NAT")
    device: str | None = Field(None, description="none: the device of the run")
    role: Literal["peer", "coordinator"] = Field("peer", description="a coordinator holds no data of its own")

    @model_validator(mode="after")
    def _senses_something(self) -> Self:
        if self.modalities is None and self.role == "peer":
            raise ValueError(f"agent {self.id} needs modalities, such as [audio], or the role coordinator")
        return self

    @model_validator(mode="after")
    def _dial_only_or_listening(self) -> Self:
        if self.dial_only and (self.address or self.bind):
            raise ValueError(f"agent {self.id} dials and nobody dials it: it needs no address and no bind")
        return self


class MixEntry(Section):
    """Agents by type: how many of each, and how they are placed on the graph."""

    mix: dict[str, int] = Field(description="how many agents have each modality, as audio, or several, as audio+motion")
    placement: str = Field("alternating", description="how types lie on the graph: alternating, blocks or random")
    data: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="own sources of agents, as {a3: {path: site3.csv}}; changes to data"
    )
    tasks: list[str] = Field(default_factory=list, description="dealt in turn to the agents of each type")
    coordinator: str | None = Field(None, pattern=NAME, description="one agent more, for centralised methods")


class PartitionEntry(Section):
    """How the training samples are dealt to the agents."""

    kind: str = Field("iid", description="iid, dirichlet (label skew) or group (natural clients)")
    alpha: float = Field(0.3, gt=0, description="concentration of dirichlet: the smaller, the more skewed")


class PublicEntry(Section):
    """The coordinator's data set, for methods that need one: a share of the data set kept apart, or a named set."""

    share: float | None = Field(None, gt=0, lt=1, description="share of the training samples, kept from all agents")
    dataset: str | None = Field(None, description="a named set, scaled by itself")
    data: dict[str, Any] = Field(default_factory=dict, description="the named data set's options")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.share is None) == (self.dataset is None):
            raise ValueError("give exactly one of share and dataset")
        return self


class CheckpointEntry(Section):
    """How often an agent saves its state."""

    every: int = Field(1, ge=1, description="rounds between two checkpoints")


class Share(Section):
    """What an agent takes of a node of a cluster."""

    cpus: float = Field(1.0, ge=0, description="cores")
    gpus: float = Field(0.0, ge=0, description="GPUs; below 1 a share of one")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.gpus > 1 and self.gpus % 1:
            raise ValueError(f"more than one GPU are whole ones: {self.gpus:g} cannot be had")
        return self


class ResourcesEntry(Share):
    """What each agent takes, and those that take something else."""

    agents: dict[str, Share] = Field(default_factory=dict, description="in place of that, as {hub: {cpus: 4}}")
