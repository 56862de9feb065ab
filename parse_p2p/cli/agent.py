"""``parse-agent``: run a topology's agents on this host, or one of them. Each command is a file beside this one.

Nothing here imports torch before a run begins: help and completion answer at once.
"""

from pathlib import Path
from typing import Annotated

import typer

from parse_p2p.cli import completion, program
from parse_p2p.cli.check import check
from parse_p2p.cli.data.app import app as data
from parse_p2p.cli.describe import describe_method
from parse_p2p.cli.init import init
from parse_p2p.cli.keys import keys
from parse_p2p.cli.program import LogLevel, Version
from parse_p2p.cli.schema import schema
from parse_p2p.cli.summary import summary
from parse_p2p.cli.tell import tell
from parse_p2p.cli.trained.app import add_to as add_trained
from parse_p2p.core.errors import ConfigError

EXAMPLES = """
[bold]Examples[/]

  parse-agent --topology ring                        shipped; or a file of yours
  parse-agent --topology torus --method dsgd-hybrid --seed 1
  parse-agent --topology star --method fedcmi        with a coordinator
  parse-agent --topology ring --set train.lr=0.02    any key of the file
  parse-agent --describe fedcmi                      its needs and options
  parse-agent init ring                              a run file to begin with
  parse-agent check ring.yaml                        what is wrong with it
  parse-agent --topology ring.yaml --resume          go on where it stopped
  parse-agent --topology ring.yaml --id a3 --resume  bring one agent back
  parse-agent --topology ring.yaml --id a3 --start-or-resume
  parse-agent --topology study.yaml --id a3 --data site3.csv
  parse-agent --topology ring.yaml --launcher ray    on a Ray cluster
  parse-agent summary runs/ring-parse-htad-s0 --wait
  parse-agent tell runs/ring-parse-htad-s0 --id a3 --gain audio
  parse-agent export runs/ring-parse-htad-s0 --id a3
  parse-agent data check site1.npz                   what is in data of yours
  parse-agent keys --topology ring.yaml              for security: curve
"""

ID = "PARSE_AGENT_ID"
"""Names the one agent to run where many are started alike, as by Slurm or Kubernetes."""

app = program.program(help_without_arguments=False)
for command in (init, check, summary, tell, keys, schema):
    app.command()(command)
add_trained(app)
app.add_typer(data, name="data")


@app.callback(invoke_without_command=True, epilog=program.epilog(EXAMPLES))
def parse_agent(
    context: typer.Context,
    topology: Annotated[
        Path | None,
        typer.Option(
            help="The run file: graph, agents and defaults of a run; or a shipped one by name, as ring. [required]",
            autocompletion=completion.topologies,
        ),
    ] = None,
    id: Annotated[
        str | None,
        typer.Option(envvar=ID, help="Run only this agent of the file, in this process; or its number, from 0."),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help=f"One of {', '.join(completion.methods(''))}, or a module; --describe says what each needs.",
            autocompletion=completion.methods,
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help=f"One of {', '.join(completion.datasets(''))}, or a module.", autocompletion=completion.datasets
        ),
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds of training and exchange.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same result.")] = None,
    device: Annotated[
        str | None, typer.Option(help="auto (each agent the next GPU, the CPU where there is none), cpu or cuda:0.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="With --id: the file or folder of this agent's own data, or {kind: csv, path: ...}."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; by default a new one in runs/.")] = None,
    set: Annotated[list[str] | None, typer.Option(help="Any key of the file, as train.lr=0.1; repeatable.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoints.")] = False,
    start_or_resume: Annotated[
        bool,
        typer.Option(
            "--start-or-resume",
            help="With --id: go on if it was there before, start if not; for what restarts agents by the same command.",
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only the summary: --log-level quiet.")] = False,
    log_level: Annotated[
        LogLevel,
        typer.Option(
            help="quiet: the summary alone; normal: also rounds and what goes wrong; debug: also every event."
        ),
    ] = LogLevel.NORMAL,
    describe: Annotated[
        str | None,
        typer.Option(
            help="Say what a method needs and list its options.",
            callback=describe_method,
            is_eager=True,
            autocompletion=completion.methods,
        ),
    ] = None,
    launcher: Annotated[
        str,
        typer.Option(
            help="local: processes of this host; ray: actors of a Ray cluster (RAY_ADDRESS).",
            autocompletion=completion.launchers,
        ),
    ] = "local",
    alone: Annotated[bool, typer.Option(help="Also train the same agents alone, to compare with.")] = True,
    version: Version = False,
) -> None:
    """Train the agents of a topology together, one process each: peer to peer, or with a coordinator to compare."""
    if context.invoked_subcommand is not None:
        return
    if topology is None:
        raise ConfigError("which topology? Give one, as parse-agent --topology ring; parse-agent --help lists more")
    from parse_p2p.cli import run  # with torch

    level = LogLevel.QUIET if quiet else log_level
    named = {"method": method, "dataset": dataset, "rounds": rounds, "seed": seed, "device": device}
    plan, chosen = run.planned(topology, set or [], named, launcher, level, id is None)
    if id is not None and launcher != "local":
        raise ConfigError(f"--launcher {launcher} starts all agents of the file: leave out --id (or {ID})")
    if start_or_resume and id is None:
        raise ConfigError("--start-or-resume is for one agent: add its --id, or take --resume")
    if data is not None and id is None:
        raise ConfigError("--data is for one agent: add its --id, or write each agent's data into the file")
    if id is not None:
        run.one_agent(plan, run.agent_named(id, plan), out, resume, start_or_resume, data)
    else:
        run.all_agents(plan, chosen, out, resume, level, alone)


def main() -> None:
    program.run(app, "parse-agent")
