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
    data: Annotated[Path | None, typer.Option(help="Write what the page is drawn from here too, as JSON.")] = None,
    open: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Write one HTML page on one run, or on several side by side; it needs no network to be opened."""
    from parse_p2p.lab.analysis.slice_pictures import pictures
    from parse_p2p.lab.report.page import dumped, page, plotly
    from parse_p2p.lab.report.run_data import RunData  # with torch, which takes a while

    plotly()
    recorded = [RunData(path) for path in runs]
    for each in recorded:
        each.read()
    found = [each.plain() | {"pictures": pictures(each.folder)} for each in recorded]
    _write(out or runs[0] / "report.html", page(found), "--out")
    if data is not None:
        _write(data, dumped(found), "--data")
    if open:
        webbrowser.open((out or runs[0] / "report.html").resolve().as_uri())


def _write(target: Path, text: str, option: str) -> None:
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"{target} cannot be written: {reason}; name another file with {option}") from None
    Console(markup=False, emoji=False, highlight=False).print(f"wrote {target}", soft_wrap=True)
