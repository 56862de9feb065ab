"""How far an experiment is: lines in a pipe, with an estimate; nothing when quiet."""

import io

import pytest
from rich.console import Console

from parse_p2p.lab.commands.sweep_progress import Lines, shown


def lines(of, seconds):
    said, now = [], [100.0]
    on_progress = Lines("mine", said.append, lambda: now[0])
    on_progress(0, of)
    for done in range(1, of + 1):
        now[0] += seconds
        on_progress(done, of)
    return said


def test_a_line_says_what_is_done_how_long_it_took_and_what_is_left():
    assert lines(4, 30) == [
        "mine: 1 of 4 runs, 0:00:30, about 0:01:30 left",
        "mine: 2 of 4 runs, 0:01:00, about 0:01:00 left",
        "mine: 3 of 4 runs, 0:01:30, about 0:00:30 left",
        "mine: 4 of 4 runs, 0:02:00",
    ]


@pytest.mark.parametrize("of", [1, 19, 39, 40, 1000, 4001])
def test_many_runs_have_about_twenty_lines_and_always_the_last(of):
    said = lines(of, 1)
    assert said[-1].startswith(f"mine: {of} of {of} runs") and len(said) <= 41
    assert len(said) >= min(of, 20)


def test_the_clock_starts_anew_with_each_batch():
    said, now = [], [0.0]
    on_progress = Lines("mine", said.append, lambda: now[0])
    now[0] = 1000
    on_progress(0, 2)
    now[0] = 1010
    on_progress(1, 2)
    assert said == ["mine: 1 of 2 runs, 0:00:10, about 0:00:10 left"]


@pytest.mark.parametrize(("quiet", "count"), [(False, 2), (True, 0)])
def test_in_a_pipe_there_are_lines_without_control_characters(quiet, count):
    out = io.StringIO()
    with shown("mine", Console(file=out), quiet) as on_progress:
        for done in range(3):
            on_progress(done, 2)
    assert len(out.getvalue().splitlines()) == count and "\x1b" not in out.getvalue()


def test_on_a_terminal_there_is_a_bar():
    out = io.StringIO()
    with shown("mine", Console(file=out, force_terminal=True, width=100), False) as on_progress:
        for done in range(3):
            on_progress(done, 2)
    assert "\x1b" in out.getvalue() and "2/2" in out.getvalue()
