"""What a person sees of a run while it goes on: on a terminal, in a pipe, and at every level."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from parse_p2p.cli.program import LogLevel
from parse_p2p.cli.progress import RunView, Screen
from parse_p2p.core.events import Found, Lost, Round
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.launch.run_history import RunHistory

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
