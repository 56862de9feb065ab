"""The accuracy of each agent by itself."""

from collections.abc import Mapping

from parse_p2p.config.run_plan import World
from parse_p2p.runtime.agent_state import Participant


def measure(world: World, participants: Mapping[str, Participant]) -> dict[str, float]:
    """By the agent's id."""
    return {me: participants[me].learner.evaluate()["accuracy"] for me in world.peers}
