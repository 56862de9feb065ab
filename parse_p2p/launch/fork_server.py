"""The fork server that agents' processes come from, which has torch loaded so that each of them need not."""

import contextlib
import multiprocessing
import os
import sys
import threading
from collections.abc import Sequence
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.context import ForkServerContext
from typing import Any

_spawn = util.spawnv_passfds


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
    if len(sys._current_frames()) > 1:  # the module threading knows only of those that it has started
        return
    resource_tracker.ensure_running()
    context()
    util.spawnv_passfds = _fork
    try:
        forkserver.ensure_running()
    finally:
        util.spawnv_passfds = _spawn


def _fork(path: bytes, args: Sequence[Any], passfds: Sequence[int]) -> int:
    """``spawnv_passfds`` of the standard library by a copy of this process: run its last argument, a line of Python."""
    util._flush_std_streams()  # type: ignore[attr-defined]
    if process := os.fork():
        return process
    try:
        _forget()
        _close_all_but(passfds)
        exec(args[-1])
    except Exception:
        sys.excepthook(*sys.exc_info())
        util._flush_std_streams()  # type: ignore[attr-defined]
    finally:
        os._exit(0)


def _forget() -> None:
    """Leave the modules as a new interpreter has them, or no process that comes of this one could start its own."""
    util.spawnv_passfds = _spawn
    forkserver._forkserver._lock = threading.Lock()  # type: ignore[attr-defined] # the launcher held the one copied
    tracker = resource_tracker._resource_tracker
    tracker._fd = tracker._pid = None  # type: ignore[attr-defined] # its descriptor will be closed


def _close_all_but(descriptors: Sequence[int]) -> None:
    """Close what the launcher has open, but for the terminal's."""
    for descriptor in map(int, os.listdir("/dev/fd")):  # the limit may be far above, or none
        if descriptor > 2 and descriptor not in descriptors:
            with contextlib.suppress(OSError):  # the one by which they were listed
                os.close(descriptor)
