"""``parse-agent data``: look at data before anything is trained on them. Each command is a file beside this one."""

from parse_p2p.cli import program
from parse_p2p.cli.data.check import check
from parse_p2p.cli.data.schema import schema

SCHEMA_EXAMPLES = """
[bold]Examples[/]

  parse-agent data schema site1.npz site2.npz >> study.yaml
  parse-agent data schema table.csv --set target=label --set 'columns={audio: "v1_*"}'
  parse-agent data schema --kind python --set object=mypackage.data:make
  parse-agent data schema study.yaml --id a3
"""

CHECK_EXAMPLES = """
[bold]Examples[/]

  parse-agent data check site1.npz
  parse-agent data check site1.npz site2.npz           also what both hold
  parse-agent data check site1.npz --topology study.yaml
  parse-agent data check study.yaml --id a1 --id a2
  parse-agent data check --kind digits4
"""

app = program.program(help_without_arguments=True)
app.command(epilog=program.epilog(SCHEMA_EXAMPLES))(schema)
app.command(epilog=program.epilog(CHECK_EXAMPLES))(check)


@app.callback()
def data() -> None:
    """Look at data: what agents have to agree on, and what in them is odd."""
