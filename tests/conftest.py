"""What all tests have in common; its place also makes ``plans`` importable from every folder of tests."""

import signal
import sys
import threading

import pytest
import torch
from hypothesis import settings

from parse_p2p.cli.agent import main

settings.register_profile("untimed", deadline=None)  # nothing timed decides a test
settings.load_profile("untimed")

# ignored where a shell runs the tests in the background, and by all that they start: no test of Ctrl-C could pass
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """As an agent's process does: small tensors gain nothing from more."""
    torch.set_num_threads(1)


@pytest.fixture
def agent(monkeypatch, capsys):
    """``parse-agent`` in this process: exit code, stdout, stderr."""

    def agent(*arguments):
        monkeypatch.setattr(sys, "argv", ["parse-agent", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        code: str | int = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return agent
