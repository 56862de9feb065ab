"""Agents with samples of their own, mostly of one class each, who agree on how frequent classes are."""

import numpy as np
import torch

from parse_p2p.config.run_file import OWN, RunFile
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.types import Modality, PeerId
from parse_p2p.data.base import Dataset, split

AGENTS = ("a0", "a1", "a2")
SMALL = {"latent": 6, "hidden": 4, "encoder": {"width": 6, "depth": 1}}


def samples(number, weighed=False):
    """Mostly of the class that has the agent's number; of the last class, 3, nobody has any."""
    rng, rows = np.random.default_rng(number), 24 + 8 * number
    y = np.where(np.arange(rows) % 4 < 3, number, np.arange(rows) % 3)
    x = torch.tensor(rng.normal(size=(rows, 3)) + y[:, None], dtype=torch.float32)
    weights = torch.tensor(rng.uniform(0, 9, rows), dtype=torch.float32) if weighed else None
    return Dataset("own", {Modality("audio"): x}, torch.from_numpy(y), 4, weights=weights)


def counting(scale="own", weighed=False, coordinator=False, **changes):
    agents = [{"id": me, "modalities": ["audio"]} for me in AGENTS]
    agents += [{"id": "hub", "role": "coordinator"}] if coordinator else []
    schema = {"modalities": {"audio": {"kind": "vector", "shape": [3], "scale": scale}}, "classes": list("0123")}
    raw = {"graph": {"generator": "ring"}, "agents": agents, "dataset": OWN, "rounds": 2, "model": SMALL,
           "device": "cpu", "data_schema": schema}  # fmt: skip
    mine = {PeerId(str(entry["id"])): samples(k, weighed) for k, entry in enumerate(agents)}
    return RunPlan(RunFile.model_validate(raw | changes), samples=mine)


def counted(made, there=AGENTS, weighed=False):
    """The frequencies among the training samples of these agents, the weights of each with the mean 1."""
    total = np.zeros(4)
    for k in map(list(made.specs).index, there):
        train, _ = split(samples(k, weighed), 0.25, 0)
        weights = train.weighed().double().numpy()
        np.add.at(total, train.targets.numpy(), weights / weights.mean())
    return total / total.sum()
