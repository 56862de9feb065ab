"""What a process of the fork server finds, and a launcher that asks it."""

import multiprocessing
import os
import sys


def look(queue, descriptor):
    """Say what came from the launcher to the fork server; ``descriptor`` is one that it had opened before."""
    import torch

    copied, opened = "colorsys" in sys.modules, os.path.exists(f"/proc/{os.getppid()}/fd/{descriptor}")
    queue.put((copied, opened, torch.get_num_threads()))
    sys.exit(7)


def start(method):
    """Start a process in turn, and end as it ended."""
    process = multiprocessing.get_context(method).Process(target=sys.exit, args=(9,))
    process.start()
    process.join()
    sys.exit(process.exitcode)


def started(method):
    """Print how a process ended that was started by one of the fork server."""
    from parse_p2p.launch import fork_server

    fork_server.begin()
    process = fork_server.context().Process(target=start, args=(method,))
    process.start()
    process.join(60)
    process.kill()
    process.join()
    sys.stdout.write(str(process.exitcode))


def main(threads):
    """Load a module that nobody else does, begin, and print what a process finds."""
    import _thread
    import colorsys  # noqa: F401
    import threading

    from parse_p2p.launch import fork_server

    os.dup2(os.open(os.devnull, os.O_RDONLY), 40)
    if threads == "threads":
        runs = threading.Event()

        def wait() -> None:
            runs.set()
            threading.Event().wait()

        _thread.start_new_thread(wait, ())  # of which the module threading does not know
        runs.wait()
    fork_server.begin()
    context = fork_server.context()
    queue = context.SimpleQueue()
    process = context.Process(target=look, args=(queue, 40))
    process.start()
    found = queue.get()
    process.join()
    (sys.stdout or sys.stderr).write(" ".join(map(str, (*found, process.exitcode))))


if __name__ == "__main__":
    (started if sys.argv[1] in multiprocessing.get_all_start_methods() else main)(sys.argv[1])
