"""In place of workers of a sweep."""

from concurrent.futures import Executor, Future
from typing import Any


class Here(Executor):
    """Runs at once, in this process."""

    def __init__(self, workers):
        pass

    def submit(self, call, /, *arguments, **named):
        answer: Future[Any] = Future()
        try:
            answer.set_result(call(*arguments, **named))
        except Exception as error:
            answer.set_exception(error)
        return answer

    def shutdown(self, wait=True, *, cancel_futures=False):
        pass
