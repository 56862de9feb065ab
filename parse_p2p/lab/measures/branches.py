"""What a slice is worth: accuracy by agent type with one branch dropped at inference, and with one alone."""

import statistics
from collections.abc import Mapping

from parse_p2p.config.run_plan import RunPlan
from parse_p2p.runtime.agent_state import AgentState


def measure(plan: RunPlan, agent_states: Mapping[str, AgentState]) -> dict[str, float]:
    """``TYPE without BRANCH`` and ``TYPE, BRANCH alone``: mean accuracy over the agents of a type."""
    found: dict[str, list[float]] = {}
    for me in plan.peers:
        kind = plan.kind(me, plan.run.rounds - 1)
        for branch, scores in agent_states[me].learner.branch_accuracy().items():
            found.setdefault(f"{kind}, {branch} alone", []).append(scores["alone"])
            if "dropped" in scores:
                found.setdefault(f"{kind} without {branch}", []).append(scores["dropped"])
    return {name: statistics.mean(values) for name, values in found.items()}
