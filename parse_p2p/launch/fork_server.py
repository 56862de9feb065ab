"""The fork server that agents' processes come from, which has torch loaded so that each of them need not."""

import multiprocessing
import os
import resource
import sys
import threading
from collections.abc import Sequence
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.context import ForkServerContext
from unittest import mock


def context(*modules: str) -> ForkServerContext:
    """Processes from the fork server; where it is not there yet it begins with these modules loaded."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["parse_p2p.launch.preload", *modules])
    return found


def begin() -> None:
    """Fork it from this process, as long as that has done no more than load modules.

    The standard library starts it in a new interpreter, which would load all that is loaded here, torch above all, once
    more. Of a process that has threads no copy may be made: then it is left to the standard library.
    """
    if threading.active_count() > 1:
        return
    resource_tracker.ensure_running()
    context()
    with mock.patch.object(util, "spawnv_passfds", _fork):
        forkserver.ensure_running()


def _fork(path: bytes, args: Sequence[str], descriptors: Sequence[int]) -> int:
    """``spawnv_passfds`` of the standard library by a copy of this process: run its last argument, a line of Python."""
    sys.stdout.flush()
    sys.stderr.flush()
    if process := os.fork():
        return process
    try:
        first = 3  # those of the terminal stay too
        for kept in sorted({*descriptors, resource.getrlimit(resource.RLIMIT_NOFILE)[0]}):
            if kept > first:
                os.closerange(first, kept)
            first = max(first, kept + 1)
        exec(args[-1])
    except Exception:
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
    finally:
        os._exit(0)
