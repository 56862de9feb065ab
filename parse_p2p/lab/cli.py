"""``parse-lab``: from runs to knowledge. Each command is a file of its own below this one.

None imports torch before it begins: help answers at once.
"""

from parse_p2p.cli import program
from parse_p2p.cli.program import Version
from parse_p2p.lab.commands.compare import compare
from parse_p2p.lab.commands.pid import pid
from parse_p2p.lab.commands.report import report
from parse_p2p.lab.commands.tensorboard import tensorboard
from parse_p2p.lab.commands.topology import topology
from parse_p2p.lab.commands.watch import watch

EXAMPLES = """
[bold]Examples[/]

  parse-lab topology ring.yaml --picture ring.svg
  parse-lab topology --compare ring:16 torus:16 watts-strogatz:16,k=4,p=0.3
  parse-lab topology torus.yaml --suggest --degree 4
  parse-lab compare experiments/baselines/equal-bytes.yaml   stop and go on
  parse-lab compare experiments/baselines/equal-bytes.yaml --seeds 1 --picture
  parse-lab compare experiments/baselines/equal-bytes.yaml --engine ray
  parse-lab tensorboard runs/ring-parse-htad-s0
  parse-lab pid runs/ring-parse-htad-s0               what its slices hold
  parse-lab pid runs/ring-parse-htad-s0 --every 5 --k 4
  parse-lab report runs/ring-parse-htad-s0            a page on a run or several
  parse-lab watch runs/ring-parse-htad-s0             the same page, live
"""

app = program.program(help_without_arguments=True)


@app.callback(epilog=program.epilog(EXAMPLES))
def parse_lab(version: Version = False) -> None:
    """Look at graphs, compare methods, and see what runs did."""


app.command()(topology)
app.command()(compare)
app.command()(tensorboard)
app.command()(pid)
app.command()(report)
app.command()(watch)


def main() -> None:
    program.run(app, "parse-lab")
