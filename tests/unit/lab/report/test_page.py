"""The page is one file that fetches nothing, and what stands in files stays text."""

import json
import os
import re
import shutil
import sys
from html.parser import HTMLParser

import pytest
import running
from typer.testing import CliRunner

from parse_p2p.cli import program
from parse_p2p.core.errors import ConfigError
from parse_p2p.lab.cli import app
from parse_p2p.lab.report.page import embedded, page
from parse_p2p.lab.report.run_data import RunData
from parse_p2p.launch.run_folder import RunFolder

HOSTILE = "</script><script>hacked=1</script><img src=x onerror=hacked=1><!--<script>\u2028]]>&quot;{{plotly}}"


class Reader(HTMLParser):
    """Tags with their attributes, and the text inside scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] == "script":
            self.scripts[-1] += data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    plan = running.plan(rounds=2)
    running.over_memory(plan, path)
    RunFolder(path).write(plan.run)
    with RunFolder(path).events("a0").open("a") as file:
        file.write(json.dumps({"event": "failed", "agent": HOSTILE, "why": HOSTILE, "time": 1}) + "\n")
    (path / "pid.json").write_text(json.dumps({HOSTILE: [{HOSTILE: HOSTILE}]}))
    return path


def recorded(path):
    found = RunData(path)
    found.read()
    return found.plain()


def test_nothing_on_the_page_is_fetched(folder):
    read = Reader(page([recorded(folder)]))
    for tag, attributes in read.tags:
        for key in ("src", "href", "action", "data", "poster", "srcset"):
            assert attributes.get(key, "data:").startswith("data:"), f"{tag} fetches {attributes[key]}"
    policy = next(a["content"] for tag, a in read.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and "connect-src 'none'" in policy


def test_hostile_text_stays_inside_the_data(folder):
    run = recorded(folder)
    read = Reader(page([run]))
    data, *scripts = read.scripts
    assert json.loads(data) == json.loads(json.dumps([run])) and HOSTILE[:300] in data.encode().decode("unicode_escape")
    assert len(scripts) == 2 and not any("hacked" in script for script in scripts)
    assert [tag for tag, _ in read.tags].count("img") == 0


def test_a_hostile_name_of_a_folder_stays_text(folder):
    read = Reader(page([recorded(folder) | {"name": HOSTILE}]))
    assert len(read.scripts) == 3 and [tag for tag, _ in read.tags].count("img") == 0


def test_data_end_no_script():
    assert not re.search("[<\u2028\u2029]", embedded([HOSTILE]))
    assert json.loads(embedded([HOSTILE])) == [HOSTILE]


def test_half_a_surrogate_pair_is_no_hindrance(folder, tmp_path):
    there = shutil.copytree(folder, tmp_path / os.fsdecode(b"r\xff"))
    with RunFolder(there).events("a1").open("a") as file:
        file.write('{"event": "failed", "why": "\\ud800", "time": 2}\n')
    written = page([recorded(there)]).encode().decode()
    run = json.loads(Reader(written).scripts[0])[0]
    assert "failed: \ud800" in [event["note"] for event in run["events"]] and "<title>r?</title>" in written


def test_brackets_in_a_path_are_no_markup(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["report", str(folder), "--out", "[red]a:bug:[b].html"])
    assert result.exit_code == 0 and "wrote [red]a:bug:[b].html\n" in result.output


def test_the_command_says_where_the_page_is(folder, tmp_path):
    result = CliRunner().invoke(app, ["report", str(folder)])
    assert result.exit_code == 0 and f"wrote {folder / 'report.html'}" in result.output.replace("\n", "")
    out = tmp_path / "two.html"
    assert CliRunner().invoke(app, ["report", str(folder), str(folder), "--out", str(out)]).exit_code == 0
    assert len(json.loads(Reader(out.read_text()).scripts[0])) == 2


def test_the_command_writes_what_the_page_is_drawn_from(folder, tmp_path):
    out, data = tmp_path / "page.html", tmp_path / "page.json"
    command = ["report", str(folder), "--out", str(out), "--data", str(data)]
    assert CliRunner().invoke(app, command).exit_code == 0
    [run] = json.loads(data.read_text())
    assert [run] == json.loads(Reader(out.read_text()).scripts[0])
    assert len(run["pictures"]["panels"]) == 7 and run["conflict"]
    with pytest.raises(ConfigError, match="name another file with --data"):
        CliRunner().invoke(app, [*command[:-1], str(tmp_path)], catch_exceptions=False)


@pytest.mark.parametrize("arguments", [["report", "{}"], ["watch", "{}"], ["watch", "{}", "--broker", "http://x"]])
def test_what_cannot_be_is_one_sentence(arguments, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["parse-lab", *(part.format(tmp_path) for part in arguments)])
    with pytest.raises(SystemExit) as ended:
        program.run(app, "parse-lab")
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.startswith("error: ") and said.count("\n") == 1


def test_without_plotly_it_says_what_to_install(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    monkeypatch.setattr(sys, "argv", ["parse-lab", "report", str(folder)])
    with pytest.raises(SystemExit) as ended:
        program.run(app, "parse-lab")
    assert ended.value.code == 2 and "pip install 'parse-p2p[lab]'" in capsys.readouterr().err
