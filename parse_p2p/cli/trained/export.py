"""``parse-agent export``: a trained agent as a folder that can be given to others."""

from pathlib import Path
from typing import Annotated

import typer

from parse_p2p.cli import terminal
from parse_p2p.cli.trained import options

EXAMPLES = """
[bold]Examples[/]

  parse-agent export runs/ring-parse-htad-s0 --id a3
  parse-agent export runs/ring-parse-htad-s0 --id a3 --out a3 --onnx
  parse-agent export runs/ring-parse-htad-s0 --id a3 --round 18
"""


def export(
    run: options.Run,
    id: options.Agent = None,
    round: Annotated[
        int | None, typer.Option(help="Of the checkpoint after so many rounds; by default the newest.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="An empty folder, or a new one; by default ID-exported in the run's.")
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Also an ONNX graph, compared with the model.")] = False,
) -> None:
    """Write a trained agent into a folder: tensors, what has to be known of them, and a card to read.

    It needs neither the data nor the host where the agent ran, and holds no code. parse_p2p.load reads it.
    """
    from parse_p2p.serving import exported, packages
    from parse_p2p.serving import onnx as graphs
    from parse_p2p.serving.run_models import RunModels

    packages.package("safetensors.torch", "export", "an export")
    if onnx:
        graphs.needed()
    models = RunModels(run)
    me = models.named(id)
    model = models.load(me, round)
    model = exported.with_figures(model, models.measured(me, model.round))
    folder = exported.fresh(out or run / f"{me}-exported")
    if onnx:
        graphs.write(model, folder)
    exported.write(model, folder)
    terminal.console().print(f"wrote {folder}", soft_wrap=True, markup=False, highlight=False)
