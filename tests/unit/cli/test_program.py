"""Options that both programs have, and how they answer at once."""

import subprocess
import sys
from importlib.metadata import version

import pytest

import parse_p2p
from parse_p2p.cli.agent import app as agent_app
from parse_p2p.cli.agent import main as agent_main
from parse_p2p.lab.cli import app as lab_app
from parse_p2p.lab.cli import main as lab_main

PROGRAMS = {"parse-agent": (agent_main, agent_app), "parse-lab": (lab_main, lab_app)}
COMMANDS = [(name, (command.name or command.callback.__name__,)) for name, (_, app) in PROGRAMS.items()
            for command in app.registered_commands]  # fmt: skip
COMMANDS += [("parse-agent", ("data", *command)) for command in ((), ("schema",), ("check",))]


@pytest.fixture
def program(monkeypatch, capsys):
    """Exit code, stdout and stderr of a program in this process."""

    def program(name, *arguments, columns=100):
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        monkeypatch.setenv("COLUMNS", str(columns))
        with pytest.raises(SystemExit) as ended:
            PROGRAMS[name][0]()
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    return program


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_version_is_that_of_the_package(name, program):
    assert program(name, "--version") == (0, f"{name} {parse_p2p.__version__}\n", "")
    assert parse_p2p.__version__ == version("parse-p2p")


@pytest.mark.parametrize(("name", "command"), [*((name, ()) for name in PROGRAMS), *COMMANDS])
def test_h_is_help(name, command, program):
    code, out, err = program(name, *command, "-h")
    assert (code, err) == (0, "") and "Usage:" in out
    assert (code, out, err) == program(name, *command, "--help")


@pytest.mark.parametrize("name", PROGRAMS)
def test_examples_are_a_line_each_at_80_columns(name, program):
    out = program(name, "--help", columns=80)[1]
    lines = [line.strip() for line in out.partition("Examples")[2].splitlines() if line.strip()]
    assert len(lines) > 8 and all(line.startswith(f"{name} ") for line in lines)


QUICK = [
    *([name, option] for name in PROGRAMS for option in ("--help", "--version")),
    *(["parse-agent", *arguments] for arguments in (["init", "--help"], ["init", "ring", "--out", "/dev/null"])),
    *(["parse-agent", "data", *command, "--help"] for command in ((), ("schema",), ("check",))),
    *([name, *command, "--help"] for name, command in (("parse-agent", ("check",)), ("parse-lab", ("topology",)))),
]


@pytest.mark.parametrize("arguments", QUICK, ids=" ".join)
def test_what_can_be_answered_at_once_does_not_import_torch(arguments):
    code = (
        "import sys, atexit; sys.argv = sys.argv[1:]\n"
        "if sys.argv[0] == 'parse-lab': from parse_p2p.lab.cli import main\n"
        "else: from parse_p2p.cli.agent import main\n"
        "atexit.register(lambda: print('torch' in sys.modules))\n"
        "main()"
    )
    ran = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert ran.stdout.splitlines()[-1] == "False", ran.stderr
