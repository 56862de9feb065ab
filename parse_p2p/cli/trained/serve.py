"""``parse-agent serve``: ask a trained agent over HTTP, while it goes on learning."""

import signal
from typing import Annotated

import typer

from parse_p2p.cli import terminal
from parse_p2p.cli.trained import options

EXAMPLES = """
[bold]Examples[/]

  parse-agent serve runs/ring-parse-htad-s0 --id a3
  parse-agent serve exported --port 9000
  curl localhost:8000/health
  curl localhost:8000/predict --json '{"inputs": {"audio": [[...]]}}'
"""


def serve(
    run: options.Trained,
    id: options.Agent = None,
    host: Annotated[str, typer.Option(help="The address to listen on; whoever reaches it can ask.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    rows: Annotated[int, typer.Option(min=1, help="How many may be asked of at once.")] = 10_000,
    trust: options.Trust = None,
) -> None:
    """Answer questions about samples by HTTP with an agent's newest model: POST /predict, GET /health, GET /schema.

    Newer checkpoints are taken up as they appear. It ends on Ctrl-C, with exit code 130.
    """
    from parse_p2p.serving import server

    newest = server.Newest(run, id, trust or ())
    application = server.app(newest, server.Limits(rows=rows))
    at = server.listening(host, port)
    for number in (signal.SIGINT, signal.SIGTERM):  # of which a shell may have the first ignored
        signal.signal(number, signal.default_int_handler)
    shown = f"[{host}]" if ":" in host else host
    model = newest.model()
    said = f"{model.description.agent} after {model.round} rounds on http://{shown}:{at.getsockname()[1]}/predict"
    terminal.console().print(said, soft_wrap=True, markup=False, highlight=False)
    server.run(application, at)
