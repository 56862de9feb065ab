"""How well a linear probe tells clients' representations of the public items from the coordinator's (A13)."""

import statistics
from collections.abc import Mapping

from parse_p2p.config.run_plan import World
from parse_p2p.core.rng import seeded
from parse_p2p.methods.public_data.base import represent
from parse_p2p.methods.public_data.ensemble import separability
from parse_p2p.runtime.agent_state import Participant


def measure(world: World, participants: Mapping[str, Participant]) -> dict[str, float]:
    """Nothing where there is no coordinator with public data and embeddings."""
    hub = world.coordinator
    if hub is None or world.public is None or world.run.model.network != "embedding":
        return {}
    inputs = participants[hub].learner.data.inputs
    theirs, found = represent(participants[hub].learner, inputs), []
    for me in world.peers:
        mine = represent(participants[me].learner, inputs)
        found += [separability(u, theirs[m], seeded("probe", me, m)) for m, u in mine.items()]
    return {"separability": statistics.mean(found)}
