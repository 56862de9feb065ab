"""How well a linear probe tells clients' representations of the public items from the coordinator's (A13)."""

import statistics
from collections.abc import Mapping

from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.rng import seeded
from parse_p2p.methods.public_data.base import represent
from parse_p2p.methods.public_data.ensemble import separability
from parse_p2p.runtime.agent_state import AgentState


def measure(plan: RunPlan, agent_states: Mapping[str, AgentState]) -> dict[str, float]:
    """Nothing where there is no coordinator with public data and embeddings."""
    hub = plan.coordinator
    if hub is None or agent_states[hub].public is None or plan.run.model.network != "embedding":
        return {}
    inputs = agent_states[hub].learner.data.in_memory()
    theirs, found = represent(agent_states[hub].learner, inputs), []
    for me in plan.peers:
        mine = represent(agent_states[me].learner, inputs)
        found += [separability(u, theirs[m], seeded("probe", me, m)) for m, u in mine.items()]
    return {"separability": statistics.mean(found)}
