"""Agents that are started one by one, again and again by the same command, and the summary of what they came to."""

import json

import plans
import pytest
import running

from parse_p2p.config import run_file
from parse_p2p.launch.run_folder import RunFolder

AGAIN = "--start-or-resume"


def pair(**changes):
    """Two agents that share all they have."""
    return plans.plan({"audio": 1, "audio+motion": 1}, graph="line", **changes)


@pytest.fixture
def finished(tmp_path):
    """The folder of a run that came to its end, without a summary."""
    plan = pair(rounds=3)
    running.over_memory(plan, tmp_path)
    RunFolder(tmp_path).write(plan.run)
    return plan, tmp_path


def cut(path, lines):
    """Leave out the last lines of a log."""
    kept = path.read_text().splitlines()[:-lines]
    path.write_text("".join(f"{line}\n" for line in kept))


def test_they_go_on_by_the_same_command_and_the_summary_waits_for_them(tmp_path, agent):
    file, out = running.write(pair(rounds=60), tmp_path), tmp_path / "run"

    def start(me):
        return running.started(file, out, "--id", me, AGAIN)

    with start("a0") as one, start("a1") as other:
        running.until_round(out, "a1", 2)
        one.kill()
        other.kill()
    with start("a0") as one, start("a1") as other:
        code, said, _ = agent("summary", out, "--wait", "--no-alone")
        assert running.ended(one)[0] == running.ended(other)[0] == 0
    assert code == 0 and said.index("round  60/60") < said.index("accuracy on the test set") < said.index(str(out))
    assert json.loads(RunFolder(out).summary.read_text())["rounds"] == 60
    for me in ("a0", "a1"):
        assert [event["round"] > 0 for event in running.events(out, me, "resumed")] == [True]
    code, said, _ = agent("--topology", file, "--out", out, "--id", "a1", AGAIN)
    assert code == 0 and "a1 has finished its rounds already" in said
    assert running.events(out, "a1")[-1]["event"] == "end"


def test_the_summary_is_of_all_and_is_kept(finished, agent):
    plan, out = finished
    code, said, err = agent("summary", out)
    assert (code, err) == (0, "") and "alone" in said and "gain" in said and "round " not in said.split("accuracy")[0]
    kept = json.loads(RunFolder(out).summary.read_text())
    rounds = {me: running.events(out, me, "round") for me in plan.specs}
    assert kept["bytes_total"] == sum(event["wire_out"] for events in rounds.values() for event in events)
    assert {row["type"]: row["mean"] for row in kept["types"]} == {
        plan.kind(me): events[-1]["accuracy"] for me, events in rounds.items()
    }


def test_who_is_not_at_its_end_is_named_and_nothing_is_kept(finished, agent):
    _, out = finished
    cut(RunFolder(out).events("a0"), 2)  # the last round and the end
    code, said, _ = agent("summary", out, "--no-alone")
    assert code == 1 and "a0 is not at its end: 2 of 3 rounds are done" in said and "a1 is not" not in said
    assert not RunFolder(out).summary.exists()
    RunFolder(out).events("a0").unlink()
    code, said, _ = agent("summary", out, "--no-alone", "--wait", "--patience", "0.1")
    assert code == 1 and "a0 has logged nothing here" in said


def test_a_run_that_goes_on_for_more_rounds_is_not_at_its_end(finished, agent):
    plan, out = finished
    RunFolder(out).write(plan.run.model_copy(update={"rounds": 5}))
    code, said, _ = agent("summary", out, "--no-alone")
    assert code == 1 and "a0 is not at its end: 3 of 5 rounds" in said and "a1 is not at its end" in said


def test_one_that_failed_is_not_waited_for(finished, agent):
    _, out = finished
    log = RunFolder(out).events("a1")
    cut(log, 1)
    with log.open("a") as file:
        file.write(json.dumps({"event": "failed", "agent": "a1", "time": 1, "why": "the loss is no number"}) + "\n")
    code, said, _ = agent("summary", out, "--no-alone", "--wait", "--patience", "1000")
    assert code == 1 and "a1 failed: the loss is no number" in said


def test_an_agent_alone_logs_why_it_failed(tmp_path, agent):
    file = running.write(pair(clocks={"join": 0.2}), tmp_path)
    code, _, err = agent("--topology", file, "--id", "a0", "--out", tmp_path / "run")
    assert code == 2 and "did not come up" in err
    assert running.events(tmp_path / "run", "a0")[-1]["event"] == "failed"


def test_without_a_run_or_a_round_there_is_no_summary(tmp_path, agent):
    code, _, err = agent("summary", tmp_path / "none", "--wait", "--patience", "0.1")
    assert code == 2 and "there is no run in" in err
    RunFolder(tmp_path).write(pair().run)
    code, _, err = agent("summary", tmp_path)
    assert code == 2 and "no agent has finished a round yet" in err and "--wait" in err


def test_all_agents_at_once_have_another_word_for_it(tmp_path, agent):
    code, _, err = agent("--topology", running.write(pair(), tmp_path), AGAIN)
    assert code == 2 and "--start-or-resume is for one agent: add its --id" in err
    assert run_file.load(tmp_path / "world.yaml").rounds == 4
