"""A coordinator that dies and returns, clients that are slow or gone: real processes, real signals."""

import os
import signal

import pytest
import running

HUB = "hub"
CLOCKS = {"heartbeat": 0.2, "lost": 2}


def pid(out, me):
    return running.events(out, me, "start")[-1]["pid"]


def updates(out):
    """How many updates the coordinator had in each round."""
    return {event["round"]: event["updates"] for event in running.events(out, HUB, "round")}


@pytest.mark.parametrize("clock", [60, 1])
def test_clients_wait_for_a_dead_coordinator_then_train_alone_then_follow_it_again(clock, tmp_path):
    rounds = 20 if clock == 60 else 80
    # who is alone waits for no message, however slow: training itself takes its time, so that the hub is back before
    slow = {"faults": [running.SLOW]} if clock == 60 else {"model": running.PACED}
    plan = running.plan(rounds=rounds, method="fedavg", clocks=CLOCKS | {"coordinator": clock}, **slow)
    out, file = tmp_path / "run", running.write(plan, tmp_path)
    with running.started(file, out, "--quiet", "--no-alone") as process:
        running.until_round(out, "a0", 3)
        os.kill(pid(out, HUB), signal.SIGKILL)
        running.until(lambda: all(running.events(out, me, "waiting") for me in plan.peers))
        if clock == 1:
            running.until(lambda: all(running.events(out, me, "alone") for me in plan.peers))
        with running.started(file, out, "--id", HUB, "--resume") as back:
            running.until(lambda: len(running.events(out, HUB, "joined")) == 2)
            code, printed = running.ended(back)
        assert code == 0, printed
        code, printed = running.ended(process)
    assert "hub died (SIGKILL)" in printed and "Traceback" not in printed, printed
    second = running.events(out, HUB, "joined")[1]["round"]
    for me in plan.peers:
        done = [event["round"] for event in running.events(out, me, "round")]
        assert done == list(range(rounds)), "a client lost a round"
        assert running.events(out, me, "end")
        if clock == 60:
            assert running.events(out, me, "alone") == []
    if clock == 60:
        assert second <= running.events(out, "a0", "waiting")[0]["round"] + 2, "the clients did not wait"
    else:
        assert second > running.events(out, "a0", "alone")[0]["round"]
    heard = updates(out)
    assert all(heard[round] == len(plan.peers) for round in range(second + 1, rounds)), heard
    finals = running.saved(plan, out)
    regions = plan.holders["a0"].regions
    same = finals["a0"]["parameters"][regions["trunk.audio"].start : regions["trunk.audio"].stop]
    hubs = plan.holders[HUB].regions["trunk.audio"]
    assert same.equal(finals[HUB]["parameters"][hubs.start : hubs.stop]), "a client did not end with the global model"


def test_after_the_deadline_the_round_goes_on_without_a_straggler(tmp_path):
    plan = running.lengthy(20, method="fedavg", options={"deadline": 1.5}, clocks={"heartbeat": 0.2, "lost": 60})
    out, file = tmp_path / "run", running.write(plan, tmp_path)
    with running.started(file, out, "--quiet", "--no-alone") as process:
        running.until_round(out, HUB, 3)
        os.kill(pid(out, "a1"), signal.SIGSTOP)
        try:
            running.until(lambda: sum(n < len(plan.peers) for n in updates(out).values()) >= 3)
        finally:
            os.kill(pid(out, "a1"), signal.SIGCONT)
        code, printed = running.ended(process)
    assert code == 0, printed
    assert sum("a1" in event["peers"] for event in running.events(out, HUB, "missing")) >= 3
    assert running.events(out, "a1", "end") and running.events(out, "a1", "lost") == []


def test_without_its_quorum_a_round_changes_nothing(tmp_path):
    plan = running.plan(method="fedavg", options={"quorum": 6})  # there are five
    start = plan.initialised(plan.specs[HUB]).state_dict()
    states = running.over_memory(plan, tmp_path)
    agent_state = plan.agent_state(HUB)
    agent_state.restore(states[HUB])
    for name, tensor in agent_state.learner.model.state_dict().items():
        assert tensor.equal(start[name]), name
    assert all(event["updates"] == 5 for event in running.events(tmp_path, HUB, "round"))


def test_one_client_killed_is_left_out_and_taken_in_again(tmp_path):
    rounds = 40
    plan = running.lengthy(rounds, method="fedavg", clocks=CLOCKS)
    out, file = tmp_path / "run", running.write(plan, tmp_path)
    with running.started(file, out, "--quiet", "--no-alone") as process:
        running.until_round(out, "a1", 3)
        os.kill(pid(out, "a1"), signal.SIGKILL)
        running.until(lambda: any(n < len(plan.peers) for n in updates(out).values()))
        with running.started(file, out, "--id", "a1", "--resume") as back:
            assert running.ended(back)[0] == 0
        _, printed = running.ended(process)
    assert "a1 died (SIGKILL)" in printed and "Traceback" not in printed, printed
    second = running.events(out, "a1", "joined")[1]["round"]
    assert all(n == len(plan.peers) for round, n in updates(out).items() if round > second)
