"""Every method among agents one of whom sends nonsense: nobody crashes, and nobody ends with a number that is none."""

import math
import random
from dataclasses import replace

import pytest
import torch
from plans import plan

from parse_p2p.core import plugins
from parse_p2p.core.message import Message
from parse_p2p.methods.base import Done, advance
from parse_p2p.runtime.simulator import simulate

METHODS = [name for name in plugins.known(plugins.METHODS) if name != "local"]
CASES = [(name, {}) for name in METHODS] + [
    ("parse", {"exchange": exchange}) for exchange in ("asynchronous", "push-sum", "acknowledged")
]
SEEDS = range(6)
FACTS = (None, "", "x", -1, 0, 2**70, 1.5, math.nan, math.inf, True, [], [1.0], ["a"])


def spoilt(message, rng):
    """The message with one thing wrong, or as it is."""
    tensors, meta = dict(message.tensors), dict(message.meta)
    name = rng.choice(sorted(tensors)) if tensors else "x"
    tensor = tensors.get(name, torch.zeros(2))
    match rng.randrange(12):
        case 0:
            tensors.pop(name, None)
        case 1:
            tensors[name] = torch.tensor(1.0)
        case 2:
            tensors[name] = torch.full_like(tensor, rng.choice([math.nan, math.inf, -math.inf, 1e38, -1e7]))
        case 3:
            tensors[name] = torch.cat([tensor, tensor])
        case 4:
            tensors[name] = tensor[:1]
        case 5:
            tensors[name] = torch.zeros(0)
        case 6:
            tensors[name] = tensor.to(rng.choice([torch.int64, torch.bool, torch.complex64]))
        case 7:
            tensors = {}
        case 8:
            tensors |= {rng.choice(["x", "repr.audio", "public.audio", "backbone/x", ""]): torch.ones(3, 2)}
        case 9:
            meta = {}
        case 10:
            meta = {key: rng.choice(FACTS) for key in [*meta, "items", "samples", "ready", "drift"]}
        case 11:
            tensors = {n: t.T.contiguous() if t.dim() == 2 else t for n, t in tensors.items()}
    return Message(tensors, meta)


def hostile(script, me, seed):
    """The script, but everything that one agent sends is spoilt."""

    def wrapped(local, options):
        steps, answer, rng = script(local, options), None, random.Random(f"{seed} {local.round}")
        while not isinstance(step := advance(steps, answer), Done):
            if local.me == me:
                step = replace(step, send={peer: spoilt(message, rng) for peer, message in step.send.items()})
            answer = yield step
        return step.metrics

    return wrapped


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("method", "options"), CASES, ids=[" ".join([m, *o.values()]) for m, o in CASES])
def test_nobody_crashes_and_nobody_is_poisoned(method, options, seed):
    made = plan(method=method, rounds=4, data={"samples": 160})
    for me in ["a1", "hub"] if made.method.centralised else ["a1"]:
        w = plan(method=method, rounds=4, data={"samples": 160}, options=options)
        scripts = {role: hostile(script, me, seed) for role, script in w.method.scripts.items()}
        w.method = replace(w.method, scripts=scripts)
        agent_states = w.agent_states()
        metrics = simulate(agent_states, 4)
        for agent_state in agent_states:
            assert all(t.isfinite().all() for t in agent_state.state().values() if t.is_floating_point())
        assert metrics.keys() == w.specs.keys()
