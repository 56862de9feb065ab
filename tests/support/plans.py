"""Small fast worlds, built in code as a run file would be, and a few readings of them."""

from dataclasses import replace

import torch

from parse_p2p.config.agent_data import SharedData
from parse_p2p.config.run_file import RunFile
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core import plugins
from parse_p2p.core.types import Modality, PeerId, Role
from parse_p2p.data.kinds import TokenShape
from parse_p2p.methods.exchanges.base import mix_slices, slices
from parse_p2p.models.base import ModelOptions
from parse_p2p.models.encoder import EncoderOptions
from parse_p2p.models.fission import Fission
from parse_p2p.models.monolithic import Monolithic
from parse_p2p.runtime.simulator import simulate

MIX = {"audio": 2, "motion": 2, "audio+motion": 3}
VARYING = {
    "matching": {"kind": "matching"},
    "one-peer-exponential": {"kind": "one-peer-exponential"},
    "base": {"kind": "base"},
    "regular": {"kind": "regular", "degree": 2},
    "failing": {"kind": "failing", "probability": 0.4},
    "el-local": {"kind": "el-local", "degree": 2},
}
NETWORKS = {"fission": Fission, "monolithic": Monolithic}
BOTH = {Modality("audio"): (16,), Modality("motion"): (16,)}


def plan(mix=None, graph="ring", encoder=None, **changes) -> RunPlan:
    """A world on the data set bits with tiny networks; ``changes`` are keys of the run file, sections merged.

    A centralised method gets a coordinator, ``hub``, and a public data set if it needs one.
    """
    method = plugins.load(plugins.METHODS, changes.get("method", "parse"))
    raw = {
        "graph": graph if isinstance(graph, dict) else {"generator": graph},
        "agents": {"mix": mix or MIX} | ({"coordinator": "hub"} if method.centralised else {}),
        "public": {"share": 0.2} if method.public else None,
        "dataset": "bits",
        "data": {"samples": 320} if changes.get("dataset", "bits") == "bits" else {},
        "model": {"latent": 12, "hidden": 8, "encoder": {"width": 8, "depth": 1} | (encoder or {})},
        "train": {"batch": 16},
        "rounds": 4,
        "device": "cpu",
    }
    for key, value in changes.items():
        raw[key] = raw[key] | value if key in ("data", "model", "train") else value
    return RunPlan(RunFile.model_validate(raw))


def dealt(plan) -> SharedData:
    """The data set of a world that all its agents are dealt from."""
    assert isinstance(plan.data, SharedData)
    return plan.data


def learner(kind="audio+motion", **changes):
    """The learner of one agent that senses ``kind``, for instance ``audio``."""
    return plan({kind: 2}, **changes).agent_state(PeerId("a0")).learner


def network(kind="fission", shapes=BOTH, classes=4, encoder=EncoderOptions(), **model):  # noqa: B008 -- frozen
    """A network by itself, as large as the package's defaults say unless ``model`` says otherwise."""
    options = ModelOptions(network=kind, encoder=encoder, **model)
    return NETWORKS[kind](shapes, classes, options, dict.fromkeys(shapes, encoder))


def inputs(shapes, count=5, seed=0):
    """Standard normal inputs of these shapes, and any ids of tokens."""
    rng = torch.Generator().manual_seed(seed)
    return {
        m: torch.randint(shape.vocabulary, (count, *shape), generator=rng)
        if isinstance(shape, TokenShape)
        else torch.randn(count, *shape, generator=rng)
        for m, shape in shapes.items()
    }


def mixing_only(local, options):
    """A round without learning: exchange the slices and mix them."""
    mix_slices(local, (yield slices(local)))
    return {"loss": 0.0}


def under(plan, sharing=None, script=None):
    """The same world with another sharing table, or another script, in its method."""
    if sharing is not None:
        plan.method = replace(plan.method, sharing=lambda options, round, rounds: sharing)
    if script is not None:
        plan.method = replace(plan.method, scripts={Role.PEER: script})
    return plan


def finished(plan, rounds=None, watch=None):
    """All participants of a world after a simulated run, and the metrics of its last round."""
    agent_states = plan.agent_states()
    metrics = simulate(agent_states, rounds or plan.run.rounds, codec=plan.codec, watch=watch)
    return {p.me: p for p in agent_states}, metrics


def differing(one, other) -> list[str]:
    """What differs, to the last bit, between the states of the same agents in two runs."""
    pairs = {me: (one[me].state(), other[me].state()) for me in one}
    return [
        f"{me}: {name}"
        for me, (a, b) in pairs.items()
        for name in sorted(a.keys() | b.keys())
        if name not in a or name not in b or not torch.equal(a[name], b[name])
    ]
