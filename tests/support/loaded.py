"""Commands as processes of their own that begin with everything loaded, for most of what a command costs is torch.

Such a process is forked from one that has imported the package, as each agent is from the fork server of its launcher.
"""

import importlib
import io
import multiprocessing
import os
import sys
import time
import warnings
from contextlib import suppress
from tempfile import TemporaryDirectory

from parse_p2p.core.errors import DataWarning

AGENT = "parse_p2p.cli.agent"
LAB = "parse_p2p.lab.cli"
PRELOAD = ["parse_p2p.launch.preload", AGENT, "parse_p2p.cli.run"]


class Command:
    """A program of ours with these arguments, leader of a process group; has what tests use of ``subprocess.Popen``.

    ``program`` is the module of its ``main``. It prints to files, or to the terminal of that path.
    """

    def __init__(
        self, arguments: list[str], environment: dict[str, str], program: str = AGENT, screen: str = ""
    ) -> None:
        self._folder = TemporaryDirectory(prefix="p2p-")
        self._printed = [screen or f"{self._folder.name}/{name}" for name in ("out", "err")]
        self._encoding = environment.get("PYTHONIOENCODING", "utf-8")
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOAD)
        work = (program, arguments, environment, os.getcwd(), self._printed, self._encoding)
        self._process = context.Process(target=_run, args=work)
        self._process.start()
        self.pid = self._process.pid or 0
        with suppress(ProcessLookupError):  # it has ended already
            while os.getpgid(self.pid) != self.pid:
                time.sleep(0.001)

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float | None = None) -> None:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutError(f"process {self.pid} goes on")

    def communicate(self, timeout: float | None = None) -> tuple[str, ...]:
        """What it printed to stdout and to stderr, once it has ended."""
        self.wait(timeout)
        texts = []
        for path in self._printed:
            with open(path, encoding=self._encoding) as file:
                texts.append(file.read())
        return tuple(texts)

    def close(self) -> None:
        self._process.close()
        self._folder.cleanup()


def _run(
    program: str, arguments: list[str], environment: dict[str, str], folder: str, printed: list[str], encoding: str
) -> None:
    """The body of such a process: first as a shell and the interpreter begin it, then the program."""
    os.chdir(folder)
    for descriptor, path in enumerate(printed, 1):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOCTTY)
        os.dup2(file, descriptor)
        os.close(file)
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), encoding, line_buffering=True)
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), encoding, "backslashreplace", line_buffering=True)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [program, *arguments]
    warnings.filterwarnings("default", category=DataWarning)  # the tests' own process takes warnings for errors
    os.setsid()  # which tells that all this is done
    importlib.import_module(program).main()
