"""Sketches in logs say how far apart agents are."""

import plans
import pytest
import torch
from mosaics import mosaic

from parse_p2p.core.rng import seeded
from parse_p2p.core.types import Role
from parse_p2p.runtime.simulator import simulate
from parse_p2p.runtime.sketch import WIDTH, consensus_distance, sketch


def drawn(*names, size=5000):
    return torch.randn(size, generator=seeded(*names))


def test_a_sketch_is_linear_and_the_same_on_every_agent():
    x, y = drawn("x"), drawn("y")
    mixed = torch.tensor(sketch("s", 0.3 * x + 0.7 * y))
    assert torch.allclose(mixed, 0.3 * torch.tensor(sketch("s", x)) + 0.7 * torch.tensor(sketch("s", y)), atol=0.02)
    assert len(mixed) == WIDTH


def test_the_squared_norm_is_right_on_average():
    """Within four standard errors of the mean over 200 slices, each with signs of its own."""
    x = drawn("x")
    found = [sum(v * v for v in sketch(f"s{i}", x)) / float(x.square().sum()) for i in range(200)]
    assert sum(found) / 200 == pytest.approx(1, abs=4 * (2 / WIDTH / 200) ** 0.5)


def test_columns_of_a_layer_do_not_end_in_one_sum():
    """All in one of 32 columns, as a layer of that width may have it: the spread is that of any other slice."""
    x = torch.zeros(64, 32)
    x[:, 7] = drawn("column", size=64)
    found = torch.tensor([sum(v * v for v in sketch(f"s{i}", x.flatten())) for i in range(200)]) / x.square().sum()
    assert float(found.std()) < 0.5


def test_consensus_distance_is_estimated():
    agents = [drawn("agent", i) for i in range(8)]
    stacked = torch.stack(agents)
    truth = float((stacked - stacked.mean(0)).square().sum(1).mean().sqrt())
    assert consensus_distance([sketch("s", x) for x in agents]) == pytest.approx(truth, rel=0.3)
    assert consensus_distance([sketch("s", agents[0])] * 8) < 1e-12


def test_mixing_brings_sketches_together_as_its_gap_says():
    """‖X' − X̄‖ ≤ ρ ‖X − X̄‖, which the sketches must show too, for they are linear."""
    plan = plans.plan({"audio": 5}, rounds=1)
    people = plan.agent_states()
    for p in people:
        p.sketching = True
    simulate(people, 1)
    overlays = plan.overlays(0)
    for key in overlays.keys:
        before, after = ([p.sketches[when][str(key)] for p in people] for when in ("before", "after"))
        assert consensus_distance(before) > 0
        rho = 1 - overlays.graph(key).spectral_gap()
        assert consensus_distance(after) <= rho * consensus_distance(before) + 1e-4


def test_a_client_that_greets_before_it_trains_is_sketched_as_it_sends_what_it_trained():
    people = mosaic(rounds=2).agent_states()
    kept = {p.me: [] for p in people if p.role == Role.CLIENT}
    for p in people:
        p.sketching = True

    def note(round, metrics, ledger):
        for p in people:
            if p.me in kept:
                kept[p.me].append({when: dict(slices) for when, slices in p.sketches.items()})

    simulate(people, 2, watch=note)
    for first, second in kept.values():
        assert second["before"].keys() == second["after"].keys() != set()
        assert any(second["before"][name] != first["after"][name] for name in first["after"])
