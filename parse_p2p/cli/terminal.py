"""What is printed, on whatever it is printed: a terminal or a pipe, wide or narrow, with all characters or few."""

import codecs
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Literal

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from parse_p2p.core.errors import DataWarning

ERRORS = "parse_p2p.ascii"
"""Name of the handler that writes a character which the encoding lacks in others that it has."""

ASCII = {"±": "+/-", "ρ": "rho", "∞": "inf", "…": "...", "–": "-", "—": "-", "−": "-", "×": "x", "·": "|", "━": "-"}
PIPE_WIDTH = 200
"""Columns of what is no terminal, where nothing needs to be cut."""


def prepare() -> None:
    """Let standard output and standard error take any text, whatever their encoding; warnings of ours are notes."""
    warnings.showwarning = partial(_warn, warnings.showwarning)
    codecs.register_error(ERRORS, _replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ERRORS)


def _warn(otherwise: Callable[..., None], message: Warning, category: type[Warning], *place: Any) -> None:
    if issubclass(category, DataWarning):
        note(str(message))
    else:
        otherwise(message, category, *place)


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return ascii_only(error.object[error.start : error.end]), error.end


def ascii_only(text: str) -> str:
    """The text with other words for what ASCII has no character for."""
    return "".join(c if c.isascii() else ASCII.get(c, "?") for c in text)


def console() -> Console:
    """Standard output."""
    out = Console()
    if not out.is_terminal and "COLUMNS" not in os.environ:
        out.width = PIPE_WIDTH
    return out


def note(text: str) -> None:
    """A line on standard error, which is not what the program was asked for."""
    Console(stderr=True).print(text, style="dim", markup=False, highlight=False, soft_wrap=True)


def can_redraw(out: Console) -> bool:
    """Whether lines that were printed can be replaced by others."""
    return out.is_terminal and not out.is_dumb_terminal


Side = Literal["left", "right"]


class Columns:
    """A table that leaves out columns where the terminal is too narrow for all of them; digits are never cut.

    ``first`` are the columns that matter most, in their order, those that are left out last; of the others the last is
    left out first. Cells may hold rich's markup.
    """

    def __init__(self, names: Sequence[str], first: Sequence[str] = (), left: Iterable[str] = ()) -> None:
        self.names = list(names)
        self._first = list(first) or self.names[:1]
        self._left = {self.names[0], *left}
        self._rows: list[list[str]] = []

    def add_row(self, *cells: str) -> None:
        """A cell for each column."""
        if len(cells) != len(self.names):
            raise ValueError(f"{len(cells)} cells for {len(self.names)} columns")
        self._rows.append(list(cells))

    def shown(self, width: int, plain: Callable[[str], str] = str) -> list[str]:
        """The names of the columns that fit into so many characters, the first of all in any case."""
        kept: set[str] = set()
        left = width + GAP
        for name in [*self._first, *(name for name in self.names if name not in self._first)]:
            left -= self._width(name, plain) + GAP
            if kept and left < 0:
                break
            kept.add(name)
        return [name for name in self.names if name in kept]

    def _width(self, name: str, plain: Callable[[str], str]) -> int:
        column = self.names.index(name)
        texts = (name, *(row[column] for row in self._rows))
        return max(cell_len(Text.from_markup(plain(text)).plain) for text in texts)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        plain = ascii_only if options.ascii_only else str
        names = self.shown(options.max_width, plain)
        table = Table(box=None, header_style="bold", pad_edge=False)
        for name in names:
            side: Side = "left" if name in self._left else "right"
            table.add_column(plain(name), justify=side, overflow="fold", no_wrap=name != names[0])
        for row in self._rows:
            table.add_row(*(plain(cell) for name, cell in zip(self.names, row, strict=True) if name in names))
        yield table


GAP = 2
"""Spaces between two columns: rich's padding of one on either side, but for the edges."""
