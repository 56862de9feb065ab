"""Runs in processes of their own, on terminals and pipes of every kind: readable, and never a traceback.

One of each kind is started as a user does; the others begin loaded, which saves half their time.
"""

import os
import pty
import re
import subprocess
import sys

import loaded
import plans
import pytest
import running

PLAIN = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
WITHOUT = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "PYTHONIOENCODING")
LAB = [sys.executable, "-c", "from parse_p2p.lab.cli import main; main()"]
AGENT = [sys.executable, "-c", "from parse_p2p.cli.agent import main; main()"]


def environment(**changes):
    return {key: value for key, value in os.environ.items() if key not in WITHOUT} | changes


@pytest.fixture
def file(tmp_path):
    return running.write(plans.plan({"audio": 1, "motion": 1}, rounds=2), tmp_path)


@pytest.mark.parametrize("encoding", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}, PLAIN])
def test_a_pipe_that_is_not_utf_8(encoding, file, tmp_path):
    # latin-1 has ±, ASCII has not
    name, sign = ("latin-1", "±") if "latin-1" in encoding.values() else ("ascii", "+/-")
    arguments = ["--topology", str(file), "--out", str(tmp_path / "out"), "--no-alone"]
    code: int | None
    if encoding is PLAIN:  # from which the interpreter finds out by itself as it starts
        ran = subprocess.run([*AGENT, *arguments], capture_output=True, env=environment(**encoding))
        code, said, complaint = ran.returncode, ran.stdout.decode(name), ran.stderr.decode()
    else:
        process = loaded.Command(arguments, environment(**encoding))
        said, complaint = process.communicate()
        code = process.returncode
        process.close()
    assert (code, complaint) == (0, "")
    lines = said.splitlines()
    assert any(f"mean {sign} std" in line for line in lines)
    [head] = [line for line in lines if line.startswith("agents with")]
    assert head.split() == ["agents", "with", "agents", "parse", "worst", "agent", "ceiling"], "nothing is left out"


def test_the_laboratory_on_a_pipe_that_is_not_utf_8():
    command = [*LAB, "topology", "ring:8", "--set", "dataset=bits"]
    ran = subprocess.run(command, capture_output=True, env=environment(**PLAIN))
    assert (ran.returncode, ran.stderr) == (0, b"") and "rho" in ran.stdout.decode("ascii")


@pytest.mark.parametrize("changes", [{"TERM": "xterm"}, {"TERM": "xterm", "NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_a_terminal_of_forty_columns(changes, file, tmp_path):
    env = environment(COLUMNS="40", LINES="20", **changes)
    code, printed = on_a_terminal(file, tmp_path / "out", env, anew=changes == {"TERM": "xterm"})
    assert code == 0 and "Traceback" not in printed and "…" not in printed, printed
    assert ("\x1b[" in printed) == (changes["TERM"] != "dumb")
    assert "NO_COLOR" not in changes or not re.search(r"\x1b\[(\d+;)*3\d(;\d+)*m", printed), "a colour"
    assert "0 in all" not in printed and "run folder: " in printed


def on_a_terminal(file, out, env, anew):
    """Exit code and all that the screen is sent."""
    parent, child = pty.openpty()
    arguments = ["--topology", str(file), "--out", str(out), "--no-alone"]
    process: subprocess.Popen[bytes] | loaded.Command
    if anew:
        process = subprocess.Popen([*AGENT, *arguments], stdin=child, stdout=child, stderr=child, env=env)
    else:
        process = loaded.Command(arguments, env, screen=os.ttyname(child))
    os.close(child)
    printed = b"".join(iter(lambda: _read(parent), b""))
    os.close(parent)
    process.wait()
    code = process.returncode
    if isinstance(process, loaded.Command):
        process.close()
    return code, printed.decode()


def _read(descriptor):
    try:
        return os.read(descriptor, 4096)
    except OSError:  # its other end is closed
        return b""


def test_a_file_to_begin_with_runs_at_once_in_an_empty_folder(tmp_path, monkeypatch, agent):
    monkeypatch.chdir(tmp_path)
    assert agent("init", "torus")[0] == 0
    arguments = ["--topology", "torus.yaml", "--rounds", "1", "--quiet", "--no-alone", "--dataset", "bits"]
    process = loaded.Command(arguments, dict(os.environ))
    complaint = process.communicate()[1]
    assert process.returncode == 0, complaint
    process.close()
    assert (tmp_path / "runs" / "torus-parse-bits-s0" / "summary.json").exists()
