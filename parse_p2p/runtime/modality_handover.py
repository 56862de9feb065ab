"""When modalities come and go: what a model keeps, and how a new component is given its first parameters.

A component that an agent gains is the average of the copies of all who hold it already, so that the mean over its
holders stays where it is and their spread does not grow: with v = x̄ in x̄' − x̄ = (v − x̄)/(n+1).
"""

import torch
from torch import Tensor

from parse_p2p.core.message import Message, check_tensors
from parse_p2p.core.slices import SliceKey
from parse_p2p.core.types import PeerId
from parse_p2p.learning.learner import Learner
from parse_p2p.learning.optimisers import memory as optimisers
from parse_p2p.methods.base import Exchange, Local, Script, Stretch
from parse_p2p.methods.federation import load, weighted_average
from parse_p2p.topology.overlay import Overlays

KEPT = "kept/"  # in an agent's memory, before the name of a component that it lost


@torch.no_grad()
def carry(old: Learner, new: Learner, memory: dict[str, Tensor]) -> None:
    """Take over what both models have, optimiser and all; remember what is lost, and put back what was lost before."""
    for name, region in old.buffer.regions.items():
        if name not in new.buffer.regions:
            memory[KEPT + name] = old.buffer.view(region).to("cpu", copy=True)
    remembered = {objective: optimisers.read(optimiser) for objective, optimiser in old.optimisers.items()}
    for name, region in new.buffer.regions.items():
        before = old.buffer.regions.get(name)
        if before is not None and before.digest == region.digest:
            new.buffer.view(region).copy_(old.buffer.view(before))
            for objective, of in remembered.items():
                if name in of:  # nothing is remembered of what takes no gradients
                    optimisers.write(new.optimiser_of(objective), {name: of[name]})
        elif (kept := memory.pop(KEPT + name, None)) is not None and len(kept) == region.size:
            new.buffer.view(region).copy_(kept)
    buffers = dict(old.model.named_buffers())
    for name, buffer in new.model.named_buffers():
        if name in buffers and buffers[name].shape == buffer.shape:
            buffer.copy_(buffers[name])
    new.halted, new.brief = old.halted, old.brief


def introduced(local: Local, before: Overlays, now: Overlays, script: Script) -> Script:
    """A round in which some agents gain slices: those who hold them send a copy, then the round's own script runs."""
    yield from _introduce(local, before, now)
    return (yield from script)


def _introduce(local: Local, before: Overlays, now: Overlays) -> Stretch:
    send: dict[PeerId, list[SliceKey]] = {}
    expect: dict[PeerId, list[SliceKey]] = {}
    for key in sorted(now.offers[local.me]):
        holders = now.holders(key)
        old = holders & before.holders(key)
        others, wanted = (holders - old, send) if local.me in old else (old, expect)
        for peer in others:
            wanted.setdefault(peer, []).append(key)
    if not send and not expect:
        return
    mine = local.learner.cut(local.plan.regions)
    messages = {peer: Message({str(key): mine[str(key)] for key in keys}) for peer, keys in sorted(send.items())}

    def check(sender: PeerId, message: Message) -> None:
        check_tensors(sender, message, {}, {str(key): (local.plan.regions[key].size,) for key in expect[sender]})

    inbox = yield Exchange("introduction", messages, frozenset(expect), check=check)
    copies = {peer: message.tensors for peer, message in inbox.items()}
    load(local, weighted_average(copies, dict.fromkeys(copies, 1.0)))
