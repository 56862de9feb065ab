"""The accuracy of each agent by itself."""

from collections.abc import Mapping

from parse_p2p.config.run_plan import RunPlan
from parse_p2p.runtime.agent_state import AgentState


def measure(plan: RunPlan, agent_states: Mapping[str, AgentState]) -> dict[str, float]:
    """By the agent's id."""
    return {me: agent_states[me].learner.evaluate()["accuracy"] for me in plan.peers}
