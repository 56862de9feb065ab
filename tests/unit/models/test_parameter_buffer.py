"""The flat buffer and the module are one memory, and stepping on one steps the other."""

import copy

import torch
from plans import inputs, learner, network
from torch import nn
from torch.nn.functional import cross_entropy

from parse_p2p.core.slices import Component
from parse_p2p.models.base import key_of
from parse_p2p.models.parameter_buffer import ParameterBuffer, regions

CPU = torch.device("cpu")


def buffer_of(model):
    return ParameterBuffer(model.parts(), CPU)


def test_the_components_tile_the_buffer_and_nothing_is_left_out():
    model = network()
    buffer = buffer_of(model)
    spans = sorted((r.start, r.stop) for r in buffer.regions.values())
    assert [start for start, _ in spans] == [0, *[stop for _, stop in spans][:-1]]
    assert spans[-1][1] == buffer.size == sum(p.numel() for p in model.parameters())


def test_adopting_a_module_does_not_change_what_it_says():
    model = network()
    before = model(inputs({"audio": (16,), "motion": (16,)})).logits()
    buffer_of(model)
    assert torch.equal(model(inputs({"audio": (16,), "motion": (16,)})).logits(), before)


def test_parameters_are_views_of_the_buffer_both_ways():
    model = network()
    buffer = buffer_of(model)
    head = buffer.regions["head.redundant"]
    buffer.view(head).copy_(torch.arange(head.size, dtype=torch.float32))
    weight, bias = model.heads[key_of("redundant")].weight, model.heads[key_of("redundant")].bias
    assert torch.equal(torch.cat([weight.flatten(), bias]), torch.arange(head.size, dtype=torch.float32))
    with torch.no_grad():
        bias.fill_(-7.0)
    assert torch.equal(buffer.values[head.stop - len(bias) : head.stop], torch.full((len(bias),), -7.0))
    assert (buffer.values == -7.0).sum() == len(bias)


def test_gradients_are_views_and_stay_so_after_a_backward_pass():
    model = network()
    buffer = buffer_of(model)
    for _ in range(2):
        buffer.grads.zero_()
        model(inputs({"audio": (16,), "motion": (16,)})).logits().square().sum().backward()
        flat = torch.cat([p.grad.flatten() for _, ps in model.parts() for p in ps.values()])
        assert torch.equal(buffer.grads, flat)
        assert buffer.grads.norm() > 0
    buffer.grads.zero_()
    assert all(not p.grad.any() for p in model.parameters())


def test_a_step_on_the_leaves_is_torch_sgd_on_the_plain_module():
    model = network()
    plain = copy.deepcopy(model)
    buffer = buffer_of(model)
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-2}
    ours = torch.optim.SGD(list(buffer.leaves.values()), **settings)
    theirs = torch.optim.SGD(plain.parameters(), **settings)
    x, y = inputs({"audio": (16,), "motion": (16,)}), torch.tensor([0, 1, 2, 3, 0])
    for _ in range(5):
        buffer.grads.zero_()
        cross_entropy(model(x).logits(), y).backward()
        ours.step()
        theirs.zero_grad()
        cross_entropy(plain(x).logits(), y).backward()
        theirs.step()
    for mine, other in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_regions_need_no_memory_and_agree_with_the_buffer():
    with torch.device("meta"):
        planned = regions(network().parts())
    assert planned == buffer_of(network()).regions


def test_a_digest_tells_shapes_apart_that_have_one_size():
    wide, tall = nn.Linear(6, 2, bias=False), nn.Linear(2, 6, bias=False)
    a, b = (regions([(Component("head"), dict(m.named_parameters()))])["head"] for m in (wide, tall))
    assert a.size == b.size
    assert a.digest != b.digest


def test_cut_copies_and_restore_brings_everything_back():
    mine = learner()
    mine.begin(0, 4)
    mine.train(lambda network, batch, outputs: cross_entropy(outputs.logits(), batch.targets))
    kept, cut = mine.state(), mine.cut(mine.buffer.regions)
    values = mine.buffer.values.clone()
    mine.train(lambda network, batch, outputs: cross_entropy(outputs.logits(), batch.targets))
    assert not torch.equal(mine.buffer.values, values)
    for name, region in mine.buffer.regions.items():
        assert torch.equal(cut[name], values[region.start : region.stop])
    mine.restore(kept)
    assert torch.equal(mine.buffer.values, values)
    assert kept.keys() == mine.state().keys()
    assert all(torch.equal(kept[name], tensor) for name, tensor in mine.state().items())
