"""The agents of a finished or stopped run, as its checkpoints left them. Round 3 is after three rounds."""

import torch

from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import PeerId
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.learning.learner import Learner
from parse_p2p.runtime import checkpoint


def common_rounds(plan: RunPlan, folder: RunFolder) -> list[int]:
    """The rounds of which every agent that was there left a checkpoint, ascending and at least one.

    Raises ConfigError, naming who left none.
    """
    kept = {me: checkpoint.rounds(folder.checkpoints(me)) for me in plan.peers}
    every = sorted({n for own in kept.values() for n in own})
    if common := [n for n in every if all(n in kept[me] for me in _expected(plan, n))]:
        return common
    if absent := [me for me in plan.peers if not kept[me]]:
        raise ConfigError(
            f"{folder.path} has no checkpoints of {', '.join(absent)}: copy agents/{absent[0]} here from the host "
            "where it ran, or name a round with --round to look at the others alone"
        )
    behind = min(kept, key=lambda me: kept[me][-1])
    raise ConfigError(
        f"{folder.path} has no round that every agent left a checkpoint of ({behind} stopped at {kept[behind][-1]}): "
        "name one with --round to look at those that have it"
    )


def learners(plan: RunPlan, folder: RunFolder, round: int) -> dict[PeerId, Learner]:
    """On the CPU, of each agent that left a checkpoint of this round; the coordinator apart. Raises ConfigError."""
    kept = {me: checkpoint.rounds(folder.checkpoints(me)) for me in plan.peers}
    having = [me for me in plan.peers if round in kept[me]]
    if not having:
        known = sorted({n for own in kept.values() for n in own})
        which = f"there are {known[0]} to {known[-1]}" if known else "there are none of any round"
        raise ConfigError(f"{folder.path} has no checkpoint of round {round}: {which}")
    return {me: learner(plan, folder, me, round) for me in having}


def absent(plan: RunPlan, round: int, found: dict[PeerId, Learner]) -> list[PeerId]:
    """Who was there after so many rounds and left no checkpoint of it here."""
    return [me for me in _expected(plan, round) if me not in found]


def _expected(plan: RunPlan, round: int) -> list[PeerId]:
    spans = plan.spans
    return [me for me in plan.peers if spans[me].start < max(round, 1) and round <= spans[me].stop]


def learner(plan: RunPlan, folder: RunFolder, me: PeerId, round: int) -> Learner:
    agent_state = plan.agent_state(me, torch.device("cpu"))
    if agent_state.agreement is not None:
        agent_state.use_agreed(folder.agreed(me, plan.data))
    agent_state.restore(checkpoint.load(folder.checkpoints(me), round))
    folder.keep_arrivals(agent_state)
    learner = agent_state.learner
    learner.begin(max(0, round - 1), plan.run.rounds)  # of a stream, the samples seen so far
    if agent_state.arrivals is not None:
        agent_state.arrivals.restore(round, learner)
    learner.data, learner.test = learner.data.whole(), learner.test.whole()  # slices are compared where all are there
    if not len(learner.data) or not len(learner.test):
        raise ConfigError(f"no sample of {me} has all its modalities, and slices are compared on such samples alone")
    return learner
