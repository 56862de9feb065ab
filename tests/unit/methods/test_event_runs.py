"""Runs whose agents and modalities change: overlays re-form, sums obey the identities of joining and leaving."""

import pytest
import torch
from plans import differing, finished, mixing_only, plan, under

from parse_p2p.core.errors import ConfigError
from parse_p2p.runtime.simulator import simulate

MIX = {"audio": 3, "motion": 2, "audio+motion": 3}  # a0 .. a7, alternating
PLAN = [
    {"round": 2, "agent": "a0", "gain": ["motion"]},
    {"round": 3, "agent": "a1", "lose": ["audio"]},
    {"round": 4, "agent": "a5", "join": True},
    {"round": 5, "agent": "a3", "leave": True},
]


def eventful(events=PLAN, method="parse", rounds=7, **changes):
    return plan(MIX, method=method, rounds=rounds, events=events, **changes)


def kinds(made):
    return {me: "+".join(spec.modalities) for me, spec in made.specs.items()}


def test_the_plan_fits_the_agents():
    assert kinds(eventful([])) == kinds(eventful()) and kinds(eventful())["a1"] == "audio+motion"
    assert kinds(eventful())["a0"] == "audio"


@pytest.mark.parametrize("overlay", ["per-slice", "induced"])
@pytest.mark.parametrize("varying", [None, {"kind": "regular"}, {"kind": "matching"}])
def test_overlays_re_form_and_stay_doubly_stochastic(overlay, varying):
    made = eventful(overlay=overlay, varying=varying, graph="complete")
    for round in range(7):
        there = made.membership.at(round)
        overlays = made.overlays(round)
        assert set(overlays.members) == set(there)
        for key in overlays.keys:
            holders = overlays.holders(key)
            rows = {me: dict(overlays.plan(me).weights[key]) for me in holders}
            for me, row in rows.items():
                assert set(row) <= holders - {me} and sum(row.values()) <= 1 + 1e-12
                assert all(rows[peer][me] == pytest.approx(weight, abs=1e-12) for peer, weight in row.items())
    trunk = next(key for key in made.laid(0).keys if key.component == "trunk.audio")
    assert "a1" in made.laid(2).holders(trunk) and "a1" not in made.laid(3).holders(trunk)


def spread(agent_states, key, overlays):
    """Mean of a slice over its holders, and the sum of squared distances from it."""
    rows = [
        p.learner.buffer.view(overlays.plan(p.me).regions[key]) for p in agent_states if p.me in overlays.holders(key)
    ]
    copies = torch.stack(rows).double()
    return copies.mean(0), ((copies - copies.mean(0)) ** 2).sum().item(), len(rows)


def moved(events, round):
    """Agents of a run without learning, from unequal models, before and after what happens in a round; no mixing."""

    def still(local, options):
        yield from ()
        return {"loss": 0.0}

    made = under(eventful(events, rounds=round + 1, model={"init": "own"}), script=still)
    agents = made.agent_states()
    simulate(agents, round)
    keys = [key for key in made.laid(round).keys if key in made.laid(round - 1).keys]
    before = {key: spread(agents, key, made.overlays(round - 1)) for key in keys}
    copies = {a.me: a.learner.buffer.values.double().clone() for a in agents}
    simulate(agents, round + 1, start=round)
    return made, keys, before, {key: spread(agents, key, made.overlays(round)) for key in keys}, copies


def test_who_gains_a_slice_starts_at_the_mean_of_its_holders_so_mean_and_spread_stay():
    _, keys, before, after, _ = moved([{"round": 2, "agent": "a0", "gain": ["motion"]}], 2)
    gained = [key for key in keys if after[key][2] == before[key][2] + 1]
    assert {"trunk.motion", "head.synergistic"} <= {key.component for key in gained}
    for key in keys:
        (mean, energy, _), (now, now_energy, _) = before[key], after[key]
        if key in gained:  # v = x̄ in x̄' − x̄ = (v − x̄)/(n+1) and Ξ' = Ξ + n/(n+1)·‖v − x̄‖²
            assert (now - mean).abs().max() < 1e-6 and now_energy == pytest.approx(energy, rel=1e-6)


def test_the_mean_and_the_spread_after_a_loss_are_those_of_who_is_left():
    made, keys, before, after, copies = moved([{"round": 2, "agent": "a1", "lose": ["audio"]}], 2)
    lost = [key for key in keys if after[key][2] == before[key][2] - 1]
    assert "trunk.audio" in {key.component for key in lost}
    for key in lost:
        (mean, energy, n), (now, now_energy, _) = before[key], after[key]
        region = made.overlays(1).plan("a1").regions[key]
        own = copies["a1"][region.start : region.stop]
        assert torch.allclose(now - mean, (mean - own) / (n - 1), atol=1e-6)
        assert now_energy == pytest.approx(energy - n / (n - 1) * ((own - mean) ** 2).sum().item(), rel=1e-6)


def test_mixing_keeps_the_sum_of_every_slice_between_the_events():
    made = under(eventful(model={"init": "own"}), script=mixing_only)
    agents = made.agent_states()
    simulate(agents, 2)
    for round in range(2, 7):
        simulate(agents, round + 1, start=round)
        first = {key: spread(agents, key, made.overlays(round))[0] for key in made.overlays(round).keys}
        if not made.membership.changed(round + 1) and round + 1 < 7:
            simulate(agents, round + 2, start=round + 1)
            for key, mean in first.items():
                assert (spread(agents, key, made.overlays(round))[0] - mean).abs().max() < 1e-6


@pytest.mark.parametrize("method", ["parse", "dsgd_task", "dsgd_hybrid", "harmony"])
def test_every_method_of_the_family_runs_through_the_plan(method):
    agents, metrics = finished(eventful(method=method))
    assert agents["a0"].learner.holder.modalities == ("audio", "motion")
    assert agents["a1"].learner.holder.modalities == ("motion",)
    assert "a3" not in metrics and "a5" in metrics
    assert all(agents[me].learner.buffer.values.isfinite().all() for me in agents)


def test_what_is_lost_is_kept_for_a_quick_return():
    made = under(
        eventful([{"round": 2, "agent": "a1", "lose": ["audio"]}, {"round": 4, "agent": "a1", "gain": ["audio"]}]),
        script=mixing_only,
    )
    agents = {p.me: p for p in made.agent_states()}
    simulate(list(agents.values()), 3)
    kept = {name for name in agents["a1"].memory if name.startswith("kept/")}
    assert "kept/trunk.audio" in kept
    simulate(list(agents.values()), 5, start=3)
    assert not [name for name in agents["a1"].memory if name.startswith("kept/")]


def test_a_run_resumed_from_any_round_ends_like_one_that_was_not_interrupted():
    whole, kept = eventful().agent_states(), {}
    simulate(whole, 7, watch=lambda round, *_: kept.update({round + 1: {a.me: a.state() for a in whole}}))
    for cut in range(1, 7):
        again = eventful().agent_states()
        for agent in again:
            if cut > agent.span.start:
                agent.restore(kept[cut][agent.me])
        simulate(again, 7, start=cut)
        assert differing({a.me: a for a in whole}, {a.me: a for a in again}) == [], f"resumed in round {cut}"


def test_a_broken_sensor_spoils_no_parameter_and_is_named():
    sensor = {"kind": "sensor", "agents": ["a1"], "modality": "audio", "round": 2}
    agents, _ = finished(plan(MIX, rounds=5, faults=[sensor]))
    assert agents["a1"].failed == ("audio",) and agents["a0"].failed == ()
    assert all(agent.learner.buffer.values.isfinite().all() for agent in agents.values())
    sound, _ = finished(plan(MIX, rounds=5))
    assert not torch.equal(sound["a1"].learner.buffer.values, agents["a1"].learner.buffer.values)


def test_a_sensor_that_nobody_has_cannot_break():
    sensor = {"kind": "sensor", "agents": ["a1"], "modality": "smell", "round": 2}
    with pytest.raises(ConfigError, match="no agent ever has 'smell'"):
        plan(MIX, faults=[sensor])
