"""How fast agents learn in each round: what every schedule of the learning rate promises."""

from pydantic import BaseModel, ConfigDict


class Schedule(BaseModel):
    """A schedule's options: a plug-in is a file in this folder whose ``SCHEDULE`` is a class derived from this one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def rate(self, lr: float, round: int, rounds: int) -> float:
        """The learning rate of a round, from 0, of so many; by these alone, so that a resumed run has the same."""
        raise NotImplementedError
