"""Small runs of FedCMI, and a few readings of one client."""

import torch
from plans import plan

from parse_p2p.methods.base import Local

MIXED = {"audio": 1, "motion": 1, "audio+motion": 2}
ALIKE = {"audio+motion": 3}
OTHER = {"audio": "motion", "motion": "audio"}
PROJECTED, CLASSIFIED = "projector.infiltration.", "head.unimodal."


def cmi(mix=MIXED, **options):
    changes = {name: options.pop(name) for name in ("train", "rounds", "data", "model") if name in options}
    return plan(mix=mix, method="fedcmi", options=options, **changes)


def turn(made, kind, round=0):
    """What the script of the first agent that senses ``kind`` would see."""
    me = next(me for me, spec in made.specs.items() if "+".join(spec.modalities) == kind and me != "hub")
    agent = made.agent_state(me)
    agent.learner.begin(round, made.run.rounds)
    return Local(me, agent.role, round, made.run.rounds, agent.learner, agent.plan(round), agent.memory)


def slices(learner):
    return learner.cut(learner.buffer.regions)


def moved(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


def reached(learner, term, batch):
    """The components that a loss gives a gradient."""
    learner.buffer.grads.zero_()
    term(learner.model, batch, learner.model(batch.inputs)).backward()
    regions = learner.buffer.regions.items()
    return {name for name, r in regions if bool(learner.buffer.grads[r.start : r.stop].any())}


def branch(modality, *parts):
    return {f"{part}.{modality}" for part in ("trunk", *parts, "head.unimodal")}
