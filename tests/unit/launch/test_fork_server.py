"""Where the processes of agents come from."""

import subprocess
import sys

import forked
import pytest


@pytest.mark.parametrize(("threads", "copied"), [("none", True), ("threads", False)])
def test_processes_come_from_a_copy_of_the_launcher_unless_it_has_threads(threads, copied):
    """A copy has its modules, none of its open files, and one thread for torch; it ends with its last client."""
    # the fork server holds what it writes to open: this waits for its end too
    ran = subprocess.run([sys.executable, forked.__file__, threads], capture_output=True, text=True)
    assert (ran.stdout.split(), ran.stderr) == ([str(copied), "False", "1", "7"], "")


@pytest.mark.parametrize("closed", ["<&-", ">&-"])
def test_a_launcher_without_input_or_output_may_be_copied_too(closed):
    ran = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, forked.__file__, "none"],
                         capture_output=True, text=True)  # fmt: skip
    assert (ran.stdout + ran.stderr).split() == ["True", "False", "1", "7"]


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_processes_of_the_fork_server_may_start_their_own(method):
    ran = subprocess.run([sys.executable, forked.__file__, method], capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("9", "")
