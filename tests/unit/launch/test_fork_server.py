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


def test_whatever_limit_of_open_files_there_is_a_copy_can_be_made():
    """The limit may be more than an int holds, as where there is none."""
    patched = "import resource, runpy, sys; resource.getrlimit = lambda which: (2**63 - 1, 2**63 - 1); "
    patched += "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    ran = subprocess.run([sys.executable, "-c", patched, forked.__file__, "none"], capture_output=True, text=True)
    assert (ran.stdout.split(), ran.stderr) == (["True", "False", "1", "7"], "")
