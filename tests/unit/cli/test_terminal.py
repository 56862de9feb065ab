"""What is printed fits whatever it is printed on."""

import io
import sys

import pytest
from rich.console import Console

from parse_p2p.cli import terminal
from parse_p2p.cli.terminal import Columns


@pytest.fixture
def columns():
    found = Columns(["agent", "loss", "accuracy ± std", "kind"], first=["agent", "accuracy ± std"], left=["kind"])
    found.add_row("a0", "1.250", "[bold]0.750[/] ± 0.010", "audio")
    found.add_row("a1", "12.500", "[bold]0.800[/] ± 0.010", "audio+motion")
    return found


def printed(renderable, width, encoding="utf-8"):
    buffer = io.BytesIO()
    out = io.TextIOWrapper(buffer, encoding=encoding, errors="strict")
    Console(file=out, width=width).print(renderable)
    out.flush()
    return buffer.getvalue().decode(encoding).splitlines()


def test_all_columns_are_shown_where_they_fit_exactly(columns):
    widest = len("agent") + len("12.500") + len("accuracy ± std") + len("audio+motion") + 3 * 2
    assert columns.shown(widest) == columns.names
    assert columns.shown(widest - 1) == ["agent", "loss", "accuracy ± std"], "the last goes first"
    lines = printed(columns, widest)
    assert lines[2].split() == ["a1", "12.500", "0.800", "±", "0.010", "audio+motion"]
    assert max(len(line.rstrip()) for line in lines) == widest


@pytest.mark.parametrize("width", range(5, 50))
def test_no_cell_is_cut_or_wrapped(columns, width):
    lines = printed(columns, width)
    assert len(lines) == 3 and all(len(line) <= width for line in lines)
    assert not any("…" in line for line in lines)
    shown = columns.shown(width)
    assert ("0.750 ± 0.010" in lines[1]) == ("accuracy ± std" in shown) == (width >= 5 + 2 + 14)


def test_what_matters_most_is_left_out_last(columns):
    assert columns.shown(21) == ["agent", "accuracy ± std"]
    assert columns.shown(20) == columns.shown(1) == ["agent"]


def test_a_terminal_of_ascii_gets_words_in_straight_columns(columns):
    head, first, second = printed(columns, 80, "ascii")
    assert "accuracy +/- std" in head and "0.750 +/- 0.010" in first
    assert first.index("audio") == second.index("audio")
    assert columns.shown(21) != columns.shown(21, terminal.ascii_only), "the words are longer"


def test_a_row_has_a_cell_for_each_column(columns):
    with pytest.raises(ValueError, match="2 cells for 4 columns"):
        columns.add_row("a2", "1")


@pytest.mark.parametrize(("text", "said"), [("0.1 ± 0.2", "0.1 +/- 0.2"), ("ρ → ∞", "rho ? inf"), ("plain", "plain")])
def test_what_an_encoding_lacks_is_written_in_what_it_has(text, said, monkeypatch):
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer, encoding="ascii"))
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    terminal.prepare()
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
    assert buffer.getvalue().decode("ascii") == said + "\n"


def test_a_pipe_is_as_wide_as_lines_are_long_unless_somebody_says(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert terminal.console().width == terminal.PIPE_WIDTH
    monkeypatch.setenv("COLUMNS", "40")
    assert terminal.console().width == 40


@pytest.mark.parametrize(("term", "redraws"), [("xterm", True), ("dumb", False)])
def test_only_a_terminal_that_can_is_redrawn(term, redraws, monkeypatch):
    monkeypatch.setenv("TERM", term)
    assert terminal.can_redraw(Console(force_terminal=True)) is redraws
    assert not terminal.can_redraw(Console(file=io.StringIO()))
