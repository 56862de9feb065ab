"""Conflict between agents as a measure of the rounds of a run."""

from statistics import mean

import plans
import pytest

from parse_p2p.lab.experiments.engines import simulated
from parse_p2p.lab.measures.conflict import Conflict

MIX = {"audio": 2, "motion": 2, "audio+motion": 2}


def outcome(tmp_path, *measures, **changes):
    return simulated(plans.plan(MIX, rounds=3, **changes), "key", measures, tmp_path)


def test_it_is_the_mean_over_rounds_and_over_the_slices_that_both_sides_share(tmp_path, monkeypatch):
    seen = []
    asked = Conflict.found

    def remembered(self):
        seen.append(self)
        return asked(self)

    monkeypatch.setattr(Conflict, "found", remembered)
    measures = outcome(tmp_path, "conflict").measures
    [watched] = seen
    cosines = {name: [watched._movements.cosines(round, name) for round in (1, 2)] for name in watched._movements.names}
    for side in ("across", "unimodal", "multimodal"):
        by_slice = {n: [v for each in rows if (v := getattr(each, side)) is not None] for n, rows in cosines.items()}
        shared = {n for n, rows in cosines.items() if rows[0].across is not None}
        assert 0 < len(shared) < len(cosines), "synergistic slices have no agent with one modality"
        found = {n: mean(values) for n, values in by_slice.items() if values}
        assert {n: measures[f"conflict.{side} {n}"] for n in found} == pytest.approx(found)
        assert measures[f"conflict.{side}"] == pytest.approx(mean(found[n] for n in shared if n in found))
    assert watched._movements.cosines(0, "head.redundant@all").across is None


def test_it_changes_nothing_of_the_run(tmp_path):
    assert outcome(tmp_path, "conflict", "agents").accuracy == outcome(tmp_path).accuracy


def test_methods_under_which_agents_of_two_types_share_nothing_have_none_across(tmp_path):
    found = outcome(tmp_path, "conflict", method="dsgd-task").measures
    assert not any("across" in name for name in found) and any("multimodal" in name for name in found)
    assert outcome(tmp_path, "conflict", method="local").measures == {}


def test_clients_of_a_coordinator_have_it_and_who_comes_late_from_its_second_round_on(tmp_path):
    assert "conflict.across trunk.audio@audio" in outcome(tmp_path, "conflict", method="fedavg").measures
    late = {"events": [{"round": 1, "agent": me, "join": True} for me in ("a0", "a1")]}
    plan = plans.plan(MIX, rounds=3, **late)
    people = {p.me: p for p in plan.agent_states()}
    assert people["a0"].present("a0", 0) is False
    found = simulated(plan, "key", ["conflict"], tmp_path)
    assert found.accuracy["a0"][0] is None and "conflict.across" in found.measures
