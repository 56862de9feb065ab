"""Cosines of how agents moved slices, from sketches: against those of the parameters, and pairs counted one by one."""

from itertools import combinations, product
from statistics import mean

import plans
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cosine_similarity

from parse_p2p.core.rng import seeded
from parse_p2p.lab.analysis import movements
from parse_p2p.lab.analysis.movements import NONE, PAIR_ERROR, Movements
from parse_p2p.runtime import sketch as sketches
from parse_p2p.runtime.simulator import simulate
from parse_p2p.runtime.sketch import WIDTH, sketch


def drawn(*names, size=3000):
    return torch.randn(size, generator=seeded(*names))


def said(before, after, name="s"):
    return {"before": {name: sketch(name, before)}, "after": {name: sketch(name, after)}}


def moved(ways, name="s"):
    """Agents that begin anywhere and move a slice each its way in round 1: by (id, several)."""
    found = Movements()
    for (me, several), way in ways.items():
        start = drawn("start", me)
        found.add(me, 0, several, said(start, start, name))
        found.add(me, 1, several, said(start + way, drawn("mixed", me), name))
    return found


def test_opposite_movements_are_minus_one_and_equal_ones_one():
    way = drawn("way")
    found = moved({("a", False): way, ("b", False): 3 * way, ("c", True): -way, ("d", True): -0.5 * way})
    assert found.cosines(1, "s") == pytest.approx((-1, 1, 1), abs=1e-3)
    assert found.agents(1, "s") == (2, 2) and found.names == {"s"}
    assert found.cosines(0, "s") == NONE and found.agents(0, "s") == (0, 0), "of the first round nothing is known"
    assert found.cosines(1, "t") == NONE


def test_where_there_is_no_pair_there_is_none():
    assert moved({("a", False): drawn("way")}).cosines(1, "s") == NONE
    across, unimodal, multimodal = moved({("a", False): drawn("way"), ("c", True): drawn("way")}).cosines(1, "s")
    assert across == pytest.approx(1, abs=1e-3) and unimodal is multimodal is None


NUMBERS = st.lists(st.integers(-5, 5), min_size=WIDTH, max_size=WIDTH).filter(any)


@given(st.lists(st.tuples(st.booleans(), NUMBERS), max_size=6))
def test_means_are_those_over_all_pairs(agents):
    found = Movements()
    for i, (several, way) in enumerate(agents):
        found.add(str(i), 4, several, {"after": {"s": [1.0] * WIDTH}})
        found.add(str(i), 5, several, {"before": {"s": [1.0 + x for x in way]}})
    one, more = ([torch.tensor(w).double() for s, w in agents if s is side] for side in (False, True))

    def over(pairs):
        cosines = [float(cosine_similarity(a, b, dim=0)) for a, b in pairs]
        return mean(cosines) if cosines else None

    expected = over(product(one, more)), over(combinations(one, 2)), over(combinations(more, 2))
    for value, wanted in zip(found.cosines(5, "s"), expected, strict=True):
        assert value is wanted is None or value == pytest.approx(wanted, abs=1e-9)


def test_of_unrelated_movements_chance_leaves_what_the_width_says():
    found = [
        moved({("a", False): drawn("u"), ("b", True): drawn("v")}, f"s{i}").cosines(1, f"s{i}") for i in range(200)
    ]
    across = torch.tensor([each.across for each in found])
    truth = float(cosine_similarity(drawn("u"), drawn("v"), dim=0))
    assert float(across.mean()) == pytest.approx(truth, abs=4 * PAIR_ERROR / 200**0.5)
    assert float((across - truth).square().mean().sqrt()) == pytest.approx(PAIR_ERROR, rel=0.25)


@pytest.mark.parametrize("missing", ["round", "start", "slice", "nothing"])
def test_without_the_round_before_there_is_no_movement(missing):
    found, start = Movements(), drawn("start")
    for me, several in (("a", False), ("b", True)):
        found.add(me, 3, several, said(start, start, "t" if missing == "slice" else "s"))
        if missing == "start":
            found.forget(me)
        found.add(me, 5 if missing == "round" else 4, several, said(start + drawn("way"), start))
    at = 5 if missing == "round" else 4
    assert (found.cosines(at, "s").across is None) == (missing != "nothing")


def test_a_round_gone_through_again_counts_once_and_what_follows_goes_on_from_it():
    """An agent that was set back to round 1, and went another way from there."""
    found, start, way = Movements(), drawn("start"), drawn("way")
    found.add("b", 2, True, said(start, start))
    found.add("b", 3, True, said(start + way, start))
    for after, new in ((start, True), (5 * start, False)):
        found.add("a", 2, False, said(start, after), new)
    assert found.agents(2, "s") == (0, 0)
    found.add("a", 3, False, said(5 * start - way, start))
    assert found.cosines(3, "s").across == pytest.approx(-1, abs=1e-3)


def test_what_does_not_stand_out_of_rounding_is_no_movement():
    start, way = drawn("start"), drawn("way")
    for size, there in ((0.0, 0), (1e-6, 0), (1e-2, 1)):
        found = Movements()
        found.add("a", 0, False, said(start, start))
        found.add("a", 1, False, said(start + size * way, start))
        assert found.agents(1, "s") == (there, 0), size


@pytest.mark.parametrize(
    "odd", [None, 7, {"before": 3}, {"before": {"s": [1.0]}}, {"before": {"s": ["x"] * WIDTH}},
            {"before": {"s": [float("nan")] * WIDTH}}, {"before": {"s": [1e200] * WIDTH}},
            {"before": {"s": [10**400] * WIDTH}}, {"before": {"s": [[]] * WIDTH}}]
)  # fmt: skip
def test_what_is_no_sketch_is_passed_over(odd):
    found = Movements()
    found.add("a", 0, False, {"after": {"s": [1.0] * WIDTH}})
    found.add("a", 1, False, odd)
    assert found.names == set() and found.cosines(1, "s") == NONE


@pytest.fixture
def run(monkeypatch):
    """A simulated run with sketches of some width: what was found, and the same of the parameters themselves."""

    def simulated(width, **changes):
        for module in (sketches, movements):
            monkeypatch.setattr(module, "WIDTH", width)
        sketches._drawn.cache_clear()
        kept, sketched = {}, sketches._all

        def recording(local):
            plan, view = local.plan, local.learner.buffer.view
            kept.setdefault((local.me, local.round), []).append(
                {str(key): view(plan.regions[key]).clone() for key in plan.regions}
            )
            return sketched(local)

        monkeypatch.setattr(sketches, "_all", recording)
        plan = plans.plan({"audio": 2, "motion": 2, "audio+motion": 2}, **{"rounds": 3, "train": {"lr": 0.1}} | changes)
        people, found = plan.agent_states(), Movements()
        for p in people:
            p.sketching = True

        def watch(round, metrics, ledger):
            assert all(bool(p.sketches.get("after")) == (p.me in plan.peers) for p in people), "no coordinator moves"
            for p in people:
                found.add(p.me, round, len(p.learner.holder.modalities) > 1, p.sketches)

        simulate(people, 3, codec=plan.codec, watch=watch)
        sketches._drawn.cache_clear()
        return plan, found, kept

    yield simulated
    sketches._drawn.cache_clear()


def exact(plan, kept, round, name):
    """Mean cosines of before(t) − after(t − 1), from the parameters."""
    sides = {False: [], True: []}
    for me in plan.peers:
        if name in kept[me, round][0]:
            way = kept[me, round][0][name] - kept[me, round - 1][-1][name]
            sides[len(plan.senses(me, round)) > 1].append(way.double())
    pairs = product(sides[False], sides[True]), combinations(sides[False], 2), combinations(sides[True], 2)
    found = [[float(cosine_similarity(a, b, dim=0)) for a, b in each] for each in pairs]
    return [mean(each) if each else None for each in found]


@pytest.mark.parametrize(
    "changes", [{}, {"method": "fedavg", "model": {"network": "fission"}}], ids=["parse", "fedavg"]
)
def test_wide_sketches_give_the_cosines_of_the_parameters(run, changes):
    """Whole slices, as they were before they were sent; three standard errors of this width."""
    plan, found, kept = run(4096, **changes)
    seen = 0
    assert {"head.redundant@all", "trunk.audio@audio"} <= found.names
    for name, round in product(sorted(found.names), (1, 2)):
        for value, wanted in zip(found.cosines(round, name), exact(plan, kept, round, name), strict=True):
            assert (value is None) == (wanted is None)
            if value is not None:
                assert value == pytest.approx(wanted, abs=3 / 4096**0.5)
                seen += 1
    assert seen > 40


def test_sketches_as_they_are_logged_give_them_within_their_standard_error(run):
    plan, found, kept = run(WIDTH)
    off = [
        value - wanted
        for name, round in product(sorted(found.names), (1, 2))
        for value, wanted in zip(found.cosines(round, name), exact(plan, kept, round, name), strict=True)
        if value is not None
    ]
    assert torch.tensor(off).square().mean().sqrt() < PAIR_ERROR and max(map(abs, off)) < 3.5 * PAIR_ERROR


def test_who_combines_before_it_adapts_sends_what_it_had(run):
    _, found, _ = run(WIDTH, options={"order": "cta"})
    assert found.names == set()
