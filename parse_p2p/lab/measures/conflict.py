"""Do agents with one modality and with several pull what they share in different directions, round by round?

See ``lab/analysis/movements.py``: mean cosines of how agents moved each slice by themselves, from sketches.
"""

import statistics
from collections.abc import Mapping

from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.types import PeerId
from parse_p2p.lab.analysis.movements import Cosines, Movements
from parse_p2p.lab.measures.base import OfRounds
from parse_p2p.runtime.agent_state import AgentState


class Conflict(OfRounds):
    """``conflict.across``, ``.unimodal`` and ``.multimodal``: means over rounds, and over the slices both sides share.

    ``conflict.across SLICE`` and so on are of one slice; a slice that no two agents share has none.
    """

    def __init__(self, plan: RunPlan, agent_states: Mapping[str, AgentState]) -> None:
        super().__init__(plan, agent_states)
        self._movements = Movements()
        for state in agent_states.values():
            state.sketching = True

    def after(self, round: int) -> None:
        for me in self.plan.peers:
            state = self.agent_states[me]
            if state.present(PeerId(me), round):
                several = len(state.learner.holder.modalities) > 1
                self._movements.add(me, round, several, state.sketches)

    def found(self) -> dict[str, float]:
        every = {name: self._mean(name) for name in sorted(self._movements.names)}
        found = {
            f"conflict.{side} {name}": value
            for name, means in every.items()
            for side, value in means._asdict().items()
            if value is not None
        }
        both = [means for means in every.values() if means.across is not None]
        for side in Cosines._fields:
            if values := [value for means in both if (value := getattr(means, side)) is not None]:
                found[f"conflict.{side}"] = statistics.fmean(values)
        return found

    def _mean(self, name: str) -> Cosines:
        """Of one slice over the rounds that have pairs."""
        rounds = [self._movements.cosines(round, name) for round in range(self.plan.run.rounds)]
        sides = ([value for each in rounds if (value := each[i]) is not None] for i in range(len(Cosines._fields)))
        return Cosines(*(statistics.fmean(values) if values else None for values in sides))


measure = Conflict
