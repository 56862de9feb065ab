"""Agents on hosts of their own, by scripts/netns.py, where this machine lets one make network namespaces."""

import os
import shutil
import subprocess
import sys

import pytest
from paths import ROOT

SCRIPT = ROOT / "scripts" / "netns.py"
NAME = f"p2p-{os.getpid()}-try"


def hindrance():
    """Why no namespace can be made."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None:
        return "it takes Linux, root and the program ip (iproute2)"
    tried = subprocess.run(["ip", "netns", "add", NAME], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "del", NAME], capture_output=True)
    return tried.stderr.strip()


@pytest.mark.timeout(500)  # it ends itself before
def test_on_hosts_of_their_own_they_end_as_on_one_and_bear_what_befalls_them():
    if why := hindrance():
        pytest.skip(why)
    before = set(spaces())
    ended = subprocess.run([sys.executable, SCRIPT, "--agents", "5"], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "0 of them differ" in ended.stdout and "no messages refused" in ended.stdout, ended.stdout
    assert not [name for name in spaces() if name not in before and name.startswith(f"p2p-{os.getpid()}")]


def spaces():
    return subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout.split()
