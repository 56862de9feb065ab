"""What a shell is told when it asks what may come next."""

import pytest

from parse_p2p.cli import completion
from parse_p2p.cli.agent import main
from parse_p2p.core import plugins


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("mine.yaml", "other.yml", "notes.txt", ".hidden.yaml", "runs/run.yaml", "runs/log"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()


@pytest.fixture
def completed(monkeypatch, capsys):
    """What bash is offered for a line."""

    def completed(line):
        words = line.split(" ")
        monkeypatch.setenv("_PARSE_AGENT_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        monkeypatch.setattr("sys.argv", ["parse-agent"])
        with pytest.raises(SystemExit):
            main()
        return capsys.readouterr().out.split()

    return completed


def test_methods_data_sets_and_launchers_are_those_that_are_shipped():
    assert completion.methods("") == plugins.known(plugins.METHODS)
    assert completion.methods("dsgd-") == ["dsgd-full", "dsgd-hybrid", "dsgd-modality", "dsgd-task"]
    assert completion.datasets("") == plugins.known(plugins.DATA) and completion.datasets("b") == ["bits", "brca"]
    assert completion.launchers("") == ["local", "ray"]


def test_topologies_are_files_here_and_those_that_are_shipped(here):
    assert completion.topologies("r") == ["random-regular", "ring", "runs/"]
    assert completion.topologies("mi") == ["mine.yaml"]
    assert completion.beginnings("com") == ["complete"] and "compose-ring" in completion.topologies("com")


@pytest.mark.parametrize(
    ("begun", "files"),
    [
        ("", ["mine.yaml", "other.yml", "runs/"]),
        ("runs/", ["runs/run.yaml"]),
        ("runs/r", ["runs/run.yaml"]),
        (".h", [".hidden.yaml"]),
        ("none/", []),
    ],
)
def test_run_files_are_found_as_far_as_they_are_typed(here, begun, files):
    assert completion.run_files(begun) == files


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("parse-agent --method dsgd-", ["dsgd-full", "dsgd-hybrid", "dsgd-modality", "dsgd-task"]),
        ("parse-agent --dataset ht", ["htad"]),
        ("parse-agent --topology tor", ["torus"]),
        ("parse-agent --describe fedc", ["fedcmi"]),
        ("parse-agent --launcher r", ["ray"]),
        ("parse-agent --log-level d", ["debug"]),
        ("parse-agent init to", ["torus"]),
        ("parse-agent check compose-s", ["compose-star"]),
        ("parse-agent keys --topology mi", ["mine.yaml"]),
        ("parse-agent sch", ["schema"]),
        ("parse-agent export ru", ["runs/"]),
    ],
)
def test_a_shell_completes(here, completed, line, offered):
    assert completed(line) == offered
