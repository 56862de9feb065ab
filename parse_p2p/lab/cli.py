"""``parse-lab``: from runs to knowledge. Each command is a file of its own beside this one."""

import typer

from parse_p2p.lab.commands.compare import compare
from parse_p2p.lab.commands.pid import pid
from parse_p2p.lab.commands.report import report
from parse_p2p.lab.commands.tensorboard import tensorboard
from parse_p2p.lab.commands.topology import topology
from parse_p2p.lab.commands.watch import watch
from parse_p2p.launch import exit_codes

EXAMPLES = """
[bold]Examples[/]

  parse-lab topology topologies/ring.yaml --picture ring.svg
  parse-lab topology --compare ring:16 torus:16 watts-strogatz:16,k=4,p=0.3
  parse-lab topology topologies/torus.yaml --suggest --degree 4
  parse-lab compare experiments/equal-bytes.yaml                       stop it and start it again as you like
  parse-lab compare experiments/equal-bytes.yaml --seeds 1 --picture   a quick look
  parse-lab compare experiments/equal-bytes.yaml --engine ray          on the nodes of a Ray cluster
  parse-lab tensorboard runs/ring-parse-htad-s0
  parse-lab pid runs/ring-parse-htad-s0                                what its slices hold
  parse-lab pid runs/ring-parse-htad-s0 --every 5 --k 4                every fifth round, with fewer codes
  parse-lab report runs/ring-parse-htad-s0                             one page on a run, or on several
  parse-lab watch runs/ring-parse-htad-s0                              the same page, live
"""

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback(epilog="\n\n".join(line for line in EXAMPLES.splitlines() if line))
def parse_lab() -> None:
    """Look at graphs, compare methods, and see what runs did."""


app.command()(topology)
app.command()(compare)
app.command()(tensorboard)
app.command()(pid)
app.command()(report)
app.command()(watch)


def main() -> None:
    exit_codes.run(app, "parse-lab")
