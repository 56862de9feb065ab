"""``parse-lab report``: what runs did, as one page that opens anywhere."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from parse_p2p.core.errors import ConfigError


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs, finished or not.")],
    out: Annotated[Path | None, typer.Option(help="The page; by default report.html in the first folder.")] = None,
    open: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Write one HTML page on one run, or on several side by side; it needs no network to be opened."""
    from parse_p2p.lab.report.page import page, plotly
    from parse_p2p.lab.report.run_data import RunData  # with torch, which takes a while

    plotly()
    recorded = [RunData(path) for path in runs]
    for each in recorded:
        each.read()
    target = out or runs[0] / "report.html"
    try:
        target.write_text(page([each.plain() for each in recorded]), encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"{target} cannot be written: {reason}; name another file with --out") from None
    Console(markup=False, emoji=False, highlight=False).print(f"wrote {target}", soft_wrap=True)
    if open:
        webbrowser.open(target.resolve().as_uri())
