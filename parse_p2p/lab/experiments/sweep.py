"""Run the jobs of an experiment on this machine's cores; what is done is kept, and never run again."""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import cached_property
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Self

import torch

from parse_p2p import __version__
from parse_p2p.config import run_file
from parse_p2p.config.own_data import OwnData
from parse_p2p.config.run_file import RunFile
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core import plugins
from parse_p2p.core.errors import P2PError, TrainingError
from parse_p2p.core.events import Round, Start, metrics
from parse_p2p.lab.experiments.experiment import Job, Labels
from parse_p2p.lab.experiments.recorded_simulation import rehearse
from parse_p2p.lab.experiments.result_store import Outcome, ResultStore, plain
from parse_p2p.launch import fork_server
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.launch.run_history import RunHistory
from parse_p2p.methods.base import Method
from parse_p2p.runtime.agent_state import AgentState
from parse_p2p.runtime.simulator import Ledger

Measure = Callable[[RunPlan, Mapping[str, AgentState]], Mapping[str, float]]
"""What is asked of the agents as they end: numbers by name."""

REVISION = 2  # raised where a change of the program changes what a run file comes to

Progress = Callable[[int, int], None]
"""Told how many of how many runs are done."""


def key_of(run: RunFile, engine: str, measures: Sequence[str]) -> str:
    """The digest of all that decides a run's numbers: defaults of plug-ins and the contents of files too."""
    method: Method = plugins.load(plugins.METHODS, run.method)
    options = run_file.options(method.options, run.options, "options").model_dump(mode="json")
    data = _data(run)
    text = json.dumps([
        REVISION, torch.__version__, run.digest(), engine, sorted(measures), options, data,
        *map(run_file.content, _files(run, data)),
    ])  # fmt: skip
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _data(run: RunFile) -> list[dict[str, Any]]:
    """The options of the data set, or of the agents' own sources, which are no part of a run's digest."""
    if run.dataset == run_file.OWN:
        return [dict(source.values) for source in OwnData(run).sources()]
    opened = run_file.options(plugins.module(plugins.DATA, run.dataset).Options, run.data, "data")
    return [opened.model_dump(mode="json"), run.public.data if run.public else {}]


def _files(run: RunFile, data: Sequence[Mapping[str, Any]]) -> list[str]:
    """What data and encoders name that is a file, and the files in folders that they name."""
    encoders = (run.model.encoder, *run.model.encoders.values())
    named = [*(value for options in data for value in options.values()), *(each.weights for each in encoders)]
    paths = [Path(text) for text in named if isinstance(text, str)]
    inside = (file for path in paths if path.is_dir() for file in sorted(path.rglob("*")))
    return [str(path) for path in (*paths, *inside) if path.is_file()]


class LocalExecutor(ProcessPoolExecutor):
    """Workers of this machine, each on one core."""

    def __init__(self, workers: int) -> None:
        self._others = set(multiprocessing.active_children())
        super().__init__(workers, fork_server.context(), _begin)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait, cancel_futures=cancel_futures)
        for process in set(multiprocessing.active_children()) - self._others:
            process.terminate()


class Sweep:
    """``workers`` runs go at once, each on one core; for use in a ``with``, at whose end they are gone."""

    def __init__(self, store: ResultStore, workers: int, progress: Progress = lambda done, of: None,
                 pool: Callable[[int], Executor] = LocalExecutor) -> None:  # fmt: skip
        self.store = store
        self.workers = workers
        self.progress = progress
        self._open = pool
        self._keys: dict[tuple[Labels, int, str], str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if "_pool" in vars(self):
            self._pool.shutdown(wait=False, cancel_futures=True)

    @cached_property
    def _pool(self) -> Executor:
        return self._open(self.workers)

    def key(self, job: Job) -> str:
        at = (job.labels, job.seed, repr(job.tuned))
        if at not in self._keys:
            self._keys[at] = key_of(job.run(), job.experiment.engine, job.experiment.measures)
        return self._keys[at]

    def outcome(self, job: Job) -> Outcome:
        """Of a job that has been run."""
        found = self.store.get(self.key(job))
        assert found is not None, job.called
        return found

    def complete(self, jobs: Iterable[Job]) -> None:
        """Run what is missing. Raises P2PError for a job that cannot be run; those before it are kept."""
        missing = {key: job for job in jobs if self.store.get(key := self.key(job)) is None}
        if not missing:
            return
        self.progress(0, len(missing))
        waiting = {
            self._pool.submit(
                one, job.run(), key, job.experiment.engine, job.experiment.measures, self.store.folder
            ): job
            for key, job in missing.items()
        }
        while waiting:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                self.store.put(_result(future, waiting.pop(future)))
                self.progress(len(missing) - len(waiting), len(missing))


def _result(future: "Future[Outcome]", job: Job) -> Outcome:
    try:
        return future.result()
    except BrokenProcessPool:
        raise P2PError(
            f"{job.experiment.path}: a process that ran {job.called} was killed, perhaps for want of memory: "
            "start again with fewer at once (--workers, or CPUs of the cluster); what is done is kept"
        ) from None
    except P2PError as error:
        raise P2PError(f"{job.experiment.path}: {job.called}: {error}") from None


_launched: list[subprocess.Popen[str]] = []
"""The runs of real agents that this process waits for."""


def _begin() -> None:
    """Of a worker: it ends with its parent, whatever ends that, and ends what it has launched."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends us
    signal.signal(signal.SIGTERM, _end)
    torch.set_num_threads(1)
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_outlive, args=(parent,), daemon=True).start()


def _outlive(parent: BaseProcess) -> None:
    parent.join()
    _end()


def _end(*_: object) -> None:
    for process in _launched:
        process.kill()
    os._exit(1)  # an exception would only end the job, and the worker would wait for the next


def one(run: RunFile, key: str, engine: str, measures: Sequence[str], folder: Path) -> Outcome:
    """Run one job to its end. Training that fails is an outcome too."""
    plan = RunPlan(run)
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

    def each(round: int, scores: Mapping[Any, Mapping[str, float]], ledger: Ledger, seconds: float) -> None:
        last.update(scores)
        for me in scores.keys() & outcome.accuracy.keys():
            outcome.accuracy[me][round] = scores[me]["accuracy"]
        sent = sum(n for peers in ledger.values() for slices in peers.values() for n in slices.values())
        outcome.bytes.append(sent / len(plan.peers))
        outcome.seconds.append(seconds)

    agent_states = plan.agent_states()
    rehearse(plan, each, agent_states)
    people: dict[str, AgentState] = {p.me: p for p in agent_states}
    outcome.parameters = sum(people[me].learner.buffer.size for me in plan.peers)
    outcome.measures |= _means(metrics(last[me]).get("scores") for me in outcome.accuracy if me in last)
    if others := [s["others"] for me, s in last.items() if me in outcome.accuracy and "others" in s]:
        outcome.measures["others"] = sum(others) / len(others)
    if plan.coordinator is not None:
        outcome.measures |= {f"hub.{name}": value for name, value in plain(last[plan.coordinator]).items()}
    for name in measures:
        measure: Measure = plugins.load(plugins.MEASURES, name)
        outcome.measures |= plain(measure(plan, people))
    return outcome


def _means(scores: Iterable[Mapping[str, float] | None]) -> dict[str, float]:
    """Of each metric that a run file asks for, the mean over the agents that have it."""
    found: dict[str, list[float]] = {}
    for each in scores:
        for name, value in (each or {}).items():
            found.setdefault(name, []).append(value)
    return {name: statistics.fmean(values) for name, values in found.items()}


def real(plan: RunPlan, key: str, measures: Sequence[str], folder: Path) -> Outcome:
    """Real processes; the run's folder is kept beside the outcomes, without checkpoints."""
    if measures:
        raise P2PError("measures: they need the agents at hand; take the engine simulator")
    out = folder / "runs" / key
    shutil.rmtree(out, ignore_errors=True)
    file = out.with_suffix(".yaml")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(run_file.dump(plan.run), encoding="utf-8")
    program = [sys.executable, "-c", "from parse_p2p.cli.agent import main; main()"]
    command = [*program, "--topology", str(file), "--out", str(out), "--quiet", "--no-alone"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        _launched.append(process)
        printed, complaint = process.communicate()
    _launched.remove(process)
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
ENGINES: Mapping[str, Engine] = {"simulator": simulated, "processes": real}
