"""Runs that are over, in a folder, and the samples their agents were tested on as these were measured."""

from typing import Any

import plans
import pytest

from parse_p2p.data.base import split
from parse_p2p.lab.experiments.recorded_simulation import record
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.serving import onnx

NETWORKS: dict[str, dict[str, Any]] = {
    "fission": {"method": "parse"},
    "monolithic": {"method": "harmony", "model": {"network": "monolithic"}},
    "embedding": {"method": "fedafd"},
    "adapters": {"method": "fedmosaic"},
    "infiltration": {"method": "fedcmi"},
    "prototyped": {"method": "pmcmfl"},
}
"""Every network, and keys of a run that has it."""

TYPES = {"audio": 1, "audio+motion": 2}


def recorded(path, mix=None, **changes):
    """A simulated run in that folder: its plan, and its agents as they ended, by their names."""
    plan = plans.plan(mix or TYPES, **{"rounds": 2, "data": {"samples": 160}} | changes)
    return plan, {p.me: p for p in record(plan, RunFolder(path))}


def measured(plan):
    """The samples that the agents of a run are tested on, before anything scaled them."""
    return split(plans.dealt(plan)._opened, plan.run.test, plan.run.seed)[1]


def asked(plan, me):
    """What an agent's model can be asked about, by its modalities."""
    return {m: measured(plan).inputs[m] for m in plan.senses(me, plan.run.rounds - 1)}


def graph_says(model, folder, x):
    """What the ONNX graph of a model, written into that folder, says; where nothing runs it the test is skipped."""
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    onnx.write(model, folder)
    session = runtime.InferenceSession(folder / onnx.FILE)
    (said,) = session.run([model.task.output], {m: each.numpy() for m, each in x.items()})
    return said


def scaled_by(plan, scale):
    """A data_schema whose modalities are all scaled so, for ``plans.plan``."""
    schema = plan.schema.model_dump(mode="json")
    for each in schema["modalities"].values():
        each["scale"] = scale
    return schema
