"""What agents take of the nodes of a cluster, as a run file says it."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Share(BaseModel):
    """What an agent takes of a node."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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
