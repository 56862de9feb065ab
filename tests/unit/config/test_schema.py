"""The JSON schema says what the reader says, and the committed file is the newest."""

import json

import jsonschema
import pytest
import yaml
from paths import ROOT

from parse_p2p.config import run_file, shipped
from parse_p2p.config.schema import schema
from parse_p2p.core import plugins

SCHEMA = schema()
FILES = sorted((ROOT / "topologies").glob("*.yaml"))
GOOD = {"graph": {"generator": "ring"}, "agents": {"mix": {"audio": 3}}}


def accepts(**changes):
    return jsonschema.Draft202012Validator(SCHEMA).is_valid(GOOD | changes)


def test_it_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_file_that_editors_read_is_up_to_date():
    committed = json.loads((ROOT / "topologies" / shipped.SCHEMA).read_text(encoding="utf-8"))
    assert committed == SCHEMA, "run: parse-agent schema > topologies/run-file.schema.json"


def test_the_command_prints_it_and_nothing_else(agent):
    code, out, err = agent("schema")
    assert (code, err) == (0, "") and json.loads(out) == SCHEMA


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_shipped_file_is_valid_and_names_it(file):
    text = file.read_text(encoding="utf-8")
    jsonschema.validate(yaml.safe_load(text), SCHEMA)
    comment = text.splitlines()[0]
    assert comment.startswith("# yaml-language-server: $schema=")
    assert (file.parent / comment.partition("$schema=")[2]).is_file()


def test_a_file_with_everything_filled_in_is_valid(tmp_path):
    for file in FILES:
        jsonschema.validate(yaml.safe_load(run_file.dump(run_file.load(file))), SCHEMA)


@pytest.mark.parametrize(("name", "section"), [("run file", SCHEMA), *SCHEMA["$defs"].items()])
def test_every_key_is_described(name, section):
    assert [key for key, value in section.get("properties", {}).items() if not value.get("description")] == []
    assert not any("``" in value["description"] for value in section.get("properties", {}).values())


@pytest.mark.parametrize("kind", [plugins.METHODS, plugins.DATA], ids=lambda kind: kind.what)
def test_every_plugin_is_a_choice_and_a_module_of_ones_own_too(kind):
    key = {"method": "method", "data set": "dataset"}[kind.what]
    assert all(accepts(**{key: name}) for name in plugins.known(kind)) and accepts(**{key: "my.own"})
    assert not accepts(**{key: "parze"})


@pytest.mark.parametrize(
    "changes",
    [
        {"options": {"exchange": "push-sum"}},
        {"method": "fedcmi", "options": {"lambda2": 0.5}},
        {"method": "my.own", "options": {"anything": 1}},
        {"dataset": "bits", "data": {"samples": 30}},
        {"dataset": "my.own", "data": {"anything": 1}},
        {"agents": [{"id": "a0", "modalities": ["audio"], "model": {"encoder": {"width": 8}}}]},
        {"agents": [{"id": "a0", "modalities": ["audio"], "encoders": {"audio": {"width": 8}}}]},
        {"discovery": {"kind": "gossip", "contacts": ["a0"]}},
        {"discovery": {"kind": "gossip", "contacts": {"a0": "tcp://127.0.0.1:7400"}}},
        {"faults": [{"kind": "drop", "probability": 0.5}]},
        {"graph": {"generator": "petersen_graph"}},
        {"public": {"dataset": "mfeat"}},
        {"public": {"share": 0.2}},
    ],
)  # fmt: skip
def test_what_the_reader_takes_is_valid(changes, tmp_path):
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(GOOD | changes))
    run_file.load(tmp_path / "run.yaml")
    assert accepts(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"rouns": 3},
        {"rounds": 0},
        {"train": {"lrr": 1}},
        {"train": {"momentum": 1}},
        {"options": {"x": 1}},
        {"method": "fedcmi", "options": {"exchange": "push-sum"}},
        {"dataset": "bits", "data": {"sample": 3}},
        {"data": {"samples": 3}},
        {"agents": [{"id": "a0", "modalities": ["audio"], "encoders": {"audio": {"widht": 8}}}]},
        {"agents": [{"id": "a0", "modalities": ["audio"], "model": {"latnt": 8}}]},
        {"agents": [{"modalities": ["audio"]}]},
        {"agents": {"mix": {"audio": 3}, "placement": "sorted"}},
        {"discovery": {"kind": "gossip", "contacts": []}},
        {"faults": [{"kind": "dorp"}]},
        {"weights": "uniforme"},
        {"overlay": "per-slize"},
        {"codec": "bf61"},
        {"partition": {"kind": "idd"}},
        {"model": {"network": "fision"}},
        {"model": {"fusion": "mpl"}},
        {"public": {"dataset": "bitz"}},
    ],
)  # fmt: skip
def test_what_it_refuses_is_not(changes):
    assert not accepts(**changes)
