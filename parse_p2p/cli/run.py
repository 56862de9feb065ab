"""Run the agents of a plan on this host, or one of them, and show what they do."""

import os
import shlex
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from parse_p2p.cli import run_summary, terminal
from parse_p2p.cli.program import LogLevel
from parse_p2p.cli.progress import RunView, Screen
from parse_p2p.config import run_file, shipped
from parse_p2p.config.own_data import with_source
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.config.source import from_command_line
from parse_p2p.core import plugins
from parse_p2p.core.errors import ConfigError, P2PError, nearest
from parse_p2p.core.events import Failed
from parse_p2p.core.types import PeerId
from parse_p2p.launch import run_folder as folders
from parse_p2p.launch.exit_codes import FAILED, INTERRUPTED
from parse_p2p.launch.process import run_here
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.launch.run_history import RunHistory
from parse_p2p.launch.supervisor import Launcher, Supervisor
from parse_p2p.runtime import checkpoint

LOOK = 0.2  # seconds between two looks at the logs


def planned(
    topology: Path, settings: Sequence[str], named: Mapping[str, Any], launcher: str, level: LogLevel, all_of_it: bool
) -> tuple[RunPlan, Launcher]:
    """The plan of a run file, or of the shipped one of that name, as the launcher of its agents needs it.

    The launcher is made ready where it has to start ``all_of_it``. Raises ConfigError.
    """
    put = [run_file.setting(text) for text in settings]
    put += [(key, value) for key, value in named.items() if value is not None]
    chosen = _launcher(launcher)
    if all_of_it:
        chosen.prepare()
    file = shipped.find(topology)
    plan = RunPlan(chosen.adapt(run_file.load(file, put)))
    if file != topology and level is not LogLevel.QUIET:
        terminal.note(f"there is no file {topology} here: took the shipped {file}")
    return plan, chosen


def _launcher(name: str) -> Launcher:
    try:
        found: Launcher = plugins.load(plugins.LAUNCHERS, name)
    except ConfigError as error:
        raise ConfigError(f"--launcher: {error}") from None
    return found


def agent_named(id: str, plan: RunPlan) -> PeerId:
    """The agent of this name; else, where it is a number, the one at that place in the file."""
    specs = list(plan.specs)
    if id in specs:
        return PeerId(id)
    if id.isdecimal() and len(id) < 10 and int(id) < len(specs):
        return specs[int(id)]
    last = f", or a number up to {len(specs) - 1}" if id.isdecimal() else ""
    raise ConfigError(f"--id {id}: there is no such agent in the file: {nearest(id, specs)}{last}")


def one_agent(plan: RunPlan, me: PeerId, out: Path | None, resume: bool, either: bool, data: str | None = None) -> None:
    """Run one agent in this process; ``either``: resume it if it was there before, and start it if not.

    ``data`` is the source of its own data, in place of that in the file.
    """
    console = terminal.console()
    if data is not None:
        plan = RunPlan(with_source(plan.run, me, from_command_line(data)))
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
    plan.data.check_source(me)
    folder.write(plan.run)
    next_round = run_here(plan, me, folder, None if resume else 0)
    if next_round < folder.recall(plan).spans[me].stop:  # it may have come unplanned
        again = _again(folder, me, data)
        console.print(f"{me} stopped in round {next_round + 1}. To go on:\n  {again}", soft_wrap=True)
        raise typer.Exit(INTERRUPTED)
    console.print(f"{me} finished its rounds; its log is in {folder.events(me)}", soft_wrap=True)


def all_agents(plan: RunPlan, launcher: Launcher, out: Path | None, resume: bool, level: LogLevel, alone: bool) -> None:
    """Run all agents, in processes of their own, to their end, and print the summary."""
    console = terminal.console()
    folder = folders.existing(plan.run, out) if resume else folders.fresh(plan.run, out)
    plan = folder.recall(plan)
    start = folders.newest_common(folder, plan.spans, plan.run.rounds) if resume else 0
    if start >= plan.run.rounds:
        raise ConfigError(f"{folder.path} has all its {start} rounds: raise --rounds to go on")
    for me in plan.specs:
        plan.endpoints.curve_keys(me, plan.neighbours(me))
    launcher.check(plan, folder)
    folder.write(plan.run)
    if level is not LogLevel.QUIET:
        _announce(plan, start, console)
    history, began = RunHistory.of(plan, folder), time.monotonic()
    history.skip()
    view = RunView(history, plan.run.rounds, start, plan.coordinator, plan.schema.solved.score)
    died = _run(launcher.supervisor(plan, folder, start), folder, history, view, level, console)
    seconds = time.monotonic() - began
    summary = run_summary.conclude(plan, folder, view, seconds, alone, level is LogLevel.QUIET)
    run_summary.show(summary, folder, console)
    if alone and not plan.data.dealt:
        said = "each agent's data are its own: for the same agents alone, run them with --method local"
        console.print(said, soft_wrap=True)
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
    for note in plan.notes():
        console.print(f"[yellow]{escape(note)}[/]", highlight=False)
    for group, overlay in plan.laid(0).groups().items():
        components = overlay.connected_components()
        if len(components) > 1:
            named = "; ".join(", ".join(sorted(i)) for i in components)
            note = f"the overlay of group {group} has {len(components)} connected components: {named}"
            console.print(f"[yellow]{note}[/]", highlight=False)


def _run(
    supervisor: Supervisor, folder: RunFolder, history: RunHistory, view: RunView, level: LogLevel, console: Console
) -> dict[PeerId, int]:
    """Run all agents to their end; those that died of a signal, with its number."""
    signal.signal(signal.SIGTERM, _interrupt)
    died: dict[PeerId, int] = {}
    with supervisor, Screen(view, console, level) as screen:
        try:
            running = True
            while running:
                supervisor.tend()
                running = bool(supervisor.running())
                screen.update(history.read())
                screen.update([], _deaths(supervisor, folder, view, died))
                failed = _failed(supervisor)
                screen.update(history.read() if failed else [])  # what it said before it ended
                for me in failed:
                    end = history.agents[me].end
                    said = end.why if isinstance(end, Failed) else f"agent {me} failed; see {folder.events(me)}"
                    raise P2PError(said)
                time.sleep(LOOK if running else 0)
        except KeyboardInterrupt:
            supervisor.stop()
            for event in history.read():
                view.take(event)
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


def _failed(supervisor: Supervisor) -> list[PeerId]:
    """Those that ended with an error that they logged."""
    return [me for me, code in supervisor.exit_codes().items() if code == FAILED]


def _signal(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _again(folder: RunFolder, me: PeerId | None = None, data: str | None = None) -> str:
    """The command line that goes on with this run, or with one agent of it."""
    if me is not None:  # from the file with all that it was started with
        kept = ["--topology", str(folder.file), "--out", str(folder.path), "--id", me]
        kept += [] if data is None else ["--data", data if data.lstrip().startswith("{") else os.path.abspath(data)]
        return shlex.join(["parse-agent", *kept, "--resume"])
    kept = [a for a in sys.argv[1:] if a != "--resume"]
    if "--out" not in " ".join(kept):
        kept += ["--out", str(folder.path)]
    return shlex.join(["parse-agent", *kept, "--resume"])
