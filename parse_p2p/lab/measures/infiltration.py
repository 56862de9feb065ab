"""What each modality of the coordinator's model is worth by itself, and its spread over the classes (B13)."""

from collections.abc import Mapping

from parse_p2p.config.run_plan import RunPlan
from parse_p2p.methods import fedcmi
from parse_p2p.runtime.agent_state import AgentState


def measure(plan: RunPlan, agent_states: Mapping[str, AgentState]) -> dict[str, float]:
    """Nothing where there is no coordinator, another network, or a task without classes."""
    if plan.coordinator is None or not plan.schema.solved.one_class or plan.run.model.network != "infiltration":
        return {}
    learner = agent_states[plan.coordinator].learner
    said = fedcmi.predictions(learner)
    spreads = {f"spread.{name}": fedcmi.spread(logits, learner.test.targets) for name, logits in said.items()}
    return {**fedcmi.accuracies(learner), **spreads}
