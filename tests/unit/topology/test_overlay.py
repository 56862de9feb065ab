"""Every slice is mixed over its holders and nobody else, by weights that keep its mean."""

import math
from functools import partial

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parse_p2p.core.errors import ConfigError, SpecMismatch
from parse_p2p.core.message import Message
from parse_p2p.core.mixers.weighted import weighted
from parse_p2p.core.slices import (
    Component,
    Holder,
    Region,
    SliceKey,
    both,
    everyone,
    having,
    multimodal,
    nobody,
    same_type,
)
from parse_p2p.topology import generators
from parse_p2p.topology.graph import Topology
from parse_p2p.topology.overlay import Overlays

TABLE = {
    "trunk": having,
    "rows": both(having, multimodal),
    "redundant": everyone,
    "unique": having,
    "synergistic": both(same_type, multimodal),
    "local": nobody,
}
SIZES = {"trunk": 7, "rows": 3, "redundant": 5, "unique": 2, "synergistic": 4, "local": 6}
A, V, AV = ("a",), ("v",), ("a", "v")


def holder(id, modalities, sizes=SIZES):
    """An agent whose model has a trunk and so on per modality, a fusion if it has two, and something of its own."""
    own = [Component(part, m) for m in modalities for part in ("trunk", "rows", "unique")]
    fused = [Component("synergistic")] if len(modalities) > 1 else []
    regions, start = {}, 0
    for c in [*own, Component("redundant"), *fused, Component("local")]:
        regions[c.name] = Region(c, start, start + sizes[c.part], (("weight", (sizes[c.part],)),))
        start += sizes[c.part]
    return Holder(id, modalities, regions)


def overlays(types, family="ring", table=TABLE, **options):
    """The overlays of agents a0, a1, … of these types."""
    lay = partial(generators.build, family, args={})
    graph = nx.relabel_nodes(lay(len(types)), {i: f"a{i}" for i in range(len(types))})
    topology = Topology(family, graph, family=lay, **options)
    return Overlays(topology, table, [holder(f"a{i}", kind) for i, kind in enumerate(types)])


def exchange_plans(found):
    return {me: found.plan(me) for me in found.members}


def realised(found, key):
    """W of a slice over all agents, in their order; an agent keeps what it gives to no neighbour."""
    order = list(found.members)
    matrix = np.zeros((len(order), len(order)))
    for i, me in enumerate(order):
        row = found.plan(me).weights.get(key, {})
        for peer, weight in row.items():
            matrix[i, order.index(peer)] = weight
        matrix[i, i] = 1 - sum(row.values())
    return matrix


plans = st.builds(
    overlays,
    st.lists(st.sampled_from([A, V, AV]), min_size=2, max_size=10),
    st.sampled_from(["ring", "star", "complete", "line", "tree", "chordal-ring"]),
    overlay=st.sampled_from(["per-slice", "induced"]),
    weighting=st.sampled_from(["metropolis", "uniform"]),
)


@settings(deadline=None)
@given(plans)
def test_the_realised_weights_of_every_slice(found):
    order = list(found.members)
    for key in found.keys:
        matrix, holders = realised(found, key), found.holders(key)
        np.testing.assert_array_equal(matrix, matrix.T)
        np.testing.assert_allclose(matrix.sum(axis=0), 1, atol=1e-12)
        np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-12)
        assert (matrix >= -1e-12).all()
        for i, me in enumerate(order):
            if me not in holders:
                assert matrix[i, i] == 1, "who does not hold a slice gives and takes nothing of it"
            else:
                assert all(peer in holders for peer, weight in zip(order, matrix[i], strict=True) if weight)


@settings(deadline=None)
@given(plans)
def test_who_sends_what_is_agreed_by_both_ends(found):
    all_plans = exchange_plans(found)
    for me, plan in all_plans.items():
        assert set(plan.links) == {peer for row in plan.weights.values() for peer in row} and me not in plan.links
        for peer, keys in plan.links.items():
            assert keys and keys == all_plans[peer].links[me]
            assert all(plan.regions[key].digest == all_plans[peer].regions[key].digest for key in keys)


@settings(deadline=None)
@given(plans)
def test_the_payload_is_four_bytes_for_every_parameter_of_every_link(found):
    total = sum(plan.payload() for plan in exchange_plans(found).values())
    edges = sum(found.graph(key).graph.number_of_edges() * SIZES[key.component.split(".")[0]] for key in found.keys)
    assert total == 2 * 4 * edges


def test_the_payload_of_each_kind_of_link():
    """Between audio and video nothing crosses but the redundant head; two of a kind exchange all they share."""
    payload = {}
    for pair in ((A, V), (A, AV), (A, A), (AV, AV)):
        payload[pair] = overlays(pair).plan("a0").payload()
    one = SIZES["trunk"] + SIZES["unique"] + SIZES["redundant"]
    whole = one + SIZES["trunk"] + SIZES["unique"] + 2 * SIZES["rows"] + SIZES["synergistic"]
    assert payload == {(A, V): 4 * SIZES["redundant"], (A, AV): 4 * one, (A, A): 4 * one, (AV, AV): 4 * whole}


def test_slices_and_holders_of_a_small_plan():
    found = overlays([A, V, AV, AV])
    holders = {str(key): sorted(found.holders(key)) for key in found.keys}
    every, both_kinds = ["a0", "a1", "a2", "a3"], ["a2", "a3"]
    assert holders == {
        "redundant@all": every,
        "synergistic@type:a+v&multimodal": both_kinds,
        **{f"{part}.a@a": ["a0", *both_kinds] for part in ("trunk", "unique")},
        **{f"{part}.v@v": ["a1", *both_kinds] for part in ("trunk", "unique")},
        **{f"rows.{m}@{m}&multimodal": both_kinds for m in "av"},
    }
    assert found.graph(SliceKey("trunk.a", "a")) is found.graph(SliceKey("unique.a", "a"))
    assert {name: set(graph.peers) for name, graph in found.groups().items()} == {
        "all": set(every), "a": {"a0", *both_kinds}, "v": {"a1", *both_kinds},
        "a&multimodal": set(both_kinds), "v&multimodal": set(both_kinds), "type:a+v&multimodal": set(both_kinds),
    }  # fmt: skip


def test_a_slice_of_one_holder_goes_nowhere():
    found = overlays([A, A, V])
    plan = found.plan("a2")
    assert plan.weights[SliceKey("trunk.v", "v")] == {}
    assert {str(key) for keys in plan.links.values() for key in keys} == {"redundant@all"}


def test_a_table_that_shares_nothing_has_no_links():
    found = overlays([AV, AV], table=dict.fromkeys(TABLE, nobody))
    assert found.keys == () and found.groups() == {}
    assert found.plan("a0").links == {} and found.plan("a0").payload() == 0


def test_unequal_layouts_are_refused_in_one_sentence():
    topology = overlays([A, A]).topology
    unequal = [holder("a0", A), holder("a1", A, SIZES | {"unique": 9})]
    with pytest.raises(ConfigError, match=r"a0 and a1.*unique\.a@a.*2 and 9") as refused:
        Overlays(topology, TABLE, unequal)
    assert "\n" not in str(refused.value) and ". " not in str(refused.value)
    Overlays(topology, TABLE | {"unique": nobody}, unequal)  # what is not shared may differ


def test_layouts_may_differ_between_groups():
    different = [holder("a0", A), holder("a1", V, SIZES | {"trunk": 9, "unique": 9})]
    Overlays(overlays([A, A]).topology, TABLE, different)


# what comes over a link


def sound(plan, peer):
    return {str(key): torch.zeros(plan.regions[key].size) for key in plan.links.get(peer, ())}


def test_a_link_takes_its_own_slices():
    plan = overlays([A, V, AV, AV]).plan("a2")
    for peer in plan.links:
        plan.check(peer, Message(sound(plan, peer), {"extra": "facts are the method's affair"}))


@pytest.mark.parametrize(
    ("change", "about"),
    [
        pytest.param(lambda t: t.pop("redundant@all"), "redundant@all", id="missing"),
        pytest.param(lambda t: t.update({"trunk.v@v": torch.zeros(7)}), "trunk.v@v", id="one of another link"),
        pytest.param(lambda t: t.update(x=torch.zeros(1)), " x", id="extra"),
        pytest.param(lambda t: t.clear(), "redundant@all", id="nothing"),
        pytest.param(lambda t: t.update({"redundant@all": torch.zeros(4)}), "redundant@all", id="shorter"),
        pytest.param(lambda t: t.update({"redundant@all": torch.zeros(6)}), "redundant@all", id="longer"),
        pytest.param(lambda t: t.update({"redundant@all": torch.zeros(5, 1)}), "redundant@all", id="two axes"),
        pytest.param(lambda t: t.update({"redundant@all": torch.zeros(())}), "redundant@all", id="no axes"),
        pytest.param(lambda t: t.update({"redundant@all": torch.zeros(5).int()}), "redundant@all", id="integers"),
        pytest.param(lambda t: t["redundant@all"].__setitem__(2, math.nan), "redundant@all", id="nan"),
        pytest.param(lambda t: t["redundant@all"].__setitem__(4, math.inf), "redundant@all", id="inf"),
        pytest.param(lambda t: t["trunk.a@a"].__setitem__(0, -math.inf), "trunk.a@a", id="minus inf"),
    ],
)
def test_a_link_refuses_anything_else_by_name(change, about):
    plan = overlays([A, AV]).plan("a1")
    tensors = sound(plan, "a0")
    change(tensors)
    with pytest.raises(SpecMismatch) as refused:
        plan.check("a0", Message(tensors))
    text = str(refused.value)
    assert "a0" in text and about in text and "\n" not in text


def test_who_has_no_link_may_send_nothing():
    plan = overlays([A, A, V, A, A]).plan("a0")
    assert "a2" not in plan.links
    with pytest.raises(SpecMismatch, match="redundant@all"):
        plan.check("a2", Message({"redundant@all": torch.zeros(5)}))


# mixing by these weights


def copies(found, key, seed=0, dtype=torch.float32):
    rng = torch.Generator().manual_seed(seed)
    size = SIZES[key.component.split(".")[0]]
    return {me: torch.randn(size, generator=rng).to(dtype) for me in sorted(found.holders(key))}


def mixed(found, key, before, absent=(), order=sorted):
    """All copies of a slice after one round; ``absent`` are pairs (receiver, sender) whose messages are lost."""
    after = {}
    for me, mine in before.items():
        weights = found.plan(me).weights[key]
        theirs = {peer: before[peer] for peer in order(weights) if (me, peer) not in absent}
        after[me] = mine.clone()
        weighted(after[me], theirs, weights)
    return after


def total(copies):
    return torch.stack(list(copies.values())).double().sum(0)


@settings(deadline=None, max_examples=50)
@given(plans, st.integers(0, 99))
def test_mixing_keeps_the_sum_over_the_holders(found, seed):
    for key in found.keys:
        before = copies(found, key, seed)
        size = total({me: copy.abs() for me, copy in before.items()})
        change = (total(mixed(found, key, before)) - total(before)).abs()
        assert (change <= 1e-6 * size).all()


@settings(deadline=None, max_examples=50)
@given(plans, st.integers(0, 99))
def test_mixing_is_the_product_with_the_realised_weights(found, seed):
    order = list(found.members)
    for key in found.keys:
        before = copies(found, key, seed, torch.float64)
        rows = [order.index(me) for me in before]
        wanted = realised(found, key)[np.ix_(rows, rows)] @ torch.stack(list(before.values())).numpy()
        np.testing.assert_allclose(torch.stack(list(mixed(found, key, before).values())), wanted, atol=1e-12)


@settings(deadline=None, max_examples=50)
@given(plans, st.integers(0, 99))
def test_equal_copies_stay_equal_to_the_last_bit(found, seed):
    for key in found.keys:
        one = next(iter(copies(found, key, seed).values()))
        for after in mixed(found, key, dict.fromkeys(found.holders(key), one)).values():
            assert torch.equal(after, one)


@settings(deadline=None, max_examples=50)
@given(plans, st.randoms(use_true_random=False))
def test_the_order_of_arrival_makes_no_difference_to_the_last_bit(found, rng):
    for key in found.keys:
        before = copies(found, key)
        shuffled = mixed(found, key, before, order=lambda peers: rng.sample(list(peers), len(peers)))
        for me, after in mixed(found, key, before).items():
            assert torch.equal(after, shuffled[me])


def row_of(found, key, me, absent=()):
    """What an agent makes of unit vectors: its row of W as the mixer applies it."""
    holders = sorted(found.holders(key))
    units = dict(zip(holders, torch.eye(len(holders), dtype=torch.float64), strict=True))
    return dict(zip(holders, mixed(found, key, units, absent)[me].tolist(), strict=True))


def test_the_weight_of_a_missing_neighbour_stays_at_home():
    found, key = overlays(4 * [AV], "complete"), SliceKey("redundant", "all")
    assert row_of(found, key, "a0") == pytest.approx(dict.fromkeys(found.members, 1 / 4))
    part = row_of(found, key, "a0", {("a0", "a2")})
    assert part == pytest.approx({"a0": 1 / 2, "a1": 1 / 4, "a2": 0, "a3": 1 / 4}) and sum(part.values()) == 1
    alone = row_of(found, key, "a0", {("a0", peer) for peer in found.members})
    assert alone == {"a0": 1, "a1": 0, "a2": 0, "a3": 0}


@settings(deadline=None, max_examples=50)
@given(plans, st.randoms(use_true_random=False))
def test_every_row_sums_to_one_whatever_is_lost_and_lost_both_ways_the_sum_stays(found, rng):
    key = SliceKey("redundant", "all")
    pairs = [(me, peer) for me in found.members for peer in found.plan(me).weights[key]]
    lost = {pair for pair in pairs if rng.random() < 0.3}
    for me in found.members:
        row = row_of(found, key, me, lost)
        assert sum(row.values()) == pytest.approx(1) and min(row.values()) >= -1e-12
    both_ways = lost | {(peer, me) for me, peer in lost}
    before = copies(found, key, dtype=torch.float64)
    torch.testing.assert_close(total(mixed(found, key, before, both_ways)), total(before))


# joining and leaving; everybody with everybody, so that one round ends at the mean


def mean_after(count, models):
    found = overlays(count * [AV], "complete")
    key = SliceKey("redundant", "all")
    before = {f"a{i}": model for i, model in enumerate(models)}
    after = mixed(found, key, before)
    for model in after.values():
        torch.testing.assert_close(model, after["a0"])
    return after["a0"]


def test_a_joiner_and_a_leaver_move_the_mean_by_their_share():
    models = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    stay, last = models[:-1], models[-1]
    without, with_last = mean_after(5, stay), mean_after(6, models)
    torch.testing.assert_close(with_last - without, (last - without) / 6)
    torch.testing.assert_close(without - with_last, (with_last - last) / 5)


def test_who_joins_with_the_mean_of_its_co_holders_moves_nothing():
    stay = torch.randn(5, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mean = mean_after(5, stay)
    torch.testing.assert_close(mean_after(6, [*stay, mean]), mean)
