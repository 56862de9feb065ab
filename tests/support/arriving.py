"""Agents with sources of their own, and folders in which more of their samples appear."""

import numpy as np
import yaml

from parse_p2p.config import run_file
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.runtime import checkpoint
from parse_p2p.runtime.simulator import simulate

CLASSES = ["no", "yes"]
SCHEMA = {"modalities": {"x": {"kind": "vector", "shape": [2]}}, "classes": CLASSES}
SMALL = {"latent": 6, "hidden": 4, "encoder": {"width": 6, "depth": 1}}
TWO = ("a0", "a1")
HEAD = "f0,f1,label\n"


def samples(count, seed, offset=0.0, swapped=False):
    """Inputs (N, 2) around ±1.5 as their class says, the other way round where they are ``swapped``."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, count)
    x = rng.normal(size=(count, 2)) + 1.5 * (2 * y - 1)[:, None] + offset
    return x, (1 - y if swapped else y)


def text(x, y):
    """As a CSV file."""
    return HEAD + "".join(f"{a:.5f},{b:.5f},{CLASSES[k]}\n" for (a, b), k in zip(x, y, strict=True))


def drop(path, count=20, seed=0, **how):
    """A file of samples under its name when it is complete."""
    drop_text(path, text(*samples(count, seed, **how)))


def drop_text(path, said):
    """Any file likewise: of one that grows under its name an agent may see, and refuse, the half."""
    whole = path.with_name(f".{path.name}")
    whole.write_text(said)
    whole.rename(path)


def study(folder, data=None, agents=TWO, **changes):
    """A run file of agents on a ring, each with 40 samples and a folder that it watches."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, me in enumerate(agents):
        (folder / "in" / me).mkdir(parents=True, exist_ok=True)
        drop(folder / f"{me}.csv", 40, 100 + k)
    common = {"path": "{id}.csv", "target": "label", "columns": {"x": "f*"}, "watch": "in/{id}"} | (data or {})
    raw = {"graph": {"generator": "ring"}, "agents": [{"id": me, "modalities": ["x"]} for me in agents],
           "dataset": "own", "data": common, "data_schema": SCHEMA, "rounds": 5, "model": SMALL, "device": "cpu",
           "seed": 3} | changes  # fmt: skip
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def plan(folder, data=None, **changes):
    """The plan of such a study."""
    return RunPlan(run_file.load(study(folder, data, **changes)))


def simulated(plan, dropping=lambda round: None, start=0, folder=None, states=None):
    """All agents after a simulated run, and what was said and measured by round.

    ``dropping(round)`` is called when a round is over, and before the first with the round before it. With a run's
    ``folder`` records and checkpoints lie there, and ``start`` is a round to go on from.
    """
    made = states or {me: plan.agent_state(me) for me in plan.specs}
    said, measured = {}, {}
    if folder is not None:
        for me, state in made.items():
            folder.keep_arrivals(state)
            if start:
                state.restore(checkpoint.load(folder.checkpoints(me), start))

    def watch(round, metrics, ledger):
        said[round] = {me: list(state.happened) for me, state in made.items()}
        measured[round] = metrics
        for me, state in made.items() if folder is not None else ():
            checkpoint.save(folder.checkpoints(me), round + 1, state.state(), keep=99)
        dropping(round)

    dropping(start - 1)
    simulate(list(made.values()), plan.run.rounds, start=start, codec=plan.codec, watch=watch)
    return made, said, measured


def rows(state):
    """What an agent trains on: inputs and targets."""
    return state.learner.data.inputs["x"], state.learner.data.targets
