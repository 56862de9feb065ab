"""Agents that exchange without learning, links that lose messages, and what may still be on its way."""

import torch
from plans import plan, under

from parse_p2p.core.rng import seeded
from parse_p2p.methods.base import Done, advance
from parse_p2p.methods.gossip import exchange as exchange_slices

TINY = {"data": {"samples": 120}, "model": {"latent": 6, "hidden": 4}, "encoder": {"width": 4}}
ALWAYS = range(10**6)


def frozen(local, options):
    """A round without learning."""
    yield from exchange_slices(local, options)
    return {"loss": 0.0}


def any_link(sender, receiver):
    return True


def lossy(script, probability, rounds=ALWAYS, link=any_link):
    """The script, but each message that comes to it over such a link is lost with this probability, by itself."""

    def wrapped(local, options):
        steps, answer = script(local, options), None
        while not isinstance(step := advance(steps, answer), Done):
            came = yield step
            draws = torch.rand(len(came), generator=seeded("loss", local.me, local.round, step.topic)).tolist()
            answer = {
                peer: message
                for (peer, message), draw in zip(came.items(), draws, strict=True)
                if draw >= probability or local.round not in rounds or not link(peer, local.me)
            }
        return step.metrics

    return wrapped


def alike(exchange, agents=16, graph="torus", script=frozen, codec="raw", kind="audio", **options):
    """A world of agents of one type, which share every slice over the one given graph: few of one modality."""
    made = plan({kind: agents}, graph=graph, overlay="induced", codec=codec, rounds=1000,
                 options={"exchange": exchange} | options, **TINY)  # fmt: skip
    return under(made, script=script)


def scattered(agent_states):
    """The same, each with parameters of its own, standard normal."""
    for p in agent_states:
        p.learner.buffer.values.copy_(torch.randn(p.learner.buffer.size, generator=seeded("values", p.me)))
    return agent_states


def parameters(agent_states):
    """The parameters of agents of one type in double, shape (agents, size)."""
    return torch.stack([p.learner.buffer.values.double() for p in agent_states])


def total(agent_states, key):
    """A slice summed over its holders and what is on its way, in double: its size, and one more of push-sum."""
    memory = {p.me: {n.removeprefix(f"{e}/{key}/"): t for n, t in p.memory.items() for e in KINDS if f"{e}/{key}/" in n}
              for p in agent_states}  # fmt: skip
    kept = [m["mass"] if "mass" in m else m["value"] for m in memory.values() if m]
    return torch.stack(kept).sum(0) + sum(_under_way(memory), torch.zeros(len(kept[0]), dtype=torch.float64))


KINDS = ("push-sum", "acknowledged")


def _under_way(memory):
    """What one end of a link has parted with and the other has not yet taken."""
    for me, mine in memory.items():
        for peer, theirs in memory.items():
            if f"given/{peer}" in mine:
                yield mine[f"given/{peer}"] - theirs.get(f"taken/{me}", 0)
            answered, still_open = mine.get(f"answered/{peer}"), int(theirs.get(f"open/{me}", 1))
            if answered is not None and int(answered) == still_open:
                yield -mine[f"difference/{peer}"]
