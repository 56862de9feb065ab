"""``parse-agent``: run a topology's agents on this host, or one of them."""

import json
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from parse_p2p.cli import summary
from parse_p2p.cli.progress import RunView, Screen
from parse_p2p.cli.summary import conclude
from parse_p2p.config import run_file
from parse_p2p.config.roster import agent_ids
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core import plugins
from parse_p2p.core.errors import ConfigError, P2PError, nearest
from parse_p2p.core.event_log import Tail
from parse_p2p.core.plugin_options import fields
from parse_p2p.core.types import PeerId
from parse_p2p.launch import exit_codes
from parse_p2p.launch import run_folder as folders
from parse_p2p.launch.exit_codes import FAILED, INTERRUPTED
from parse_p2p.launch.process import run_here
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.launch.supervisor import Launcher, Supervisor
from parse_p2p.methods.base import Method
from parse_p2p.runtime import checkpoint
from parse_p2p.runtime.announcements import order
from parse_p2p.transports import curve

LOOK = 0.2  # seconds between two looks at the logs

EXAMPLES = """
[bold]Examples[/]

  parse-agent --topology topologies/ring.yaml
  parse-agent --topology topologies/torus.yaml --method dsgd-hybrid --seed 1
  parse-agent --topology topologies/star.yaml --method fedcmi         with a coordinator, the hub of the star
  parse-agent --topology topologies/ring.yaml --method fedavg --set agents.coordinator=hub
  parse-agent --describe fedcmi                                        its options, each of its modules a switch
  parse-agent --topology topologies/ring.yaml --set partition.kind=dirichlet --set train.lr=0.02
  parse-agent --topology topologies/ring.yaml --resume                 go on where it stopped
  parse-agent --topology topologies/ring.yaml --id a3 --resume         bring one agent back
  parse-agent --topology topologies/ring.yaml --id a3 --start-or-resume   by the same command again and again
  parse-agent summary runs/ring-parse-htad-s0 --wait                   of agents that were started by --id
  parse-agent --topology topologies/ring.yaml --launcher ray           its agents on the nodes of a Ray cluster
  parse-agent tell runs/ring-parse-htad-s0 --id a3 --gain audio        a sensor more, while the run goes on
  parse-agent keys --topology topologies/ring.yaml                     keys for --set security=curve
"""

ID = "PARSE_AGENT_ID"
"""Names the one agent to run where many are started alike, as by Slurm or Kubernetes."""

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
app.command()(summary.summary)


def _options_of(kind: plugins.PluginKind) -> str:
    return ", ".join(plugins.known(kind))


def _methods() -> str:
    kinds: dict[bool, list[str]] = {False: [], True: []}
    for name in plugins.known(plugins.METHODS):
        kinds[plugins.load(plugins.METHODS, name).centralised].append(name)
    return (
        f"Among peers: {', '.join(kinds[False])}. With a coordinator, as topologies/star.yaml has one: "
        f"{', '.join(kinds[True])}. Or a module."
    )


def _launcher(name: str) -> Launcher:
    try:
        found: Launcher = plugins.load(plugins.LAUNCHERS, name)
    except ConfigError as error:
        raise ConfigError(f"--launcher: {error}") from None
    return found


def _describe(name: str | None) -> None:
    """Print a method's options, and end."""
    if name is None:
        return
    method: Method = plugins.load(plugins.METHODS, name)
    console = Console()
    console.print(f"[bold]{method.name}[/]: {method.summary}" + (f" ({method.paper})" if method.paper else ""))
    needs = " a coordinator and public data" if method.public else " a coordinator" if method.centralised else " no one"
    console.print(f"needs{needs} beside its agents; network: {', '.join(method.networks)}\n", highlight=False)
    table = Table("option", "default", "what it does", box=None, header_style="bold", pad_edge=False)
    for key, field in fields(method.options).items():
        table.add_row(f"options.{key}", escape(str(field.default)), escape(field.description or ""))
    console.print(table)
    console.print(f"\nparse-agent --topology … --method {name} --set options.NAME=VALUE", highlight=False)
    console.print(
        "its network's own settings stand under model: --set model.latent=32, model.gate=fixed …", highlight=False
    )
    raise typer.Exit


@app.callback(invoke_without_command=True, epilog="\n\n".join(line for line in EXAMPLES.splitlines() if line))
def parse_agent(
    context: typer.Context,
    topology: Annotated[
        Path | None, typer.Option(help="The run file: graph, agents and defaults of a run. [required]")
    ] = None,
    id: Annotated[
        str | None,
        typer.Option(envvar=ID, help="Run only this agent of the file, in this process; or its number, from 0."),
    ] = None,
    method: Annotated[str | None, typer.Option(help=_methods())] = None,
    dataset: Annotated[str | None, typer.Option(help=f"One of {_options_of(plugins.DATA)}, or a module.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds of training and exchange.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same result.")] = None,
    device: Annotated[str | None, typer.Option(help="auto (GPUs dealt round, else CPU), cpu or cuda:0.")] = None,
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
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only the summary.")] = False,
    describe: Annotated[
        str | None,
        typer.Option(help="Say what a method needs and list its options.", callback=_describe, is_eager=True),
    ] = None,
    launcher: Annotated[
        str,
        typer.Option(help="local: processes of this host; ray: actors of a Ray cluster (RAY_ADDRESS); or a module."),
    ] = "local",
    alone: Annotated[bool, typer.Option(help="Also train the same agents alone, to compare with.")] = True,
) -> None:
    """Train the agents of a topology together, one process each: peer to peer, or with a coordinator to compare."""
    if context.invoked_subcommand is not None:
        return
    if topology is None:
        raise ConfigError("which topology? Give one, as parse-agent --topology topologies/ring.yaml")
    named = {"method": method, "dataset": dataset, "rounds": rounds, "seed": seed, "device": device}
    settings = [run_file.setting(text) for text in set or []] + [(k, v) for k, v in named.items() if v is not None]
    chosen = _launcher(launcher)
    plan = RunPlan(chosen.adapt(run_file.load(topology, settings)))
    console = Console()
    if id is not None and launcher != "local":
        raise ConfigError(f"--launcher {launcher} starts all agents of the file: leave out --id (or {ID})")
    if start_or_resume and id is None:
        raise ConfigError("--start-or-resume is for one agent: add its --id, or take --resume")
    if id is not None:
        _one(plan, _meant(id, plan), out, resume, start_or_resume, console)
    else:
        _all(plan, chosen, out, resume, quiet, alone, console)


@app.command()
def keys(
    topology: Annotated[Path, typer.Option(help="The run file whose agents get keys.")],
    id: Annotated[list[str] | None, typer.Option(help="Only for this agent; repeatable.")] = None,
) -> None:
    """Make key pairs for encrypted links, in the keyring of a run file.

    Give every host the whole keyring but for the private keys (ID.key) of agents that do not run there.
    """
    run = run_file.load(topology)
    ids = agent_ids(run)
    for name in id or []:
        if name not in ids:
            raise ConfigError(f"--id {name}: there is no such agent in the file: {nearest(name, ids)}")
    made = curve.make(Path(run.keyring), [PeerId(name) for name in id or ids])
    outcome = f"made keys for {', '.join(made)}" if made else "all agents have keys already; nothing was changed"
    Console().print(f"{outcome} in {run.keyring}", highlight=False, soft_wrap=True)


@app.command()
def tell(
    run: Annotated[Path, typer.Argument(help="The folder of a run that goes on.")],
    id: Annotated[str, typer.Option(help="The agent that is told.")],
    gain: Annotated[list[str] | None, typer.Option(help="A modality it has from now on; repeatable.")] = None,
    lose: Annotated[list[str] | None, typer.Option(help="A modality it has no longer; repeatable.")] = None,
) -> None:
    """Tell a running agent of this host that it gains or loses a modality: a sensor was bought, or broke.

    It tells the others, and all change over in the same round. The run file needs events: [] at least.
    """
    folder = RunFolder(run)
    plan = folder.open()
    if id not in plan.specs:
        raise ConfigError(f"--id {id}: there is no such agent in this run: {nearest(id, plan.specs)}")
    if plan.run.events is None:
        raise ConfigError(f"the run in {run} was started without changes: start it with events: [] in its file")
    orders = [{word: names} for word, names in (("gain", gain), ("lose", lose)) if names]
    if not orders:
        raise ConfigError("tell it what to gain or lose, as --gain audio")
    lines = [json.dumps(each) for each in orders]
    for line in lines:
        order(line, plan.data[0].modalities)
    if not folder.events(PeerId(id)).exists():
        raise ConfigError(f"{id} has never run in {run}: tell it on the host where it does")
    with folder.orders(PeerId(id)).open("a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
    Console().print(f"told {id}; its log {folder.events(PeerId(id))} says when it holds", soft_wrap=True)


def _meant(id: str, plan: RunPlan) -> PeerId:
    """The agent of this name; else, where it is a number, the one at that place in the file."""
    specs = list(plan.specs)
    if id in specs:
        return PeerId(id)
    if id.isdecimal() and len(id) < 10 and int(id) < len(specs):
        return specs[int(id)]
    last = f", or a number up to {len(specs) - 1}" if id.isdecimal() else ""
    raise ConfigError(f"--id {id}: there is no such agent in the file: {nearest(id, specs)}{last}")


def _one(plan: RunPlan, me: PeerId, out: Path | None, resume: bool, either: bool, console: Console) -> None:
    if either:
        out = out or folders.meeting(plan.run)
        resume = RunFolder(out).events(me).exists()
    folder = folders.existing(plan.run, out) if resume else folders.shared(plan.run, out, me)
    span = folder.recall(plan).spans[me]
    if resume and max(checkpoint.rounds(folder.checkpoints(me)), default=-1) >= span.stop > 0:
        console.print(f"{me} has finished its rounds already; its log is in {folder.events(me)}", soft_wrap=True)
        return
    plan.device(me)
    plan.endpoints.curve_keys(me, plan.neighbours(me))
    folder.write(plan.run)
    next_round = run_here(plan, me, folder, None if resume else 0)
    if next_round < folder.recall(plan).spans[me].stop:  # it may have come unplanned
        console.print(f"{me} stopped in round {next_round + 1}. To go on:\n  {_again(folder, me)}", soft_wrap=True)
        raise typer.Exit(INTERRUPTED)
    console.print(f"{me} finished its rounds; its log is in {folder.events(me)}", soft_wrap=True)


def _all(
    plan: RunPlan, launcher: Launcher, out: Path | None, resume: bool, quiet: bool, alone: bool, console: Console
) -> None:
    folder = folders.existing(plan.run, out) if resume else folders.fresh(plan.run, out)
    plan = folder.recall(plan)
    start = folders.newest_common(folder, plan.spans, plan.run.rounds) if resume else 0
    if start >= plan.run.rounds:
        raise ConfigError(f"{folder.path} has all its {start} rounds: raise --rounds to go on")
    for me in plan.specs:
        plan.endpoints.curve_keys(me, plan.neighbours(me))
    launcher.check(plan, folder)
    folder.write(plan.run)
    if not quiet:
        _announce(plan, start, console)
    view, began = summary.view_of(plan, start), time.monotonic()
    died = _run(launcher.supervisor(plan, folder, start), plan, folder, view, quiet, console)
    conclude(plan, folder, view, time.monotonic() - began, alone, quiet, console)
    for me, code in died.items():
        console.print(f"[yellow]{me} died ({_signal(code)}) and is in the summary as it was then[/]")
    if died:
        raise typer.Exit(1)


def _announce(plan: RunPlan, start: int, console: Console) -> None:
    run = plan.run
    hub = f" with the coordinator {plan.coordinator}" if plan.coordinator else ""
    where = f"from round {start + 1}" if start else f"{run.rounds} rounds"
    console.print(
        f"[bold]{run.method}[/] on [bold]{run.dataset}[/]: {len(plan.peers)} agents on {run.name}{hub}, {where}",
        highlight=False,
    )
    for group, overlay in plan.laid(0).groups().items():
        components = overlay.connected_components()
        if len(components) > 1:
            named = "; ".join(", ".join(sorted(i)) for i in components)
            note = f"the overlay of group {group} has {len(components)} connected components: {named}"
            console.print(f"[yellow]{note}[/]", highlight=False)


def _run(
    supervisor: Supervisor, plan: RunPlan, folder: RunFolder, view: RunView, quiet: bool, console: Console
) -> dict[PeerId, int]:
    """Run all agents to their end; those that died of a signal, with its number."""
    tails = {me: Tail(folder.events(me)) for me in plan.specs}
    for tail in tails.values():
        tail.skip()
    signal.signal(signal.SIGTERM, _interrupt)
    died: dict[PeerId, int] = {}
    with supervisor, Screen(view, console, quiet) as screen:
        try:
            running = True
            while running:
                supervisor.tend()
                running = bool(supervisor.running())
                notes = [note for tail in tails.values() for note in view.take(tail.read())]
                screen.update(notes + _deaths(supervisor, folder, view, died))
                _raise_failure(supervisor, folder, view)
                time.sleep(LOOK if running else 0)
        except KeyboardInterrupt:
            supervisor.stop()
            view.take(event for tail in tails.values() for event in tail.read())
            screen.__exit__()
            console.print(f"\nStopped; every agent left a checkpoint. To go on:\n  {_again(folder)}", soft_wrap=True)
            raise typer.Exit(INTERRUPTED) from None
    return died


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _deaths(supervisor: Supervisor, folder: RunFolder, view: RunView, died: dict[PeerId, int]) -> list[str]:
    new = {me: code for me, code in supervisor.exit_codes().items() if code not in (0, FAILED) and me not in died}
    died |= new
    notes = []
    for me, code in new.items():
        view.agents[me].state = "died"
        notes.append(f"{me} died ({_signal(code)}); the others go on. To bring it back:\n  {_again(folder, me)}")
    view.notes += notes
    return notes


def _raise_failure(supervisor: Supervisor, folder: RunFolder, view: RunView) -> None:
    for me, code in supervisor.exit_codes().items():
        if code == FAILED:
            failures = [e["why"] for e in Tail(folder.events(me)).read() if e["event"] == "failed"]
            raise P2PError(failures[-1] if failures else f"agent {me} failed; see {folder.events(me)}")


def _signal(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _again(folder: RunFolder, me: PeerId | None = None) -> str:
    """The command line that goes on with this run, or with one agent of it."""
    if me is not None:  # from the file with all that it was started with
        kept = ["--topology", str(folder.file), "--out", str(folder.path), "--id", me]
        return shlex.join(["parse-agent", *kept, "--resume"])
    kept = [a for a in sys.argv[1:] if a != "--resume"]
    if "--out" not in " ".join(kept):
        kept += ["--out", str(folder.path)]
    return shlex.join(["parse-agent", *kept, "--resume"])


def main() -> None:
    exit_codes.run(app, "parse-agent")
