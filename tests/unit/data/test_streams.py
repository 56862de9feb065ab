"""Tasks that shift over time: what is alike, what differs, and when a client sees what."""

import pytest
import torch
from plans import dealt, differing, finished, plan

from parse_p2p.data.streams import StreamOptions, change, join, stream
from parse_p2p.runtime.simulator import simulate

STREAM = {"tasks": 2, "groups": 2, "rounds": 2}
BITS = dealt(plan(data={"samples": 1600}))
DATA = BITS.train, BITS.test


def rule(seen, plain=DATA[0]):
    """The permutation of the labels, read off the samples."""
    return {int(a): int(b) for a, b in zip(plain.targets, seen.targets, strict=True)}


def test_clients_of_one_group_share_the_rule_and_nearly_the_offset_of_a_task():
    options = StreamOptions(shift=1.0, within=0.2)
    a, b, other = (change(DATA[0], g, client, 0, options, seed=0) for g, client in ((0, 0), (0, 2), (1, 1)))
    assert rule(a) == rule(b) != rule(other)
    assert sorted(rule(a).values()) == list(range(DATA[0].classes))
    near, far = ((a.in_memory()["audio"] - x.in_memory()["audio"]).norm() for x in (b, other))
    assert 0 < near < far
    assert rule(change(DATA[0], 0, 0, 1, options, seed=0)) != rule(a), "the next task has another rule"


def test_without_rule_and_offset_every_task_is_the_data_set_itself():
    plain = change(DATA[0], 1, 1, 1, StreamOptions(relabel=False, shift=0.0), seed=0)
    assert torch.equal(plain.targets, DATA[0].targets)
    assert torch.equal(plain.inputs["audio"], DATA[0].inputs["audio"])


def test_a_client_sees_its_tasks_one_after_another_and_keeps_what_it_saw():
    options = StreamOptions(tasks=3, rounds=2)
    mine = stream(*DATA, 0, 4, options, seed=0)
    sizes = [len(mine.at(round)) for round in range(8)]
    assert sizes[0] == sizes[1] < sizes[2] == sizes[3] < sizes[4] == sizes[7] == len(DATA[0])
    assert len(mine.own) == 3 * len(DATA[1]) and len(mine.others) == 3 * 3 * len(DATA[1])


def test_samples_and_labels_stay_together():
    parts = [DATA[0].select(range(5)), DATA[0].select(range(5, 9))]
    whole = join(parts)
    assert torch.equal(whole.targets, DATA[0].targets[:9])
    assert torch.equal(whole.inputs["motion"], DATA[0].inputs["motion"][:9])


@pytest.mark.parametrize("method", ["local", "parse", "fedavg"])
def test_a_run_with_shifting_tasks_tells_own_from_others_and_resumes_exactly(method):
    def made():
        return plan(method=method, data={"samples": 800}, stream=STREAM, rounds=4)

    whole, _ = finished(made())
    for me, agent in whole.items():
        found = agent.learner.evaluate()
        assert ("others" in found) == (me != "hub")
        assert agent.learner.samples > 0 or me == "hub"
    first = finished(made(), rounds=1)[0]
    second = made().agent_states()
    for agent in second:
        agent.restore(first[agent.me].state())
    simulate(second, 4, start=1)
    assert differing(whole, {agent.me: agent for agent in second}) == []


def test_a_client_alone_is_better_at_its_own_tasks_than_at_those_of_others():
    w = plan(method="local", data={"samples": 3200, "atoms": ["redundant"]}, stream=STREAM, rounds=12)
    found = [agent.learner.evaluate() for agent in finished(w)[0].values()]
    assert sum(f["accuracy"] - f["others"] for f in found) / len(found) > 0.1
