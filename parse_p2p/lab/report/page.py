"""One HTML file that needs nothing beside it: style, plotly, our scripts and the runs are all inside.

What comes from files stands in a block of JSON, in which ``<`` is written as an escape, and reaches the page as text.
The page's policy lets no script run but the two that are named by their hashes, and fetches nothing.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from parse_p2p.core.errors import ConfigError

SCRIPTS = ("charts.js", "network.js", "tables.js", "page.js", "live.js")


def page(runs: Sequence[Mapping[str, Any]], live: str = "") -> str:
    """The page of runs as ``gather`` makes them; ``live`` is where a page that is served hears what is new.

    Raises ConfigError where plotly is missing.
    """
    script = "\n".join(map(_file, SCRIPTS))
    title = ", ".join(str(run["name"]) for run in runs)
    parts = {
        "title": html.escape(title.encode(errors="replace").decode()),  # a folder's name need not be UTF-8
        "policy": policy(plotly(), script, live=bool(live)),
        "style": _file("page.css"),
        "live": html.escape(live),
        "plotly": plotly(),
        "script": script,
        "data": embedded(runs),
    }
    # in one pass: what is put in is not looked at again
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _file("page.html"))


def embedded(value: Any) -> str:
    """JSON that ends no script, whatever strings are in it."""
    return dumped(value).replace("<", "\\u003c")


def dumped(value: Any) -> str:
    """JSON in one line, in ASCII: a log may hold half a surrogate pair, which no file or stream takes as it is."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def policy(*scripts: str, live: bool) -> str:
    """A content security policy under which these inline scripts run and no other."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    connect = "'self'" if live else "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        f"connect-src {connect}; base-uri 'none'; form-action 'none'"
    )


def plotly() -> str:
    """The charting library itself. Raises ConfigError where it is not installed."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise ConfigError("pages are drawn with plotly, which is not here: pip install 'parse-p2p[lab]'") from None
    return str(get_plotlyjs())


def _file(name: str) -> str:
    return (resources.files("parse_p2p.lab.report") / "web" / name).read_text(encoding="utf-8")
