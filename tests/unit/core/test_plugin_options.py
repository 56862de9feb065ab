"""Options that name plug-ins, and the options that those bring."""

import json
import sys
from types import ModuleType

import pytest
from pydantic import TypeAdapter, ValidationError

from parse_p2p.config.run_file import RunFile
from parse_p2p.core import plugins
from parse_p2p.core.mixers.base import Mixer
from parse_p2p.core.plugin_options import fields
from parse_p2p.discovery.base import DiscoveryOptions
from parse_p2p.methods import parse
from parse_p2p.methods.gossip import GossipOptions
from parse_p2p.wire.faults.base import Fault

BESIDE = [*plugins.known(plugins.MIXERS), *plugins.known(plugins.EXCHANGES)]


def error(model, values):
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(model).validate_python(values)
    [found] = caught.value.errors()
    return ".".join(map(str, found["loc"])), found["msg"]


# in a section of their own


@pytest.mark.parametrize(
    ("base", "kind", "some"),
    [
        (Fault, plugins.FAULTS, {"kind": "stop", "agents": ["a0"], "seconds": 2}),
        (DiscoveryOptions, plugins.DISCOVERIES, {"kind": "gossip", "contacts": ["a0"]}),
    ],
)
def test_a_section_is_read_as_its_kind_says(base, kind, some):
    for name in plugins.known(kind):
        assert issubclass(plugins.load(kind, name), base) and plugins.load(kind, name) is not base
    read = TypeAdapter(base).validate_python
    one = read(some)
    assert type(one) is plugins.load(kind, some["kind"]) and read(one) == one


def test_what_is_wrong_in_a_section_is_said_of_its_key():
    assert error(Fault, {}) == ("", "the key 'kind' is missing")
    assert error(Fault, {"kind": "drop", "secs": 1})[0] == "secs"
    assert error(Fault, {"kind": "delay", "seconds": -1}) == ("seconds", "Input should be greater than 0")
    assert error(list[Fault], [{"kind": "delay"}]) == ("0.seconds", "Field required")
    assert "there is no fault '7'" in error(Fault, {"kind": 7})[1]
    assert error(Fault, 7)[0] == error(DiscoveryOptions, "static")[0] == ""


def test_a_run_file_keeps_all_keys_of_its_sections_by_kind():
    run = RunFile.model_validate({
        "graph": {"generator": "ring"}, "agents": {"mix": {"audio": 3}},
        "faults": [{"kind": "partition", "groups": [["a0"]], "rounds": [1, 2]}, {"kind": "drop"}],
        "discovery": {"kind": "shared-folder", "folder": "/x"},
    })  # fmt: skip
    kept = run.model_dump(mode="json")
    assert kept["faults"][0] == {"kind": "partition", "groups": [["a0"]], "rounds": [1, 2]}
    assert kept["faults"][1]["probability"] == 1 and kept["discovery"]["folder"] == "/x"
    assert RunFile.model_validate(json.loads(run.model_dump_json())) == run


def test_the_schema_of_a_run_file_knows_every_shipped_kind_with_its_keys():
    schema = RunFile.model_json_schema()
    offered = schema["$defs"][schema["properties"]["faults"]["items"]["$ref"].rpartition("/")[2]]["oneOf"]
    kinds = {each["properties"]["kind"]["const"]: each["properties"] for each in offered}
    assert sorted(kinds) == plugins.known(plugins.FAULTS)
    assert "probability" in kinds["drop"] and "restart" in kinds["kill"]
    text = json.dumps(schema)
    assert '"contacts"' in text and '"broker"' in text


# beside the name


def test_options_beside_have_their_defaults_wherever_they_are_not_given():
    read = GossipOptions.model_validate({"mixer": "clipped", "clip": 0.5, "byzantine": 2})
    assert read.mixing.model_dump() == {"clip": 0.5}
    assert read.model_dump()["byzantine"] == 2 and read.model_dump()["decay"] == 0.9
    assert GossipOptions.model_validate(read.model_dump()) == read
    assert GossipOptions().model_dump().keys() == fields(GossipOptions).keys()
    assert GossipOptions().mixing.model_dump() == {}
    push_sum = GossipOptions(exchange="push-sum").exchange_mode
    one = GossipOptions.model_validate({"exchange": "asynchronous", "decay": 1}).exchange_mode
    assert push_sum.model_dump()["patience"] == 0 and one.model_dump()["decay"] == 1


@pytest.mark.parametrize("model", [GossipOptions, parse.Options])
def test_what_is_wrong_beside_is_said_of_its_key(model):
    assert error(model, {"mixer": "weighted", "clip": 0})[0] == "clip"  # also where it is not chosen
    assert error(model, {"mixer": "clipped", "clip": 0})[0] == "clip"
    key, said = error(model, {"mixer": "krum", "byzantin": 1})
    assert key == "byzantin" and said.startswith("there is no such key here; did you mean 'byzantine'?")
    assert error(model, {"exchange": "telepathy"})[0] == "exchange"
    assert error(model, {"exchange": "acknowledged", "mixer": "krum"})[0] == "mixer"


def test_a_key_of_two_plugins_is_read_by_the_one_that_is_chosen(monkeypatch):
    class Odd(Mixer):
        clip: str = "softly"

    for name in ("odd", "odd.mixer"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(sys.modules["odd.mixer"], "MIXER", Odd, raising=False)
    plain = GossipOptions(mixer="odd.mixer")
    assert plain.mixing.model_dump()["clip"] == plain.model_dump()["clip"] == "softly"
    hard = GossipOptions.model_validate({"mixer": "odd.mixer", "clip": "hard"})
    assert hard.mixing.model_dump()["clip"] == "hard"
    assert error(GossipOptions, {"mixer": "odd.mixer", "clip": 2})[0] == "clip"


def test_fields_beside_are_listed_behind_the_name():
    listed = list(fields(GossipOptions))
    assert listed[listed.index("order") :] == [
        "order", "exchange", "patience", "decay", "mixer", "clip", "byzantine",
    ]  # fmt: skip
    assert all(field.description for field in fields(GossipOptions).values())


def test_every_option_beside_has_a_default():
    for kind in (plugins.MIXERS, plugins.EXCHANGES, plugins.OPTIMISERS, plugins.SCHEDULES):
        for name in plugins.known(kind):
            plugins.load(kind, name)()
