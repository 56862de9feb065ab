"""A run file to begin with: every line explained, the same run as the shipped file, and nothing written over."""

import re
import shutil

import jsonschema
import pytest
import yaml

from parse_p2p.cli.init import COLUMN, written
from parse_p2p.config import run_file, shipped
from parse_p2p.config.schema import schema


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", shipped.beginnings())
def test_it_is_the_shipped_run_with_every_line_explained(name, here, agent):
    code, out, err = agent("init", name)
    assert (code, err) == (0, "") and out == f"wrote {name}.yaml. To run it:\n  parse-agent --topology {name}.yaml\n"
    lines = (here / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"# yaml-language-server: $schema={shipped.folder() / shipped.SCHEMA}"
    assert [line for line in lines if line and not re.search(r"(^|  )# .*\w", line)] == []
    mine, theirs = (run_file.load(path) for path in (here / f"{name}.yaml", shipped.folder() / f"{name}.yaml"))
    assert mine.model_copy(update={"keyring": theirs.keyring}) == theirs


def test_its_keys_are_those_that_a_person_changes_first(here, agent):
    agent("init")
    keys = yaml.safe_load((here / "ring.yaml").read_text())
    assert list(keys) == ["graph", "agents", "method", "dataset", "partition", "rounds", "train", "seed"]
    assert keys["train"] == {"lr": 0.05, "batch": 32, "epochs": 1}


def test_what_an_item_of_a_list_is_stands_behind_it(here):
    lines = written("faults", here / "x.yaml").splitlines()
    assert any(
        re.fullmatch(r"  - \{kind: duplicate, probability: 0.05\} +# The message comes once more\.", x) for x in lines
    )
    lines = written("changing", here / "x.yaml").splitlines()
    assert any(re.search(r"gain: \[motion\]\} +# modalities that the agent gets$", line) for line in lines)


def test_a_section_of_the_shipped_file_is_kept_as_it_is(here, monkeypatch):
    shutil.copytree(shipped.folder(), here / "topologies")
    monkeypatch.setattr(shipped, "folder", lambda: here / "topologies")
    with (here / "topologies" / "ring.yaml").open("a") as file:
        file.write("train: {lr: 0.1, schedule: cosine}\npartition: {kind: iid}\n")
    keys = yaml.safe_load(written("ring", here / "x.yaml"))
    assert (keys["train"], keys["partition"]) == ({"lr": 0.1, "schedule": "cosine"}, {"kind": "iid"})


@pytest.mark.parametrize("name", ["ring", "changing"])
def test_comments_stand_below_each_other_and_near(name, here):
    lines = written(name, here / "x.yaml").partition("\n\n")[2].splitlines()
    keys, columns = zip(*((line[: line.index("  #")].rstrip(), line.index("  #")) for line in lines), strict=True)
    column = min(max(map(len, keys)), COLUMN)
    assert [at for key, at in zip(keys, columns, strict=True) if at != max(column, len(key))] == []


@pytest.mark.parametrize("name", shipped.beginnings())
def test_it_is_what_the_schema_says(name, here):
    jsonschema.validate(yaml.safe_load(written(name, here / "x.yaml")), schema())


def test_a_file_is_not_written_over(here, agent):
    (here / "ring.yaml").write_text("mine")
    code, out, err = agent("init", "ring")
    assert (code, out) == (2, "") and "ring.yaml is there already: name another file with --out" in err
    assert (here / "ring.yaml").read_text() == "mine"
    assert agent("init", "ring", "--out", "other.yaml")[0] == 0
    assert run_file.load(here / "other.yaml").name == "other"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rnig"], "there is no topology 'rnig' to begin with: did you mean 'ring'?"),
        (["compose-ring"], "there is no topology 'compose-ring' to begin with"),
        (["ring", "--out", "no/ring.yaml"], "no/ring.yaml cannot be written: no such file or directory"),
    ],
)
def test_what_cannot_be_is_one_sentence(arguments, said, here, agent):
    code, out, err = agent("init", *arguments)
    assert (code, out) == (2, "") and said in err and err.count("\n") == 1
    assert list(here.iterdir()) == []


def test_a_schema_below_the_file_is_named_by_its_relative_path(here, monkeypatch):
    installed = here / "env" / "parse_p2p" / "topologies"
    shutil.copytree(shipped.folder(), installed)
    monkeypatch.setattr(shipped, "folder", lambda: installed)
    first = written("ring", here / "ring.yaml").splitlines()[0]
    assert first == "# yaml-language-server: $schema=env/parse_p2p/topologies/run-file.schema.json"
