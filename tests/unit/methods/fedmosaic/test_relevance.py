"""Sketches of data, their likeness, and the weights made of it.

M9 and M10 are the properties of RELA by the numbers of the method's specification.
"""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mosaics import adapters, prepared, public, samples

from parse_p2p.core.types import PeerId
from parse_p2p.data.base import Batch
from parse_p2p.methods.fedmosaic.relevance import gradient, probed, rows, sanitised, similarity, smoothed, weights

PIVOT = (16, 2)
NOISE = 0.05  # the default


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def sketches(count, shape=(5, 7), seed=0):
    return {f"a{i}": torch.randn(shape, generator=generator(seed + i)) for i in range(count)}


@pytest.fixture(scope="module")
def tasks():
    """Gradients (d, f) of one pre-trained backbone on the samples of three tasks: [task][draw]."""
    train, test = public(samples=1600)
    model = adapters(*PIVOT, blocks=2)
    tensors = prepared(model, train, [PIVOT], "random").backbone(PIVOT)
    probe = model.sibling(*PIVOT)
    found = []
    for task in range(3):
        labels = torch.randperm(16, generator=generator(task))
        batches = [test.batch(torch.arange(64 * i, 64 * i + 64)) for i in range(3 * task % 4, 3 * task % 4 + 3)]
        found.append([gradient(probe, tensors, Batch(b.inputs, labels[b.targets])) for b in batches])
    return found


# sketches


def test_a_gradient_is_that_of_the_last_map_below_the_head_and_leaves_the_probe_as_it_is():
    probe, batch = adapters().sibling(8, 2), samples()
    tensors = {name: tensor.clone() for name, tensor in probe.state_dict().items()}
    found = gradient(probe, tensors, batch)
    torch.nn.functional.cross_entropy(probe(batch.inputs).logits(), batch.targets).backward()
    assert probed(probe) == "layers.1.down.weight"
    torch.testing.assert_close(found, probe.layers[1].down.weight.grad)
    assert all(torch.equal(tensor, probe.state_dict()[name]) for name, tensor in tensors.items())


def test_a_mask_keeps_a_share_of_the_rows_the_same_for_one_seed():
    assert rows(32, 0.4, "prefix", generator()).tolist() == list(range(12))
    drawn = rows(32, 0.4, "random", generator())
    assert torch.equal(drawn, rows(32, 0.4, "random", generator()))
    assert not torch.equal(drawn, rows(32, 0.4, "random", generator(1)))
    assert len(drawn.unique()) == 12 and torch.equal(drawn, drawn.sort().values)
    assert len(rows(2, 0.4, "random", generator())) == 1


def test_noise_is_as_large_as_a_share_of_the_gradient():
    found = 1e-3 * torch.randn(400, 50, generator=generator())
    kept = rows(400, 0.5, "random", generator())
    assert torch.equal(sanitised(found, kept, 0.0, generator()), found[kept])
    noise = sanitised(found, kept, 0.1, generator()) - found[kept]
    assert noise.std().item() == pytest.approx(1e-4, rel=0.05)


# likeness and weights


@pytest.mark.parametrize("kind", ["flat", "column"])
def test_M9_similarity_is_symmetric_within_one_and_one_to_oneself(kind):
    found = similarity(sketches(5), kind)
    for a in found:
        assert found[a][a] == pytest.approx(1)
        for b in found:
            assert found[a][b] == pytest.approx(found[b][a]) and abs(found[a][b]) <= 1 + 1e-9
    first, second = sketches(2).values()
    flat = torch.cosine_similarity(first.flatten(), second.flatten(), dim=0)
    column = torch.cosine_similarity(first, second, dim=0).mean()
    want = flat if kind == "flat" else column
    assert similarity(sketches(2), kind)["a0"]["a1"] == pytest.approx(float(want), abs=1e-6)


def test_M9_a_sketch_of_nothing_is_like_nobody():
    found = similarity(sketches(2) | {"z": torch.zeros(5, 7)}, "flat")
    assert found["z"] == {"a0": 0.0, "a1": 0.0, "z": 0.0}
    assert similarity({}, "flat") == {}


@given(scores=st.lists(st.floats(-1, 1), min_size=1, max_size=9), tau=st.floats(0.01, 100))
def test_M9_weights_sum_to_one_and_keep_the_order(scores, tau):
    found = weights({PeerId(f"a{i}"): s for i, s in enumerate(scores)}, tau)
    assert sum(found.values()) == pytest.approx(1)
    for i, s in enumerate(scores):
        for j, t in enumerate(scores):
            assert s <= t or found[f"a{i}"] >= found[f"a{j}"]


def test_M9_the_temperature_goes_from_the_nearest_alone_to_all_alike():
    scores = {"a": 0.9, "b": 0.1, "c": 0.5}
    assert weights(scores, 1e-3)["a"] == pytest.approx(1)
    assert all(w == pytest.approx(1 / 3, abs=1e-3) for w in weights(scores, 1e3).values())
    peers = {f"p{i}": 0.9 if i < 2 else 0.1 for i in range(9)}
    assert weights(peers, 0.5)["p0"] == pytest.approx(0.293, abs=1e-3)
    assert weights(peers, 0.1)["p0"] == pytest.approx(0.4995, abs=1e-4)


@pytest.mark.parametrize("order", [[1, 0, 2], [2, 1, 0], [1, 2, 0]])
def test_M9_renaming_the_clients_renames_their_weights(order):
    before = sketches(3)
    after = {f"a{order[i]}": before[f"a{i}"] for i in range(3)}
    one, other = similarity(before, "flat"), similarity(after, "flat")
    for i in range(3):
        for j in range(3):
            assert one[f"a{i}"][f"a{j}"] == pytest.approx(other[f"a{order[i]}"][f"a{order[j]}"])


@pytest.mark.parametrize("noise", [0.0, NOISE])
@pytest.mark.parametrize("kind", ["flat", "column"])
def test_M9_clients_of_one_task_matter_more_to_each_other(tasks, kind, noise):
    kept = rows(PIVOT[0], 0.4, "random", generator())
    made = {
        f"{task}.{i}": sanitised(found, kept, noise, generator(10 * task + i))
        for task, draws in enumerate(tasks)
        for i, found in enumerate(draws)
    }
    found = similarity(made, kind)
    for me, row in found.items():
        others = weights({peer: s for peer, s in row.items() if peer != me}, 0.5)
        same = [w for peer, w in others.items() if peer[0] == me[0]]
        assert min(same) > max(w for peer, w in others.items() if peer[0] != me[0])


# drift


def test_M10_the_average_over_rounds_is_a_sum_of_halves():
    drawn = list(sketches(5).values())
    found = None
    for now in drawn:
        found = smoothed(found, now, 0.5)
    closed = drawn[0] / 2**4 + sum(g / 2 ** (5 - i) for i, g in enumerate(drawn) if i)
    torch.testing.assert_close(found, closed)
    assert torch.equal(smoothed(drawn[0], drawn[1], 1.0), drawn[1])


def test_M10_after_a_change_of_task_the_likeness_moves_to_the_new_peer(tasks):
    old, new = tasks[0][0], tasks[1][0]
    found, seen = old, []
    for _ in range(6):
        found = smoothed(found, tasks[1][1], 0.5)
        row = similarity({"me": found, "new": new, "old": old}, "flat")["me"]
        seen.append((row["old"], row["new"]))
    assert all(a[0] > b[0] and a[1] < b[1] for a, b in pairwise(seen))
    assert seen[2][1] > seen[2][0]
