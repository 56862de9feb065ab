"""What one run of an experiment comes to: simulated, of real processes, or in bytes alone."""

import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import torch

from parse_p2p import __version__
from parse_p2p.config import run_file
from parse_p2p.config.run_file import RunFile
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core import plugins
from parse_p2p.core.errors import P2PError, TrainingError
from parse_p2p.core.events import Round, Start, metrics
from parse_p2p.lab.experiments.recorded_simulation import rehearse
from parse_p2p.lab.experiments.result_store import Outcome, plain
from parse_p2p.lab.experiments.tuning_plan import TuningPlan
from parse_p2p.lab.measures.base import OfRounds
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.launch.run_history import RunHistory
from parse_p2p.runtime.agent_state import AgentState
from parse_p2p.runtime.simulator import Ledger, simulate

Measure = Callable[[RunPlan, Mapping[str, AgentState]], Mapping[str, float]]
"""What is asked of the agents as they end, numbers by name; one of rounds is a class derived from ``OfRounds``."""

launched: list[subprocess.Popen[str]] = []
"""The runs of real agents that this process waits for."""


def one(
    run: RunFile, key: str, engine: str, measures: Sequence[str], folder: Path, share: float | None = None
) -> Outcome:
    """Run one job to its end, or tune by a ``share`` of the training samples. Training that fails is an outcome too."""
    plan = RunPlan(run) if share is None else TuningPlan(run, share)
    versions = {"parse-p2p": __version__, "torch": torch.__version__}
    try:
        outcome = ENGINES[engine](plan, key, measures, folder)
    except TrainingError as error:
        return Outcome(key, failed=str(error), versions=versions)
    last = run.rounds - 1
    outcome.versions = versions
    outcome.kinds = {me: plan.kind(me, last) for me in plan.peers}
    outcome.score = plan.schema.solved.score
    for me in plan.peers:
        if (ceiling := plan.ceiling(me)) is not None:
            outcome.ceilings[plan.kind(me, last)] = ceiling
    return outcome


def simulated(plan: RunPlan, key: str, measures: Sequence[str], folder: Path) -> Outcome:
    outcome = Outcome(key, accuracy={me: [None] * plan.run.rounds for me in plan.peers})
    last: dict[str, Mapping[str, float]] = {}
    agent_states = plan.agent_states()
    people: dict[str, AgentState] = {p.me: p for p in agent_states}
    asked = [plugins.load(plugins.MEASURES, name) for name in measures]
    watching = [measure(plan, people) for measure in asked if _of_rounds(measure)]

    def each(round: int, scores: Mapping[Any, Mapping[str, float]], ledger: Ledger, seconds: float) -> None:
        last.update(scores)
        for me in scores.keys() & outcome.accuracy.keys():
            outcome.accuracy[me][round] = scores[me]["accuracy"]
        outcome.bytes.append(_sent(plan, ledger))
        outcome.seconds.append(seconds)
        for watched in watching:
            watched.after(round)

    rehearse(plan, each, agent_states)
    outcome.parameters = sum(people[me].learner.buffer.size for me in plan.peers)
    outcome.measures |= _means(metrics(last[me]).get("scores") for me in outcome.accuracy if me in last)
    if others := [s["others"] for me, s in last.items() if me in outcome.accuracy and "others" in s]:
        outcome.measures["others"] = sum(others) / len(others)
    if plan.coordinator is not None:
        outcome.measures |= {f"hub.{name}": value for name, value in plain(last[plan.coordinator]).items()}
    for watched in watching:
        outcome.measures |= plain(watched.found())
    for measure in asked:
        if not _of_rounds(measure):
            outcome.measures |= plain(measure(plan, people))
    return outcome


def traffic(plan: RunPlan, key: str, measures: Sequence[str], folder: Path) -> Outcome:
    """The bytes of each round alone: nobody is evaluated, and nobody trains more than what is sent needs."""
    outcome, agent_states = Outcome(key), plan.agent_states()
    for state in agent_states:
        state.learner.brief = True
    simulate(
        agent_states,
        plan.run.rounds,
        codec=plan.codec,
        watch=lambda round, metrics, ledger: outcome.bytes.append(_sent(plan, ledger)),
    )
    return outcome


def _sent(plan: RunPlan, ledger: Ledger) -> float:
    """The payload bytes of a round, of all agents together divided by the number of those that hold data."""
    sent = sum(n for peers in ledger.values() for slices in peers.values() for n in slices.values())
    return sent / len(plan.peers)


def _of_rounds(measure: Measure | type[OfRounds]) -> TypeGuard[type[OfRounds]]:
    return isinstance(measure, type) and issubclass(measure, OfRounds)


def _means(scores: Iterable[Mapping[str, float] | None]) -> dict[str, float]:
    """Of each metric that a run file asks for, the mean over the agents that have it."""
    found: dict[str, list[float]] = {}
    for each in scores:
        for name, value in (each or {}).items():
            found.setdefault(name, []).append(value)
    return {name: statistics.fmean(values) for name, values in found.items()}


def real(plan: RunPlan, key: str, measures: Sequence[str], folder: Path) -> Outcome:
    """Real processes; the run's folder is kept beside the outcomes, without checkpoints."""
    assert not measures, "an experiment refuses them before anything is run"
    out = folder / "runs" / key
    shutil.rmtree(out, ignore_errors=True)
    file = out.with_suffix(".yaml")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(run_file.dump(plan.run), encoding="utf-8")
    program = [sys.executable, "-c", "from parse_p2p.cli.agent import main; main()"]
    command = [*program, "--topology", str(file), "--out", str(out), "--quiet", "--no-alone"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        launched.append(process)
        printed, complaint = process.communicate()
    launched.remove(process)
    if process.returncode:
        said = (complaint or printed).strip().removeprefix("error: ")
        raise P2PError(said.splitlines()[-1] if said else f"parse-agent ended with exit code {process.returncode}")
    return _read(plan, key, RunFolder(out))


def _read(plan: RunPlan, key: str, folder: RunFolder) -> Outcome:
    rounds = plan.run.rounds
    outcome = Outcome(key, bytes=[0.0] * rounds, seconds=[0.0] * rounds)
    outcome.accuracy = {me: [None] * rounds for me in plan.peers}
    history = RunHistory.of(plan, folder)
    for event in history.read():
        learning = event.agent in outcome.accuracy
        match event:
            case Start() if learning:
                outcome.parameters += event.parameters or 0
            case Round():
                sent = sum(n for row in event.sent.values() for n in row.values())
                outcome.bytes[event.round] += sent / len(plan.peers)
                outcome.seconds[event.round] = max(outcome.seconds[event.round], event.seconds)
                if learning and event.accuracy is not None:
                    outcome.accuracy[event.agent][event.round] = event.accuracy
    latest = [history.agents[me].latest for me in plan.peers]
    outcome.measures |= _means(row.scores for row in latest if row is not None)
    for me in plan.specs:
        shutil.rmtree(folder.checkpoints(me), ignore_errors=True)
    return outcome


Engine = Callable[[RunPlan, str, Sequence[str], Path], Outcome]
ENGINES: Mapping[str, Engine] = {"simulator": simulated, "processes": real, "traffic": traffic}
