"""Agents that come and go, and gain and lose modalities, on every ground: all end as in the simulator."""

import asyncio
import os
import signal
from types import SimpleNamespace

import pytest
import running

from parse_p2p.cli import tell as telling
from parse_p2p.core.errors import ConfigError
from parse_p2p.launch.run_folder import RunFolder

EVENTS = [
    {"round": 2, "agent": "a0", "gain": ["motion"]},
    {"round": 3, "agent": "a3", "join": True},
    {"round": 4, "agent": "a1", "leave": True},
    {"round": 5, "agent": "a0", "lose": ["audio"]},
]


def plan(**changes):
    return running.plan(**{"rounds": 7, "events": EVENTS} | changes)


@pytest.mark.parametrize("ground", [running.over_memory, running.over_ipc, running.over_processes])
def test_agents_end_as_in_the_simulator(ground, tmp_path):
    assert plan().kind("a0") == "audio", "it has something to gain"
    assert running.differing(ground(plan(), tmp_path), running.simulated(plan())) == []


@pytest.mark.parametrize("patience", [running.GUARD, 0.2])
def test_who_is_planned_to_join_is_waited_for_however_late_it_is_started(patience, tmp_path):
    made, folder = plan(clocks={"join": patience}), RunFolder(tmp_path)
    agents = {me: running.agent(made, me, transport, folder) for me, transport in running.memory(made)}
    last = agents.pop("a3")

    async def late(stop):
        while not running.events(tmp_path, "a0", "round") or running.events(tmp_path, "a0", "round")[-1]["round"] < 2:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)  # in which nothing more may happen
        return await last.run(stop)

    ends = running.together([*agents.values(), SimpleNamespace(run=late)])
    if patience == running.GUARD:
        assert ends == [7, 4, 7, 7, 7]
        everyone = running.states(agent.agent_state for agent in [*agents.values(), last])
        assert running.differing(everyone, running.simulated(plan())) == []
    else:
        assert [(e["round"], e["peers"]) for e in running.events(tmp_path, "a0", "absent")] == [(3, ["a3"])]
        assert ends[0] == 7, "the others go on without it"


def test_the_log_and_the_screen_tell_of_it(tmp_path):
    with running.started(running.write(plan(), tmp_path), tmp_path / "run", "--no-alone") as process:
        code, printed = running.ended(process)
    assert "audio              1" in printed and "(a1)" not in printed, "who has left is not in the summary"
    assert code == 0 and "round 3: a0 has audio+motion from now on" in printed, printed
    assert "round 4: a3 has joined" in printed and "round 5: a1 has left" in printed and "a0 has joined" not in printed
    modalities = running.events(tmp_path / "run", "a0", "modalities-changed")
    assert [(e["round"], e["modalities"]) for e in modalities] == [(2, ["audio", "motion"]), (5, ["motion"])]
    assert running.events(tmp_path / "run", "a1", "left")[0]["round"] == 4
    assert [e["round"] for e in running.events(tmp_path / "run", "a3", "round")] == [3, 4, 5, 6]


def test_a_run_that_is_stopped_among_its_events_is_resumed_to_the_same_end(tmp_path):
    made = running.lengthy(12, events=EVENTS)
    out, file = tmp_path / "run", running.write(made, tmp_path)
    with running.started(file, out, "--quiet", "--no-alone") as process:
        running.until_round(out, "a0", 4)
        os.kill(process.pid, signal.SIGINT)
        code, printed = running.ended(process)
    assert code == 130 and "Traceback" not in printed, printed
    code, printed = running.everything(file, out, "--resume")
    assert code == 0, printed
    assert running.differing(running.saved(made, out), running.simulated(running.lengthy(12, events=EVENTS))) == []


def test_an_agent_ordered_to_gain_and_lose_takes_all_along_in_the_same_rounds(tmp_path):
    def made(events):
        return running.lengthy(40, events=events, clocks={"heartbeat": 0.2, "lost": 30})

    out, file, peers = tmp_path / "run", running.write(made([]), tmp_path), made([]).peers
    with running.started(file, out, "--quiet", "--no-alone") as process:
        running.until_round(out, "a0", 2)
        telling.tell(out, "a0", gain=["motion"])
        running.until(lambda: running.events(out, "a0", "modalities-changed"))
        telling.tell(out, "a2", lose=["audio"])
        code, printed = running.ended(process)
    assert code == 0 and "Traceback" not in printed, printed
    modalities = {
        (me, e["round"], *e["modalities"]) for me in peers for e in running.events(out, me, "modalities-changed")
    }
    assert {(me, *kinds) for me, _, *kinds in modalities} == {("a0", "audio", "motion"), ("a2", "motion")}
    for me in peers:
        heard = {(e["peer"], e["round"], e["late"]) for e in running.events(out, me, "change-heard")}
        assert heard == {(who, round, False) for who, round, *_ in modalities if who != me}
        assert [e for kind in ("missing", "refused") for e in running.events(out, me, kind)] == []
    # planned for the rounds that were announced, the same run has the same end
    change = {"a0": {"gain": ["motion"]}, "a2": {"lose": ["audio"]}}
    schedule = [{"round": round, "agent": me} | change[me] for me, round, *_ in modalities]
    assert running.differing(running.saved(made([]), out), running.simulated(made(schedule))) == []


def test_an_agent_whose_sensor_breaks_finds_out_and_goes_on_with_the_other(tmp_path):
    sensor = {"kind": "sensor", "agents": ["a2"], "modality": "audio", "round": 3}
    made = running.lengthy(20, events=[], faults=[sensor], clocks={"heartbeat": 0.2, "lost": 30})
    out = tmp_path / "run"
    code, printed = running.everything(running.write(made, tmp_path), out)
    assert code == 0 and "Traceback" not in printed, printed
    [found] = running.events(out, "a2", "sensor-failed")
    assert found["round"] == 3 and found["modalities"] == ["audio"]
    [changed] = running.events(out, "a2", "modalities-changed")
    assert changed["modalities"] == ["motion"] and changed["round"] > 3
    assert all(len(running.events(out, me, "change-heard")) == 1 for me in made.peers if me != "a2")
    assert [e["round"] for e in running.events(out, "a2", "round")] == list(range(20))


def test_an_agent_that_comes_when_nobody_expects_it_is_taken_in(tmp_path):
    made = running.lengthy(30, events=[{"agent": "a3", "join": True}], clocks={"heartbeat": 0.2, "lost": 90})
    out, file = tmp_path / "run", running.write(made, tmp_path)
    with running.started(file, out, "--quiet", "--no-alone") as process:
        running.until_round(out, "a0", 2)
        slow = running.events(out, "a0", "start")[0]["pid"]
        os.kill(slow, signal.SIGSTOP)  # or all might be over before the late one has loaded
        with running.started(file, out, "--id", "a3") as late:
            running.until(lambda: running.events(out, "a3", "start"))
            os.kill(slow, signal.SIGCONT)
            code, printed = running.ended(late)
            assert code == 0, printed
        assert running.ended(process)[0] == 0
    [joined] = running.events(out, "a3", "joined")
    first = running.events(out, "a3", "round")[0]
    assert 2 < joined["round"] == first["round"] and first["wire_in"] > 0
    assert running.events(out, "a3", "end") and not any(running.events(out, me, "missing") for me in made.specs)


def test_who_comes_when_all_is_nearly_over_gets_a_message(tmp_path):
    made = running.plan(rounds=3, events=[{"agent": "a3", "join": True}])
    agents = [running.agent(made, me, transport, running.RunFolder(tmp_path)) for me, transport in running.memory(made)]
    ended = dict(zip(made.specs, running.together(agents), strict=True))
    assert "a3 comes too late" in str(ended.pop("a3"))
    assert set(ended.values()) == {3}
    [refused] = running.events(tmp_path, "a3", "order-refused")
    assert "there are 3" in refused["why"]


def test_an_order_to_an_agent_that_cannot_take_it_is_refused_in_a_sentence(tmp_path):
    out = running.RunFolder(tmp_path)
    out.write(running.plan().run)
    for arguments, why in [
        (("a0", ["motion"]), r"events: \[\]"),
        (("a9", ["motion"]), "no such agent"),
    ]:
        with pytest.raises(ConfigError, match=why):
            telling.tell(tmp_path, arguments[0], gain=arguments[1])
    out.write(plan().run)
    with pytest.raises(ConfigError, match="'smell' is no modality"):
        telling.tell(tmp_path, "a0", gain=["smell"])
    with pytest.raises(ConfigError, match="gain or lose"):
        telling.tell(tmp_path, "a0")
    with pytest.raises(ConfigError, match="no run in"):
        telling.tell(tmp_path / "none", "a0", gain=["audio"])
