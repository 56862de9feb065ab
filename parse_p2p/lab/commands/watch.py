"""``parse-lab watch``: the page of a run while it goes on, served to this host alone unless told otherwise.

``/`` is the page and ``/events`` a stream of server-sent events: ``whole`` when a browser connects, or connects again,
and ``change`` (``json_diff.py``) whenever something was logged. The server listens on loopback, or where ``--bind``
says, and answers only requests whose Host is localhost or an IP address (on loopback one of loopback), so that no page
of another site reads the run under a name of its own (DNS rebinding).
"""

import ipaddress
import socket
import sys
import threading
import time
import webbrowser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.console import Console

from parse_p2p.core.errors import ConfigError

LOOK = 0.5  # seconds between two looks at the logs
PING = 15.0  # seconds of silence after which a stream says that it is there
HERE = "127.0.0.1"


def watch(
    run: Annotated[Path, typer.Argument(help="The folder of a run; with --broker its run file does too.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 0,
    broker: Annotated[
        str | None, typer.Option(help="Also hear of agents on other hosts from this broker, as mqtt://host:1883.")
    ] = None,
    bind: Annotated[
        str, typer.Option(help="Listen at this IP address; beyond this host whoever reaches it reads the run, unasked.")
    ] = HERE,
    wait: Annotated[bool, typer.Option("--wait", help="First wait for the run to begin.")] = False,
    open: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Serve a live page on a run, on this host only unless --bind says otherwise; Ctrl-C ends it."""
    from parse_p2p.lab.report.live import Feed, source  # with torch, which takes a while
    from parse_p2p.lab.report.page import plotly

    plotly()
    while wait and not (run.is_file() or (run / "run.yaml").exists()):
        time.sleep(LOOK)
    feed = Feed(source(run, broker))
    try:
        server = Server(feed, port, bind)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        where = f"--port {port}" if bind == HERE else f"--bind {bind} --port {port}"
        raise ConfigError(f"{where} cannot be had ({reason}): name another, or leave it out") from None
    url = f"http://{f'[{bind}]' if ':' in bind else bind}:{server.server_port}/"
    Console(markup=False, emoji=False, highlight=False).print(f"watching {run} at {url} (Ctrl-C ends)", soft_wrap=True)
    if open:
        webbrowser.open(url)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        while True:
            feed.look()
            time.sleep(LOOK)
    except KeyboardInterrupt:
        feed.close()
        server.shutdown()
        server.server_close()


class Server(ThreadingHTTPServer):
    """Serves the page of a feed."""

    daemon_threads = True

    def __init__(self, feed: Any, port: int, bind: str = HERE) -> None:
        self.feed = feed
        self.near = _ip(bind).is_loopback
        self.address_family = socket.AF_INET6 if _ip(bind).version == 6 else socket.AF_INET
        super().__init__((bind, port), Handler)

    def handle_error(self, request: Any, address: Any) -> None:
        """A browser that goes in the middle of an answer is no news; anything else is shown as usual."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, address)


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds that a request may take to arrive

    def do_GET(self) -> None:
        from parse_p2p.lab.report.page import page

        if not welcome(self.headers.get("Host", ""), self.server.near):
            refusal = "this page is for this host only: open it under http://127.0.0.1"
            self._answer(
                403, "text/plain", refusal if self.server.near else "open this page under the host's IP address"
            )
        elif self.path == "/":
            self._answer(200, "text/html", page(self.server.feed.now()[1], live="events"))
        elif self.path == "/events":
            self._stream()
        else:
            self._answer(404, "text/plain", "there is nothing here: the page is /")

    def _answer(self, status: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self._headers(kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _headers(self, kind: str) -> None:
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")

    def _stream(self) -> None:
        self.close_connection = True  # it has no length: its end is that of the connection
        self.send_response(200)
        self._headers("text/event-stream")
        self.end_headers()
        try:
            for message in self.server.feed.messages(PING):
                self.wfile.write(message.encode())
                self.wfile.flush()
        except (ConnectionError, TimeoutError):
            pass  # the browser has gone

    def log_message(self, format: str, *arguments: object) -> None:
        """Requests are no news."""


def welcome(host: str, near: bool) -> bool:
    """Whether a Host header is localhost or an IP address, one of loopback where only this host is let in (``near``).

    A site that has its name lead here cannot send these.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback or not near
    except ValueError:
        return False


def _ip(bind: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(bind)
    except ValueError:
        raise ConfigError(f"--bind {bind}: give an IP address, such as 0.0.0.0 for all that this host has") from None
