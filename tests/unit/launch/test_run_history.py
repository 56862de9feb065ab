"""One reader folds the logs of a run: what each agent is doing, its rounds, how it ended, and what is new."""

import json

import pytest

from parse_p2p.cli import run_summary
from parse_p2p.core import events
from parse_p2p.core.event_log import EventLog
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.launch.run_history import RunHistory

KINDS = {"a0": "audio", "a1": "motion"}
ROUND = events.Round(round=0, accuracy=0.5, sent={"a1": {"s": 8}}, sketch={"after": {"s": [1.0]}})


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path)


def logged(folder, me, *happened):
    log = EventLog(me, folder.events(me))
    for event in happened:
        log.write(event)
    log.close()


def test_every_event_is_given_once_with_the_agent_whose_log_it_is_in(folder):
    history = RunHistory(folder, KINDS, 2)
    assert list(history.read()) == [] and history.agents["a0"].state == ""
    logged(folder, "a1", events.Start(), events.Joined(round=0))
    with folder.events("a1").open("a") as file:
        file.write(json.dumps({"event": "end", "round": 1, "agent": "a0"}) + "\n")
    assert [(event.agent, event.name) for event in history.read()] == [("a1", "start"), ("a1", "joined"), ("a1", "end")]
    assert list(history.read()) == [] and history.agents["a0"].state == "" and history.agents["a1"].state == "done"


def test_skipping_passes_over_what_is_there(folder):
    logged(folder, "a0", events.Start())
    history = RunHistory(folder, KINDS, 2)
    history.skip()
    logged(folder, "a0", events.Joined(round=0))
    assert [event.name for event in history.read()] == ["joined"]


def test_an_agents_state_rounds_kinds_and_end(folder):
    history = RunHistory(folder, KINDS, 2)
    agent = history.agents["a0"]
    steps = [
        (events.Start(samples=7), "waiting for peers", 0),
        (events.Joined(round=0), "running", 0),
        (ROUND, "running", 1),
        (events.Waiting(round=1, peer="hub", seconds=1), "waiting for hub", 1),
        (events.Lost(round=1, peer="a1"), "waiting for hub", 1),
        (events.ModalitiesChanged(round=1, modalities=["audio", "motion"]), "waiting for hub", 1),
        (events.Round(round=1), "running", 2),
        (events.Failed(why="no disk"), "failed", 2),
    ]
    for event, state, done in steps:
        logged(folder, "a0", event)
        list(history.read())
        assert (agent.state, agent.done) == (state, done), event
    assert agent.start.samples == 7 and not agent.resumed and agent.latest.round == 1
    assert (agent.kind_in(0), agent.kind_in(1), agent.kind_in(5), agent.kind) == ("audio", *["audio+motion"] * 3)
    assert agent.rounds[0].accuracy == 0.5 and agent.rounds[0].sent == {} and agent.rounds[0].sketch is None
    assert agent.end.why == "no disk"
    logged(folder, "a0", events.Resumed(round=1))
    list(history.read())
    assert agent.resumed and agent.end is None and agent.state == "waiting for peers"
    logged(folder, "a0", events.Failed(why="again"), events.Start())
    list(history.read())
    assert agent.end is None


def test_what_is_read_is_whole(folder):
    history = RunHistory(folder, KINDS, 2)
    logged(folder, "a0", ROUND)
    [found] = history.read()
    assert isinstance(found, events.Round) and found.sent == ROUND.sent and found.sketch == ROUND.sketch


def test_seconds_are_between_the_first_event_and_the_last(folder):
    history = RunHistory(folder, KINDS, 2)
    assert history.seconds == 0.0
    for me, time in (("a0", 12.0), ("a1", 10.0), ("a1", 15.5)):
        history.take(me, events.End(round=0, agent=me, time=time))
    assert history.seconds == 5.5 and history.first == 10.0


def test_a_run_resumed_from_before_a_change_has_not_changed_yet(folder):
    history = RunHistory(folder, KINDS, 30)
    agent = history.agents["a0"]
    for event in (
        events.ModalitiesChanged(round=20, modalities=["motion"]),
        events.Resumed(round=10),
        events.ModalitiesChanged(round=15, modalities=["audio", "motion"]),
    ):
        history.take("a0", event)
    assert agent.kinds == {0: "audio", 15: "audio+motion"} and agent.kind == "audio+motion"


@pytest.mark.parametrize(("round", "kinds"), [(0, [0]), (9, [0]), (10, [0, 10])])
def test_an_agent_that_is_resumed_senses_what_it_did_in_that_round(folder, round, kinds):
    agent = RunHistory(folder, KINDS, 30).agents["a0"]
    agent.take(events.ModalitiesChanged(round=10, modalities=["motion"]))
    agent.take(events.Resumed(round=round))
    assert list(agent.kinds) == kinds


def test_rounds_of_which_the_log_says_nothing_are_done_too(folder):
    agent = RunHistory(folder, KINDS, 30).agents["a0"]
    agent.take(events.Round(round=7))
    assert agent.done == 8


def test_an_agent_is_heard_when_its_last_event_happened_whichever_is_read_last(folder):
    agent = RunHistory(folder, KINDS, 30).agents["a0"]
    for time in (5.0, 9.0, 7.0):
        agent.take(events.Round(round=0, time=time))
    assert agent.heard == 9.0


def test_rounds_beyond_the_last_are_not_kept(folder):
    history = RunHistory(folder, KINDS, 2)
    for round in (1, 2, 2**31):
        history.take("a0", events.Round(round=round))
    assert list(history.agents["a0"].rounds) == [1]


def test_events_are_given_one_by_one(folder):
    history = RunHistory(folder, KINDS, 2)
    logged(folder, "a0", events.Start(), events.Joined(round=0))
    found = history.read()
    assert next(found).name == "start" and history.agents["a0"].state == "waiting for peers"
    assert next(found).name == "joined" and history.agents["a0"].state == "running"


class Plan:
    """As much of a plan as is asked for."""

    class run:
        rounds = 2

    spans = {"a0": range(2), "a1": range(2), "late": range(0)}  # noqa: RUF012


@pytest.mark.parametrize(
    ("happened", "why"),
    [
        ([], "has logged nothing here"),
        ([events.Start()], "is not at its end: 0 of 2 rounds are done, and it was last waiting for peers"),
        ([events.Start(), ROUND], "is not at its end: 1 of 2 rounds are done, and it was last running"),
        ([events.End(round=1)], "is not at its end: 0 of 2 rounds are done, and it was last done"),
        ([events.Failed(why="no disk")], "failed: no disk"),
        ([events.Failed(why="no disk"), events.Resumed(round=0)],
         "is not at its end: 0 of 2 rounds are done, and it was last waiting for peers"),
        ([events.End(round=2)], None),
        ([events.Left(round=1)], None),
    ],
    ids=str,
)  # fmt: skip
def test_who_has_not_come_to_an_end_and_why(folder, happened, why):
    history = RunHistory(folder, KINDS | {"late": "audio"}, 2)
    logged(folder, "a0", *happened)
    logged(folder, "a1", events.End(round=2))
    list(history.read())
    assert run_summary.missing(Plan, history) == ({} if why is None else {"a0": why})
    assert run_summary.over(Plan, history) == (why is None or why.startswith("failed"))


def test_who_may_come_at_any_time_is_missing_only_once_it_was_there(folder):
    history = RunHistory(folder, {"late": "audio"}, 2)
    plan = type("Planned", (Plan,), {"spans": {"late": range(0)}})
    assert run_summary.missing(plan, history) == {}
    history.take("late", ROUND)
    assert run_summary.missing(plan, history) == {
        "late": "is not at its end: 1 of 2 rounds are done, and it was last running"
    }
