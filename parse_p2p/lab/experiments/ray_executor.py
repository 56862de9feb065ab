"""Workers that are the cores of a Ray cluster, for the runs of an experiment."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch

from parse_p2p.core.errors import P2PError
from parse_p2p.launch.launchers.ray import connect


class RayExecutor(Executor):
    """Each call is a task with a core of its own, as many at once as the cluster has room for.

    A task whose node is lost is run again on another.
    """

    def __init__(self, workers: int) -> None:
        self._ray = connect("--engine ray")
        self._task = self._ray.remote(_attempt).options(num_cpus=1)
        self._going: list[Any] = []

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        reference = self._task.remote(call, arguments, named)
        self._going.append(reference)
        answer: Future[Any] = Future()
        reference.future().add_done_callback(lambda done: _pass_on(done, answer))
        return answer

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Whatever goes on is ended."""
        for reference in self._going:
            self._ray.cancel(reference, force=True)
        self._ray.shutdown()


def _attempt(call: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """On a node: what the call returns, or our error that it raises."""
    torch.set_num_threads(1)
    try:
        return call(*arguments, **named)
    except P2PError as error:
        return error


def _pass_on(done: Future[Any], answer: Future[Any]) -> None:
    """Errors as they were raised; what kept the call from being run, or its answer from coming, ended the worker."""
    if (error := done.exception()) is not None:
        answer.set_exception(getattr(error, "cause", None) or BrokenProcessPool(str(error)))
    elif isinstance(result := done.result(), P2PError):
        answer.set_exception(result)
    else:
        answer.set_result(result)
