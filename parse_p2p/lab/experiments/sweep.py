"""Run the jobs of an experiment on this machine's cores; what is done is kept, and never run again."""

import hashlib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import cached_property
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Self

import torch

from parse_p2p.config import run_file
from parse_p2p.config.own_data import OwnData
from parse_p2p.config.run_file import RunFile
from parse_p2p.core import plugins
from parse_p2p.core.errors import ConfigError, P2PError
from parse_p2p.lab.experiments import code_digest
from parse_p2p.lab.experiments.engines import launched, one
from parse_p2p.lab.experiments.experiment import Job
from parse_p2p.lab.experiments.result_store import Outcome, ResultStore
from parse_p2p.launch import fork_server
from parse_p2p.methods.base import Method

Progress = Callable[[int, int], None]
"""Told how many of how many runs are done."""


def key_of(run: RunFile, engine: str, measures: Sequence[str], share: float | None = None) -> str:
    """The digest of what is run, with defaults of plug-ins and the contents of files, a dash, and that of its code.

    ``share`` is what is kept of the training samples, to tune by.
    """
    method: Method = plugins.load(plugins.METHODS, run.method)
    options = run_file.options(method.options, run.options, "options").model_dump(mode="json")
    said = run.model_dump(mode="json", include={"agents", "common_test", "data", "model", "public"})
    data = [said, _data(run)]  # much of which is left out of a run's digest, as an agent's own business
    text = json.dumps([run.digest(), engine, sorted(measures), options, _contents(data), share])
    named = json.dumps([run.model_dump(mode="json"), options, data, [*measures]])
    return f"{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}-{code_digest.of(named)}"


def _data(run: RunFile) -> list[dict[str, Any]]:
    """The options of the data set with their defaults, or of the agents' own sources with their ids."""
    if run.dataset == run_file.OWN:
        return [dict(source.values) for source in OwnData(run).sources()]
    opened = run_file.options(plugins.module(plugins.DATA, run.dataset).Options, run.data, "data")
    return [opened.model_dump(mode="json")]


def _contents(value: Any) -> Any:
    """The same with what is in files, and in all files of folders, in place of their paths."""
    if isinstance(value, Mapping):
        return {key: _contents(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_contents(each) for each in value]
    if not isinstance(value, str):
        return value
    path = Path(value)
    if path.is_absolute() and path.is_dir():
        inside = (file for file in sorted(path.rglob("*")) if file.is_file())
        return {str(file.relative_to(path)): run_file.content(str(file)) for file in inside}
    return run_file.content(value) if path.is_file() else value


class LocalExecutor(ProcessPoolExecutor):
    """Workers of this machine, each on one core."""

    def __init__(self, workers: int) -> None:
        self._others = set(multiprocessing.active_children())
        super().__init__(workers, fork_server.context(), _begin)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers, whatever they do, and wait until they are gone.

        Without waiting Python at its own end may wake up a pool just as it closes, which is an OSError and exit code 1.
        """
        for process in set(multiprocessing.active_children()) - self._others:
            process.terminate()
        super().shutdown(cancel_futures=cancel_futures)


class Sweep:
    """``workers`` runs go at once, each on one core; for use in a ``with``, at whose end they are gone.

    ``kept`` are the keys of outcomes that were there, ``made`` of those that were run, and ``changed`` of those that
    were missing, though other code had made an outcome of the same run.
    """

    def __init__(self, store: ResultStore, workers: int, progress: Progress = lambda done, of: None,
                 pool: Callable[[int], Executor] = LocalExecutor) -> None:  # fmt: skip
        self.store = store
        self.workers = workers
        self.progress = progress
        self._open = pool
        self._keys: dict[tuple[Any, ...], str] = {}
        self.kept: set[str] = set()
        self.made: set[str] = set()
        self.changed: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if "_pool" in vars(self):
            self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def said(self) -> str:
        """A sentence on what was there and what was run."""
        again = len(self.changed & self.made)
        anew = f", {again} of these anew because the code has changed" if again else ""
        return f"{len(self.kept)} outcomes kept, {len(self.made)} made{anew}"

    @cached_property
    def _pool(self) -> Executor:
        return self._open(self.workers)

    def key(self, job: Job) -> str:
        at = (job.labels, job.seed, repr(job.tuned), job.share, job.rounds, job.traffic)
        if at not in self._keys:
            self._keys[at] = key_of(job.run(), job.engine, job.measures, job.share)
        return self._keys[at]

    def outcome(self, job: Job) -> Outcome:
        """Of a job that has been run."""
        found = self.store.get(self.key(job))
        assert found is not None, job.called
        return found

    def complete(self, jobs: Iterable[Job]) -> None:
        """Run what is missing. Raises P2PError for a job that cannot be run; those before it are kept."""
        wanted = {self.key(job): job for job in jobs}
        missing = {key: job for key, job in wanted.items() if self.store.get(key) is None}
        self.kept |= wanted.keys() - missing.keys() - self.made
        self.changed |= {key for key in missing if self.store.by_other_code(key)}
        if not missing:
            return
        self.progress(0, len(missing))
        waiting = {
            self._pool.submit(
                _by_this_code, key, job.run(), job.engine, job.measures, self.store.folder, job.share
            ): job
            for key, job in missing.items()
        }
        while waiting:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                outcome = _result(future, waiting.pop(future))
                self.store.put(outcome)
                self.made.add(outcome.key)
                self.progress(len(missing) - len(waiting), len(missing))


def _by_this_code(
    key: str, run: RunFile, engine: str, measures: Sequence[str], folder: Path, share: float | None
) -> Outcome:
    """The outcome of a run by the code that its key tells of.

    Raises ConfigError where a worker has other code, before the run or after it: modules are read when they are first
    needed, and by processes that a run begins.
    """
    _refuse_other_code(key, run, engine, measures, share)
    outcome = one(run, key, engine, measures, folder, share)
    _refuse_other_code(key, run, engine, measures, share)
    return outcome


def _refuse_other_code(key: str, run: RunFile, engine: str, measures: Sequence[str], share: float | None) -> None:
    code_digest.look_again()
    if key_of(run, engine, measures, share).rpartition("-")[2] != key.rpartition("-")[2]:
        raise ConfigError(
            "the code here is not that of the command that began: it changed meanwhile, or this node has another "
            "version; start again with the same on all"
        )


def _result(future: "Future[Outcome]", job: Job) -> Outcome:
    try:
        return future.result()
    except BrokenProcessPool:
        raise P2PError(
            f"{job.experiment.path}: a process that ran {job.called} was killed, perhaps for want of memory: "
            "start again with fewer at once (--jobs, or CPUs of the cluster); what is done is kept"
        ) from None
    except P2PError as error:
        raise P2PError(job.wrong(error)) from None


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
    for process in launched:
        process.kill()
    os._exit(1)  # an exception would only end the job, and the worker would wait for the next
