"""The agents of a finished or stopped run, as its checkpoints left them. Round 3 is after three rounds."""

from pathlib import Path

import torch

from parse_p2p.config import run_file
from parse_p2p.config.run_plan import World
from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import PeerId
from parse_p2p.launch.process import recall
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.learning.learner import Learner
from parse_p2p.runtime import checkpoint


def opened(path: Path) -> tuple[World, RunFolder]:
    """The world of a run folder, with all that its agents announced. Raises ConfigError where there is no run."""
    folder = RunFolder(path)
    if not folder.file.exists():
        raise ConfigError(f"there is no run in {path}: give its folder, such as runs/ring-parse-htad-s0")
    world = World(run_file.load(folder.file))
    recall(world, folder)
    return world, folder


def common_rounds(world: World, folder: RunFolder) -> list[int]:
    """The rounds of which every agent that was there left a checkpoint, ascending and at least one.

    Raises ConfigError, naming who left none.
    """
    kept = {me: checkpoint.rounds(folder.checkpoints(me)) for me in world.peers}
    every = sorted({n for own in kept.values() for n in own})
    if common := [n for n in every if all(n in kept[me] for me in _expected(world, n))]:
        return common
    if absent := [me for me in world.peers if not kept[me]]:
        raise ConfigError(
            f"{folder.path} has no checkpoints of {', '.join(absent)}: copy agents/{absent[0]} here from the host "
            "where it ran, or name a round with --round to look at the others alone"
        )
    behind = min(kept, key=lambda me: kept[me][-1])
    raise ConfigError(
        f"{folder.path} has no round that every agent left a checkpoint of ({behind} stopped at {kept[behind][-1]}): "
        "name one with --round to look at those that have it"
    )


def learners(world: World, folder: RunFolder, round: int) -> dict[PeerId, Learner]:
    """On the CPU, of each agent that left a checkpoint of this round; the coordinator apart. Raises ConfigError."""
    kept = {me: checkpoint.rounds(folder.checkpoints(me)) for me in world.peers}
    having = [me for me in world.peers if round in kept[me]]
    if not having:
        known = sorted({n for own in kept.values() for n in own})
        which = f"there are {known[0]} to {known[-1]}" if known else "there are none of any round"
        raise ConfigError(f"{folder.path} has no checkpoint of round {round}: {which}")
    return {me: _learner(world, folder, me, round) for me in having}


def absent(world: World, round: int, found: dict[PeerId, Learner]) -> list[PeerId]:
    """Who was there after so many rounds and left no checkpoint of it here."""
    return [me for me in _expected(world, round) if me not in found]


def _expected(world: World, round: int) -> list[PeerId]:
    spans = world.spans
    return [me for me in world.peers if spans[me].start < max(round, 1) and round <= spans[me].stop]


def _learner(world: World, folder: RunFolder, me: PeerId, round: int) -> Learner:
    participant = world.participant(me, torch.device("cpu"))
    participant.restore(checkpoint.load(folder.checkpoints(me), round))
    participant.learner.begin(max(0, round - 1), world.run.rounds)  # of a stream, the samples seen so far
    return participant.learner
