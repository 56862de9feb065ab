"""Small adapter networks, and the tensors that hands would write into them."""

from dataclasses import replace

import torch
from plans import BOTH, plan
from torch.nn.functional import cross_entropy

from parse_p2p.core.message import Message
from parse_p2p.core.types import PeerId, Role
from parse_p2p.data.base import Batch, split, standardise
from parse_p2p.data.sets import bits
from parse_p2p.methods.base import Done, Local, advance
from parse_p2p.methods.fedmosaic.setup import Setup
from parse_p2p.models.adapters import Adapters
from parse_p2p.models.base import ModelOptions
from parse_p2p.models.encoder import EncoderOptions
from parse_p2p.runtime.simulator import simulate

CLASSES = 16


def adapters(width=12, depth=3, shapes=BOTH, **model):
    """A network by itself; A, B and the backbone are the random ones it is made with."""
    encoder = EncoderOptions(width=width, depth=depth)
    options = ModelOptions(**{"network": "adapters", "encoder": encoder, "rank": 4, "blocks": 3} | model)
    return Adapters(shapes, CLASSES, options, dict.fromkeys(shapes, encoder))


def samples(count=12, seed=0):
    rng = torch.Generator().manual_seed(seed)
    inputs = {m: torch.randn(count, *shape, generator=rng) for m, shape in BOTH.items()}
    return Batch(inputs, torch.randint(CLASSES, (count,), generator=rng))


@torch.no_grad()
def scrambled(model, seed=1, received=True):
    """The model with random adapters, mine and received, in place of none."""
    rng = torch.Generator().manual_seed(seed)
    for adapter in model.shared.values():
        for tensor in (*adapter.local, *(adapter.received if received else ())):
            tensor.copy_(0.3 * torch.randn(tensor.shape, generator=rng))
    return model


def public(seed=0, samples=2400):
    """Public samples and others of the same kind that nobody was trained on."""
    return standardise(*split(bits.open(bits.Options(samples=samples), seed), 0.3, seed))


def prepared(model, data, sizes, b_align, steps=300, seed=0):
    setup = Setup(model, data, {}, seed, steps, b_align)
    setup.add(sizes)
    return setup


def loss(model, batch):
    return cross_entropy(model(batch.inputs).logits(), batch.targets)


# runs

SIZES = {"a0": (8, 2), "a1": (8, 2), "a2": (13, 5), "a3": (13, 5)}
SMALL, LARGE = {"width": 8, "depth": 2}, {"width": 13, "depth": 5}  # 13 and 26 are nobody else's dimensions
KINDS = [("audio+motion", SMALL), ("audio", SMALL), ("motion", LARGE), ("audio+motion", LARGE)]
ROUNDS = 3


def mosaic(kinds=KINDS, options=None, **changes):
    """A world whose clients have the modalities and sizes of ``kinds``; the coordinator is small."""
    agents = [
        {"id": f"a{i}", "modalities": kind.split("+"), "model": {"encoder": encoder}}
        for i, (kind, encoder) in enumerate(kinds)
    ]
    model = {"encoder": SMALL, "rank": 4} | changes.pop("model", {})
    base = {"rounds": ROUNDS, "options": {"pretraining": 20, "every": 2} | (options or {})} | changes
    return plan(method="fedmosaic", agents=[*agents, {"id": "hub", "role": "coordinator"}], model=model, **base)


def locals_of(w, round=0):
    """The participants of a world, by name, each with what its script may touch in this round."""
    made: dict[PeerId, Local] = {}

    def noted(local, options):
        made[local.me] = local
        return iter(())

    for agent in w.agent_states():
        agent.method = replace(agent.method, scripts=dict.fromkeys(Role, noted))
        agent.begin(round)
    return made


def exchanged(w):
    """Every message of a run: (round, sender, receiver, message)."""
    agents = w.agent_states()
    seen: list[tuple[int, PeerId, PeerId, Message]] = []

    def watched(script, me):
        def play(local, options):
            steps, inbox = script(local, options), None
            while not isinstance(step := advance(steps, inbox), Done):
                seen.extend((local.round, me, peer, message) for peer, message in step.send.items())
                inbox = yield step
            return step.metrics

        return play

    for agent in agents:
        scripts = {role: watched(script, agent.me) for role, script in agent.method.scripts.items()}
        agent.method = replace(agent.method, scripts=scripts)
    simulate(agents, ROUNDS)
    return seen, {agent.me: agent for agent in agents}


def kinds_of(message):
    return {name.split("/")[0] for name in message.tensors}
