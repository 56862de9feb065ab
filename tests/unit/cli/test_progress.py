"""What a person sees of a run while it goes on: on a terminal, in a pipe, and at every level."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from parse_p2p.cli.program import LogLevel
from parse_p2p.cli.progress import RunView, Screen, clock, size
from parse_p2p.core.events import DriftDetected, Event, Failed, Found, Joined, Left, Lost, Resumed, Round
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.launch.run_history import ArrivalSummary, RunHistory

KINDS = {"a0": "audio", "a1": "motion", "a2": "audio+motion"}


def of_round(round, agent, accuracy=0.75):
    return Round(agent=agent, round=round, loss=1.234567, accuracy=accuracy, seconds=0.5, alive=2, wire_out=12345,
                 wire_in=12345, sketch=list(range(1000)))  # fmt: skip


ROUND = [of_round(0, "a0"), of_round(0, "a1", 0.5), of_round(0, "a2")]


def screen(level, terminal=False, width=80, events=ROUND):
    """All that is printed of these events."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=width, height=24)
    history = RunHistory(RunFolder(Path("nowhere")), KINDS, 10)
    with Screen(RunView(history, 10, 0), console, level) as shown:
        shown.update([history.take(event.agent, event) for event in events])
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())


def test_a_pipe_gets_a_line_a_round_however_narrow():
    [line] = screen(LogLevel.NORMAL, width=40).splitlines()
    assert line.startswith("round   1/10  loss  1.235  accuracy 0.667  worst a1 0.500  out 12.3 kB an agent")


def test_quiet_says_nothing_and_debug_everything():
    lost = Lost(agent="a0", peer="a1", round=0)
    assert screen(LogLevel.QUIET, events=[lost, *ROUND]) == ""
    normal = screen(LogLevel.NORMAL, events=[lost, *ROUND]).splitlines()
    assert normal[0] == "round 1: a0 lost its neighbour a1" and len(normal) == 2
    debug = screen(LogLevel.DEBUG, events=[lost, Found(agent="a0", round=0, peer="[a1]"), *ROUND]).splitlines()
    assert [line.split()[1:3] for line in debug[:5]] == [
        ["a0", "lost"], ["a0", "found"], ["a0", "round"], ["a1", "round"], ["a2", "round"]
    ]  # fmt: skip
    assert debug[0].endswith(" a0 lost round=0 peer=a1") and debug[1].endswith("peer=[a1]"), "brackets are no markup"
    assert "loss=1.23457" in debug[2] and max(map(len, debug)) < 300, "a sketch is cut"
    assert normal[-1] in debug


def test_quiet_is_quiet_on_a_terminal_too():
    assert screen(LogLevel.QUIET, terminal=True) == ""


@pytest.mark.parametrize("width", range(30, 121, 5))
def test_the_table_keeps_its_lines_in_a_narrow_terminal(width):
    lines = [line.rstrip() for line in screen(LogLevel.NORMAL, terminal=True, width=width).splitlines()]
    start = max(i for i, line in enumerate(lines) if line.startswith("agent"))
    head, *agents = lines[start : start + 4]
    assert max(map(len, lines)) <= width and not any("…" in line for line in lines)
    assert [line.split()[0] for line in agents] == ["a0", "a1", "a2"]
    assert "round" in head and "accuracy" in head and all(re.search(r" 1 .*0\.[75][50]0", line) for line in agents)
    assert ("s/round" in head) == (width >= 80)


def test_the_bar_goes_where_it_has_no_room():
    assert "━" in screen(LogLevel.NORMAL, terminal=True, width=80)
    narrow = screen(LogLevel.NORMAL, terminal=True, width=40).splitlines()
    assert "━" not in "".join(narrow) and any(
        re.fullmatch(r"round 1 of 10, 0:00, about 0:00 left *", n) for n in narrow
    )


def test_a_terminal_that_cannot_redraw_gets_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    assert screen(LogLevel.NORMAL, terminal=True).count("\n") == 1


# what a view makes of the logs


def view(*happened: Event, rounds=10, first=0, coordinator=None):
    """What there is to see of these events, and the notes that they are worth."""
    history = RunHistory(RunFolder(Path("nowhere")), KINDS, rounds)
    seen = RunView(history, rounds, first, coordinator)
    return seen, [note for event in happened for note in seen.take(history.take(event.agent, event))]


def test_who_has_left_counts_no_more():
    seen, notes = view(*ROUND, Left(agent="a1", round=1))
    assert seen.accuracy() == {"a0": 0.75, "a2": 0.75} and notes == ["round 2: a1 has left"]


@pytest.mark.parametrize("gone", [Left(agent="a1", round=1), Failed(agent="a1", why="no disk")])
def test_nobody_waits_for_the_rounds_of_who_is_gone(gone):
    after = [of_round(1, "a0"), of_round(1, "a2")]
    assert view(*ROUND, *after)[0].complete() == 1 and view(*ROUND, *after, gone)[0].complete() == 2


def test_a_resumed_run_goes_on_from_the_round_of_its_checkpoints():
    seen, _ = view(*(of_round(4, me) for me in ("a0", "a1")), first=4)
    assert seen.complete() == 4, "a2 has none yet"
    assert list(seen.finished_lines()) == []
    seen, _ = view(*(of_round(4, me) for me in KINDS), first=4)
    [line] = seen.finished_lines()
    assert line.startswith("round   5/10") and list(seen.finished_lines()) == []


def test_agents_that_join_again_are_no_news():
    joined = Joined(agent="a0", round=4)
    assert view(joined)[1] == ["round 5: a0 has joined"]
    assert view(Resumed(agent="a0", round=4), joined)[1] == []


def test_means_are_without_the_coordinator():
    seen, _ = view(*ROUND, coordinator="a1")
    [line] = seen.finished_lines()
    assert "accuracy 0.750  worst a0 0.750" in line


def test_the_last_three_notes_are_shown_below_the_table():
    lost = [Lost(agent="a0", peer=peer, round=0) for peer in ("b", "c", "d", "e")]
    shown = screen(LogLevel.NORMAL, terminal=True, events=lost)
    assert [peer for peer in "bcde" if f"a0 lost its neighbour {peer}" in shown] == ["c", "d", "e"]


def test_the_time_left_is_that_of_the_rounds_left(monkeypatch):
    seen, _ = view(*(of_round(5, me) for me in KINDS), first=4)
    monkeypatch.setattr("time.monotonic", lambda: seen.began + 10)
    printed = io.StringIO()
    Console(width=40, file=printed).print(seen.table())
    assert "round 6 of 10, 0:10, about 0:20 left" in printed.getvalue()


@pytest.mark.parametrize(
    ("nbytes", "said"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (86_100, "86.1 kB"), (1e6, "1.0 MB"), (1e9, "1.0 GB"),
     (2.5e12, "2500.0 GB")],
)  # fmt: skip
def test_bytes_are_said_as_a_person_reads_them(nbytes, said):
    assert size(nbytes) == said


def test_a_time_is_minutes_and_seconds():
    assert [clock(seconds) for seconds in (0.0, 59.9, 65.0, 3600.0)] == ["0:00", "0:59", "1:05", "60:00"]


# samples that arrive


def test_what_arrived_is_in_the_table_and_the_line_of_its_round_and_nowhere_else():
    row = of_round(0, "a1", 0.5).model_copy(update={"arriving": 12, "arrived": {"accuracy": 0.25, "shift/x": 2.0}})
    shown = screen(LogLevel.NORMAL, terminal=True, width=120, events=[ROUND[0], row, ROUND[2]])
    start = shown.rindex("agent ")
    head, *rows = shown[start:].splitlines()[:4]
    assert "arrived" in head and ["12 (0.250)" in line for line in rows] == [False, True, False]
    [line] = screen(LogLevel.NORMAL, events=[ROUND[0], row, ROUND[2]]).splitlines()
    assert "  arrived 12  out " in line
    assert "arrived" not in screen(LogLevel.NORMAL, terminal=True, width=120) + screen(LogLevel.NORMAL)


def test_what_arrived_in_all_rounds_is_summed_and_a_round_done_again_counts_once():
    def came(round, count, score):
        return of_round(round, "a0").model_copy(update={"arriving": count, "arrived": {"loss": 9.0} | score})

    drift = DriftDetected(agent="a0", round=1, kind="shift", what="inputs of x", value=2.0, before=0.0)
    once = [came(0, 10, {"r2": 0.5}), came(1, 30, {"r2": 0.1}), of_round(2, "a0"), drift]
    seen, notes = view(*once, *once, came(3, 5, {}))
    assert seen.history.arrived == {"a0": ArrivalSummary(45, pytest.approx((10 * 0.5 + 30 * 0.1) / 40), 1)}
    assert notes[0] == "round 2: a0 sees a drift of its inputs of x: 2, and 0 before (shift)"
