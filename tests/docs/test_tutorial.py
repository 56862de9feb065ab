"""The tutorial can be followed: its commands are run as they stand there, and print what it shows."""

import contextlib
import itertools
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from typing import Any

import loaded
import ports
import pytest
import running
import typer
import yaml
from paths import ROOT

from parse_p2p.cli.agent import app as agent_app
from parse_p2p.config import run_file
from parse_p2p.lab.cli import app as lab_app

DOCS = ROOT / "docs"
FIRST_RUN, FIRST_EXPERIMENT, FIRST_STUDY = (
    DOCS / "tutorial" / f"first-{name}.md" for name in ("run", "experiment", "study")
)
APPS = {"parse-agent": agent_app, "parse-lab": lab_app}
PROGRAMS = {"parse-agent": loaded.AGENT, "parse-lab": loaded.LAB}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
ROW = re.compile(r"^ *(\S+)  +(?:\d|all)", re.MULTILINE)


def blocks(page):
    """The language and the text of every block of a page."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def commands(page):
    """The lines of a page that begin with one of our programs, without comments."""
    return [
        line
        for language, text in blocks(page)
        for line in text.splitlines()
        if not language and line.partition(" ")[0] in APPS
    ]


def shown(page, command):
    """What the page shows to come of a command: the block after that which ends with it."""
    found = blocks(page)
    [output] = [after for (_, text), (_, after) in itertools.pairwise(found) if text.endswith(f"{command}\n")]
    return output


def figures(text):
    """A text with every number, and the room it takes, alike."""
    return re.sub(r" +", " ", re.sub(r"\d[\d.]*", "#", text))


def begun(line, folder):
    """The process of a command line."""
    name, *arguments = shlex.split(line, comments=True)
    with contextlib.chdir(folder):
        return loaded.Command(arguments, dict(os.environ), PROGRAMS[name])


def program(line, folder):
    """Standard output and standard error of a command line."""
    process = begun(line, folder)
    said = "".join(process.communicate(timeout=170))
    process.close()
    return said


def every_command(command):
    """A command and those below it."""
    yield command
    for inner in getattr(command, "commands", {}).values():
        yield from every_command(inner)


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda page: page.stem)
def test_every_command_and_option_of_a_page_is_one_that_there_is(page, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    for line in commands(page):
        name, *arguments = shlex.split(line.partition(" | ")[0], comments=True)
        parsed: Any = typer.main.get_command(APPS[name])
        for command in every_command(parsed):
            command.callback = None  # it is read, not run
        parsed.main(arguments, prog_name=name, standalone_mode=False)


def test_the_tutorial_shows_the_commands_one_begins_with():
    begun = {tuple(line.split()[:2]) for line in commands(FIRST_RUN)}
    assert {("parse-agent", name) for name in ("--topology", "init", "check", "summary")} <= begun


def test_a_run_file_is_written_checked_and_explained_as_the_page_shows(tmp_path):
    program("parse-agent init ring", tmp_path)
    file = tmp_path / "ring.yaml"
    text = file.read_text(encoding="utf-8")
    assert text.partition("\n\n")[2] == shown(FIRST_RUN, "parse-agent init ring")
    file.write_text(text.replace("method: parse ", "method: prase ").replace("rounds: 20", "rounds: 0"))
    assert program("parse-agent check ring.yaml", tmp_path) == shown(FIRST_RUN, "parse-agent check ring.yaml")
    file.write_text(text)
    said = program("parse-agent check ring.yaml", tmp_path)
    assert f"```text\n{said}```" in FIRST_RUN.read_text(encoding="utf-8")
    command = "parse-agent check ring.yaml --set partition.kind=dirichlet"
    assert program(command, tmp_path) == shown(FIRST_EXPERIMENT, command)


def test_a_shipped_topology_runs_and_is_summarised_as_the_page_shows(tmp_path):
    """But for the figures, which are those of 20 rounds there and of two here."""
    [command] = {line for line in commands(FIRST_RUN) if line == "parse-agent --topology ring"}
    said = program(f"{command} --rounds 2", tmp_path)
    lines, table = (
        text for language, text in blocks(FIRST_RUN) if language == "text" and "worst" in text.split("\n")[0]
    )
    [form] = set(figures(lines).splitlines())
    assert figures(said).splitlines().count(form) == 2
    assert table.splitlines()[0] in said and set(ROW.findall(table)) <= set(ROW.findall(said))
    summary = "parse-agent summary runs/ring-parse-htad-s0 --json"
    found = json.loads(program(summary, tmp_path))
    begun = shown(FIRST_RUN, f"{summary} | head -16").splitlines()
    assert figures("\n".join(begun)) == figures("\n".join(json.dumps(found, indent=1).splitlines()[:16]))
    assert {path.name for path in (tmp_path / "runs" / "ring-parse-htad-s0").iterdir()} == {
        "run.yaml", "summary.json", "agents",
    }  # fmt: skip


def test_the_experiment_compares_what_the_page_shows(tmp_path):
    program("parse-agent init ring", tmp_path)
    file = next(text for language, text in blocks(FIRST_EXPERIMENT) if language == "yaml")
    (tmp_path / "first.yaml").write_text(file, encoding="utf-8")
    command = "parse-lab compare first.yaml --seeds 1"
    said = program(command, tmp_path).partition("written:")[0]
    progress = re.compile(r"^first: \d of 3 runs, .*\n", re.MULTILINE)  # on a terminal it is a bar
    assert len(progress.findall(said)) == 3
    table = progress.sub("", said)
    assert figures(table).split() == figures(shown(FIRST_EXPERIMENT, command)).split()


class Site:
    """A host as far as files go: a folder in which the lines of the page are run, with ports that are free."""

    def __init__(self, folder, port):
        self.folder = folder
        self._ports = {"7400": port, "7402": port + 2, "8000": port + 4}
        folder.mkdir()

    def here(self, text):
        return re.sub("|".join(self._ports), lambda found: str(self._ports[found[0]]), text)

    def begun(self, line):
        return begun(self.here(line), self.folder)

    def run(self, line, code=0):
        """What a line prints that ends with this exit code."""
        process = self.begun(line)
        said = "".join(process.communicate(timeout=170))
        assert process.returncode == code, said
        process.close()
        return said

    def python(self, text):
        done = subprocess.run([sys.executable, "-c", text], cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def test_two_sites_come_from_their_tables_to_a_served_model_by_the_lines_of_the_page(tmp_path):
    pytest.importorskip("pyarrow")
    port = ports.free(5)
    north, south = Site(tmp_path / "north", port), Site(tmp_path / "south", port)
    of = {kind: [text for language, text in blocks(FIRST_STUDY) if language == kind] for kind in ("python", "text")}
    [file] = [text for language, text in blocks(FIRST_STUDY) if language == "yaml"]
    lines = iter(commands(FIRST_STUDY))

    north.python(of["python"][0])
    for table in ("south.csv", "later.csv"):
        shutil.move(north.folder / table, south.folder)
    look = next(lines)
    assert north.run(look) == of["text"][0]
    schema = north.run(look.replace("data check", "data schema"))
    for site in (north, south):
        (site.folder / "study.yaml").write_text(site.here(file))
    agreed = run_file.load(north.folder / "study.yaml").data_schema
    assert agreed is not None and yaml.safe_load(schema)["data_schema"] == agreed.model_dump(mode="json")
    said = north.run(next(lines)) + north.run(next(lines)).replace(f"{north.folder}/", "")
    assert said == of["text"][1]
    (south.folder / "keys").mkdir()
    for key in ("north.pub", "south.pub", "south.key"):
        shutil.copy2(north.folder / "keys" / key, south.folder / "keys")
    (north.folder / "keys" / "south.key").unlink()

    processes = [north.begun(next(lines)), south.begun(next(lines))]
    for process in processes:
        assert running.ended(process)[0] == 0
        running.end(process)
    assert figures(south.run(next(lines), code=1)).strip() == figures(of["text"][2]).strip()  # one host's logs alone
    south.run(next(lines))
    for shows in of["text"][3].split("\n\n"):
        assert figures(south.run(next(lines))).startswith(figures(shows))
    south.run(next(lines))

    process = south.begun(next(lines))
    assert next(lines, None) is None
    try:
        running.until(lambda: answers(port + 4))
        south.python(of["python"][1])
        [line] = [text for _, text in blocks(FIRST_STUDY) if text.startswith("curl")]
        answer = subprocess.run(shlex.split(south.here(line)), cwd=south.folder, capture_output=True, text=True)
    finally:
        running.end(process)
    [shows] = [text for language, text in blocks(FIRST_STUDY) if language == "json"]
    assert shows.strip() in answer.stdout, answer.stdout
    assert json.loads(answer.stdout).keys() == {"probabilities", "labels", "classes", "round"}
