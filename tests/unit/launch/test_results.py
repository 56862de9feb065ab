"""What a run came to, by type of agent: means, the worst, what crossed the wire, and the same agents alone."""

import plans
import pytest

from parse_p2p.launch.results import summarise, train_alone

MIX = {"audio": 2, "motion": 1}
ACCURACY = {"a0": 0.5, "a1": 0.75, "a2": 0.9}


@pytest.fixture(scope="module")
def plan():
    return plans.plan(MIX)


def kinds(plan):
    """The agents of each type."""
    found = {}
    for me in plan.specs:
        found.setdefault(plan.kind(me), []).append(me)
    return found


def test_a_type_has_the_mean_of_its_agents_and_the_worst(plan):
    accuracy = dict(zip(kinds(plan)["audio"] + kinds(plan)["motion"], (0.75, 0.5, 0.9), strict=True))
    rows = {row.type: row for row in summarise(plan, accuracy, None, 0, 4, 1.0).types}
    assert (rows["audio"].agents, rows["audio"].mean, rows["audio"].std) == (2, 0.625, 0.125)
    assert (rows["audio"].worst, rows["audio"].worst_agent) == (0.5, kinds(plan)["audio"][1])
    assert (rows["motion"].mean, rows["motion"].std, rows["motion"].alone) == (0.9, 0.0, None)


def test_alone_is_over_those_that_were_trained_alone(plan):
    one, other = kinds(plan)["audio"]
    rows = {row.type: row for row in summarise(plan, ACCURACY, {one: 0.4}, 0, 4, 1.0).types}
    assert (rows["audio"].alone, rows["audio"].alone_std, rows["motion"].alone) == (0.4, 0.0, None)
    [audio, _] = summarise(plan, ACCURACY, {one: 0.4, other: 0.6}, 0, 4, 1.0).types
    assert audio.alone == pytest.approx(0.5) and audio.alone_std == pytest.approx(0.1)


def test_bytes_are_of_an_agent_in_a_round(plan):
    found = summarise(plan, ACCURACY, None, 2400, 4, 1.5)
    assert (found.bytes_per_round, found.bytes_total, found.rounds, found.seconds) == (200.0, 2400, 4, 1.5)
    assert summarise(plan, ACCURACY, None, 2400, 0, 1.5).bytes_per_round == 800.0


def test_what_a_coordinator_sends_is_the_agents_though_it_is_none():
    built = plans.plan(MIX, graph="star", method="fedavg")
    found = summarise(built, ACCURACY | {"hub": 0.6}, None, 2400, 4, 1.0)
    assert found.bytes_per_round == 200.0 and [row.type for row in found.types if row.agents == 1][-1] == "coordinator"


def test_an_agent_counts_among_those_that_sense_what_it_does_in_the_end():
    one = kinds(plans.plan(MIX))["audio"][0]
    built = plans.plan(MIX, events=[{"round": 2, "agent": one, "gain": ["motion"]}])
    types = {row.type: row.agents for row in summarise(built, ACCURACY, None, 0, 4, 1.0).types}
    assert types == {"audio": 1, "motion": 1, "audio+motion": 1}


def test_the_same_agents_are_trained_alone_round_by_round(plan):
    done = []
    alone = train_alone(plan, done.append)
    assert done == [1, 2, 3, 4] and alone.keys() == plan.specs.keys()
    assert alone == train_alone(plans.plan(MIX, method="local"), done.append)


def test_a_network_that_is_nothing_alone_gives_way_to_the_default_one():
    built = plans.plan(MIX, graph="star", method="fedmosaic", rounds=1)
    assert train_alone(built, lambda done: None).keys() == set(built.peers)
