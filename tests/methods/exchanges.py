"""Sixteen agents of one type that exchange without learning, and links that lose mail."""

import torch
from worlds import under, world

from parse_p2p.draws import seeded
from parse_p2p.methods.base import Done, advance
from parse_p2p.methods.gossip import EXCHANGES
from parse_p2p.names import Role

TINY = {"data": {"samples": 120}, "model": {"latent": 6, "hidden": 4}, "encoder": {"width": 4}}


def frozen(local, options):
    """A round without learning."""
    yield from EXCHANGES[options.exchange](local, options)
    return {"loss": 0.0}


def lossy(script, probability, rounds=range(10**6), loses=lambda sender, receiver: True):
    """The script, but each parcel that it should get is lost with this probability, whatever happens to the others."""

    def wrapped(local, options):
        steps, answer = script(local, options), None
        while not isinstance(step := advance(steps, answer), Done):
            answer = yield step
            if local.round in rounds:
                draw = torch.rand(len(answer), generator=seeded("loss", local.me, local.round, step.topic)).tolist()
                lost = {p for p, x in zip(answer, draw, strict=True) if x < probability and loses(p, local.me)}
                answer = {peer: parcel for peer, parcel in answer.items() if peer not in lost}
        return step.metrics

    return wrapped


def sixteen(exchange, script=frozen, graph="ring", agents=16, **options):
    """Agents that share every slice over one graph."""
    made = world({"audio+motion": agents}, graph=graph, overlay="induced", rounds=10**6,
                 options={"exchange": exchange} | options, **TINY)  # fmt: skip
    return under(made, script=script)


def different(participants, scale=1.0):
    """Give every agent other parameters, standard normal."""
    for p in participants:
        values = p.learner.arena.values
        values.copy_(scale * torch.randn(values.shape, generator=seeded("values", p.me)))
    return participants


def values(participants):
    """The parameters of all agents in double, shape (agents, size)."""
    return torch.stack([p.learner.arena.values.double() for p in participants])


def memories(participants, ending):
    """All memories whose name has this in it, by agent and name."""
    return {(p.me, n): t for p in participants for n, t in p.memory.items() if ending in n}


assert Role.PEER
