"""Killed, stopped and resumed: what was computed stays, and the others go on."""

import os
import shlex
import signal

import plans
import pytest
import running

from parse_p2p.core.errors import JoinTimeout
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.runtime import checkpoint
from parse_p2p.transports.memory import MemoryNetwork, MemoryTransport

ROUNDS = 16


@pytest.fixture(scope="module")
def uninterrupted():
    return running.simulated(running.lengthy(ROUNDS))


def test_killed_altogether_and_resumed_it_ends_as_if_nothing_had_been(tmp_path, uninterrupted):
    plan, out = running.lengthy(ROUNDS), tmp_path / "run"
    file = running.write(plan, tmp_path)
    with running.started(file, out, "--quiet", "--no-alone") as process:
        running.until_round(out, "a0", 3)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not any(running.events(out, me, "end") for me in plan.specs), "it was killed too late to show anything"
    code, printed = running.everything(file, out, "--resume")
    assert code == 0, printed
    assert all(running.events(out, me, "resumed")[0]["round"] >= 1 for me in plan.specs)
    assert running.differing(running.saved(plan, out), uninterrupted) == []


def test_ctrl_c_leaves_checkpoints_and_says_how_to_go_on(tmp_path, uninterrupted):
    plan, out = running.lengthy(ROUNDS), tmp_path / "run"
    with running.started(running.write(plan, tmp_path), out, "--quiet", "--no-alone") as process:
        running.until_round(out, "a0", 3)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        code, printed = running.ended(process)
        running.until(lambda: not running.group_lives(process.pid))
    assert "Traceback" not in printed, printed
    exit_code = code
    assert all(checkpoint.rounds(RunFolder(out).checkpoints(me)) for me in plan.specs)
    assert not any(running.events(out, me, "end") for me in plan.specs)
    [again] = [line.strip() for line in printed.splitlines() if line.strip().startswith("parse-agent")]
    _, _, file, _, folder, *more = shlex.split(again)
    assert "--resume" in more
    code, printed = running.everything(file, folder, *more)
    assert code == 0, printed
    assert running.differing(running.saved(plan, out), uninterrupted) == []
    assert exit_code == 130


def test_the_others_go_on_without_one_that_died_and_take_it_in_again(tmp_path):
    rounds = 60  # enough for a process to start meanwhile
    plan, out = running.lengthy(rounds, clocks={"heartbeat": 0.2, "lost": 10}), tmp_path / "run"
    file = running.write(plan, tmp_path)
    with running.started(file, out, "--quiet", "--no-alone") as process:
        running.until_round(out, "a1", 3)
        os.kill(running.events(out, "a1", "start")[0]["pid"], signal.SIGKILL)
        running.until_left_out(plan, out, "a1")
        with running.started(file, out, "--id", "a1", "--resume") as back:
            running.until(lambda: len(running.events(out, "a1", "joined")) == 2)
            assert not any(running.events(out, me, "end") for me in plan.specs), "the others were done before it came"
            assert running.ended(back)[0] == 0
        code, printed = running.ended(process)
    assert "a1 died (SIGKILL)" in printed and "Traceback" not in printed, printed
    first, second = (event["round"] for event in running.events(out, "a1", "joined"))
    assert first == 0 and second > 3
    assert all(running.events(out, me, "end")[0]["round"] == rounds for me in plan.specs)
    for me in plan.neighbours("a1"):
        assert [event["round"] for event in running.events(out, me, "round")] == list(range(rounds))
        assert {event["peer"] for event in running.events(out, me, "refused")} == set()
        heard = [e["round"] for e in running.events(out, me, "round") if "a1" in e["sent"]]
        assert set(range(second, rounds)) <= set(heard) and len(heard) < rounds, "a1 is left out, then written to"
    assert code == 1


def in_memory(plans_of, folder):
    post = MemoryNetwork()
    agents = [running.agent(plan, me, MemoryTransport(me, post), RunFolder(folder / me)) for me, plan in plans_of]
    return running.together(agents)


def two(**changes):
    return plans.plan({"audio+motion": 2}, clocks={"join": 1.5}, **changes)


def test_an_agent_of_another_configuration_is_refused_by_name(tmp_path):
    mine, theirs = in_memory([("a0", two()), ("a1", two(seed=1))], tmp_path)
    for error, other in ((mine, "a1"), (theirs, "a0")):
        assert isinstance(error, JoinTimeout)
        assert str(error).startswith(f"{other} is there but runs another configuration")
    assert running.events(tmp_path / "a0", "a0", "refused")[0]["kind"] == "wrong run"


def test_an_agent_that_never_comes_is_named(tmp_path):
    [error] = in_memory([("a0", two())], tmp_path)
    assert isinstance(error, JoinTimeout) and str(error).startswith("a1 did not come up for a0 within 1.5 s")
