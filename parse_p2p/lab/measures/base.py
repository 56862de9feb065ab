"""What a measure of the rounds of a run is: a class where other measures are functions of how agents end."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from parse_p2p.config.run_plan import RunPlan
from parse_p2p.runtime.agent_state import AgentState


class OfRounds(ABC):
    """Made before the first round, and told of each; a module that has one as ``measure`` is a measure."""

    def __init__(self, plan: RunPlan, agent_states: Mapping[str, AgentState]) -> None:
        self.plan = plan
        self.agent_states = agent_states

    @abstractmethod
    def after(self, round: int) -> None:
        """A round is over, for all agents that are there in it."""

    @abstractmethod
    def found(self) -> Mapping[str, float]:
        """Numbers by name, after the last round."""
