"""The flat buffer and the module are one memory, and stepping on one steps the other."""

import copy

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from worlds import inputs, learner, network

from parse_p2p.core.slices import Component
from parse_p2p.models.base import key_of
from parse_p2p.models.parameter_buffer import Arena, regions

CPU = torch.device("cpu")


def arena_of(model):
    return Arena(model.parts(), CPU)


def test_the_components_tile_the_buffer_and_nothing_is_left_out():
    model = network()
    arena = arena_of(model)
    spans = sorted((r.start, r.stop) for r in arena.regions.values())
    assert [start for start, _ in spans] == [0, *[stop for _, stop in spans][:-1]]
    assert spans[-1][1] == arena.size == sum(p.numel() for p in model.parameters())


def test_adopting_a_module_does_not_change_what_it_says():
    model = network()
    before = model(inputs({"audio": (16,), "motion": (16,)})).logits()
    arena_of(model)
    assert torch.equal(model(inputs({"audio": (16,), "motion": (16,)})).logits(), before)


def test_parameters_are_views_of_the_buffer_both_ways():
    model = network()
    arena = arena_of(model)
    head = arena.regions["head.redundant"]
    arena.view(head).copy_(torch.arange(head.size, dtype=torch.float32))
    weight, bias = model.heads[key_of("redundant")].weight, model.heads[key_of("redundant")].bias
    assert torch.equal(torch.cat([weight.flatten(), bias]), torch.arange(head.size, dtype=torch.float32))
    with torch.no_grad():
        bias.fill_(-7.0)
    assert torch.equal(arena.values[head.stop - len(bias) : head.stop], torch.full((len(bias),), -7.0))
    assert (arena.values == -7.0).sum() == len(bias)


def test_gradients_are_views_and_stay_so_after_a_backward_pass():
    model = network()
    arena = arena_of(model)
    for _ in range(2):
        arena.grads.zero_()
        model(inputs({"audio": (16,), "motion": (16,)})).logits().square().sum().backward()
        flat = torch.cat([p.grad.flatten() for _, ps in model.parts() for p in ps.values()])
        assert torch.equal(arena.grads, flat)
        assert arena.grads.norm() > 0
    arena.grads.zero_()
    assert all(not p.grad.any() for p in model.parameters())


def test_a_step_on_the_leaves_is_torch_sgd_on_the_plain_module():
    model = network()
    plain = copy.deepcopy(model)
    arena = arena_of(model)
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-2}
    ours = torch.optim.SGD(list(arena.leaves.values()), **settings)
    theirs = torch.optim.SGD(plain.parameters(), **settings)
    x, y = inputs({"audio": (16,), "motion": (16,)}), torch.tensor([0, 1, 2, 3, 0])
    for _ in range(5):
        arena.grads.zero_()
        cross_entropy(model(x).logits(), y).backward()
        ours.step()
        theirs.zero_grad()
        cross_entropy(plain(x).logits(), y).backward()
        theirs.step()
    for mine, other in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_regions_need_no_memory_and_agree_with_the_arena():
    with torch.device("meta"):
        planned = regions(network().parts())
    assert planned == arena_of(network()).regions


def test_a_digest_tells_shapes_apart_that_have_one_size():
    wide, tall = nn.Linear(6, 2, bias=False), nn.Linear(2, 6, bias=False)
    a, b = (regions([(Component("head"), dict(m.named_parameters()))])["head"] for m in (wide, tall))
    assert a.size == b.size
    assert a.digest != b.digest


def test_cut_copies_and_restore_brings_everything_back():
    mine = learner()
    mine.begin(0, 4)
    mine.train(lambda network, batch, outputs: cross_entropy(outputs.logits(), batch.targets))
    kept, cut = mine.state(), mine.cut(mine.arena.regions)
    values = mine.arena.values.clone()
    mine.train(lambda network, batch, outputs: cross_entropy(outputs.logits(), batch.targets))
    assert not torch.equal(mine.arena.values, values)
    for name, region in mine.arena.regions.items():
        assert torch.equal(cut[name], values[region.start : region.stop])
    mine.restore(kept)
    assert torch.equal(mine.arena.values, values)
    assert kept.keys() == mine.state().keys()
    assert all(torch.equal(kept[name], tensor) for name, tensor in mine.state().items())
