"""A run file that cannot be is refused with file, line and key; one that can is kept as it was meant."""

import re
from pathlib import Path

import networkx as nx
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from parse_p2p.config import run_file
from parse_p2p.config.run_file import RunFile
from parse_p2p.core.errors import ConfigError

GOOD = """\
graph: {generator: ring}
agents:
  - {id: a0, modalities: [audio]}
  - {id: a1, modalities: [motion]}
train:
  lr: 0.1
"""


@pytest.fixture
def load(tmp_path):
    def load(text=GOOD, *put):
        path = tmp_path / "two.yaml"
        path.write_text(text, encoding="utf-8")
        return run_file.load(path, put)

    return load


def test_what_is_left_out_has_a_default_and_the_name_is_the_files(load):
    run = load()
    assert (run.name, run.train.lr, run.method, run.codec) == ("two", 0.1, "parse", "raw")
    assert [agent.id for agent in run.agents] == ["a0", "a1"]


BAD = {
    "unknown key": (GOOD + "rouns: 3\n", 7, "rouns", "did you mean 'rounds'"),
    "unknown key inside": (GOOD + "  momentun: 0\n", 7, "train.momentun", "did you mean 'momentum'"),
    "unknown key of an agent": (GOOD.replace("id: a1", "id: a1, modl: {}"), 4, "agents.1.modl", "did you mean 'model'"),
    "unknown key of the mix": ("graph: {generator: ring}\nagents:\n  mix: {audio: 2}\n  placment: x\n", 4,
                               "agents.placment", "did you mean 'placement'"),
    "wrong type": (GOOD + "rounds: many\n", 7, "rounds", "integer, unable to parse string as an integer, not 'many'"),
    "wrong type inside": (GOOD.replace("0.1", "[1]"), 6, "train.lr", "not [1]"),
    "out of range": (GOOD + "test: 1.5\n", 7, "test", "data; not 1.5"),
    "no mapping where one must be": (GOOD.replace("{generator: ring}", "ring"), 1, "graph", "not 'ring'"),
    "bad id": (GOOD.replace("a1", "'a 1'"), 4, "agents.1.id", "not 'a 1'"),
    "no modality": (GOOD.replace("[motion]", "[]"), 4, "agents.1.modalities", "at least 1 item"),
    "two graphs": (GOOD.replace("ring}", "ring, file: x}"), 1, "graph", "exactly one of generator, edges and file"),
    "no graph in graph": (GOOD.replace("{generator: ring}", "{}"), 1, "graph", "exactly one"),
    "lost too soon": (GOOD + "clocks: {heartbeat: 2, lost: 3}\n", 7, "clocks", "more than two heartbeats"),
    "no kind of discovery": (GOOD + "discovery: {kind: mqt}\n", 7, "discovery",
                             "there is no discovery 'mqt': did you mean 'mqtt'?"),
    "discovery of what kind": (GOOD + "discovery: {broker: mqtt://h}\n", 7, "discovery", "the key 'kind' is missing"),
    "unknown key of discovery": (GOOD + "discovery: {kind: mqtt, brokr: x}\n", 7, "discovery.brokr",
                                 "did you mean 'broker'"),
    "no broker": (GOOD + "discovery: {kind: mqtt}\n", 7, "discovery.broker", "this key is missing"),
    "what is no broker": (GOOD + "discovery: {kind: mqtt, broker: h}\n", 7, "discovery.broker", "mqtt://host:1883"),
    "no host": (GOOD + "discovery: {kind: mqtt, broker: mqtt://h, advertise: h i}\n", 7, "discovery.advertise",
                "not 'h i'"),
    "no contacts": (GOOD + "discovery: {kind: gossip, contacts: []}\n", 7, "discovery.contacts", "at least 1 item"),
    "a contact nowhere": (GOOD + "discovery: {kind: gossip, contacts: {a0: a0}}\n", 7, "discovery.contacts.a0",
                          "not 'a0'"),
    **{f"an address such as {address}": (
        GOOD.replace("[audio]}", f"[audio], address: '{address}'}}"), 3, "agents.0.address", "write tcp://host:port")
       for address in ("10.0.0.3:7000", "tcp://10.0.0.3", "tcp://fd00::1:7000", "tcp://h:0", "tcp://h:65535",
                       "tcp://h:70000", "ipc:///tmp/x", "tcp://a b:1", "tcp://h:7000/x")},
    "bound to a name": (GOOD + "bind: a0\n", 7, "bind", "give an IP address of the host"),
    "dialling and dialled": (GOOD.replace("[audio]}", "[audio], dial_only: true, address: 'tcp://h:1'}"), 3, "agents.0",
                             "dials and nobody dials it"),
    "contacts of no kind": (GOOD + "discovery: {kind: gossip, contacts: a0}\n", 7, "discovery.contacts", "not 'a0'"),
    "no option of train": (GOOD + "  schedule: line\n", 7, "train.schedule", "there is no schedule 'line'"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line", "key", "said"), BAD.values(), ids=BAD.keys())
def test_an_error_names_file_line_and_key(load, tmp_path, text, line, key, said):
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert str(caught.value).startswith(f"{tmp_path / 'two.yaml'}:{line}: {key}: ")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_key_is_named(load):
    with pytest.raises(ConfigError, match=r"two\.yaml: graph: this key is missing$"):
        load(GOOD.split("\n", 1)[1])


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [(GOOD + "train: {}\n", 7, "train"), (GOOD + "  lr: 0.2\n", 7, "train.lr"),
     (GOOD.replace("id: a1", "id: a1, id: a2"), 4, "agents.1.id")],
)  # fmt: skip
def test_a_key_that_stands_there_twice_is_refused(load, text, line, key):
    with pytest.raises(ConfigError, match=rf"two\.yaml:{line}: the key {re.escape(key)} stands here twice"):
        load(text)


@pytest.mark.parametrize(("text", "line"), [("graph: {generator: ring\nagents: [", 2), ("a: 1\n\tb: 2\n", 2)])
def test_what_is_no_yaml_is_refused_with_its_line(load, text, line):
    with pytest.raises(ConfigError, match=rf"two\.yaml:{line}: this is no YAML: "):
        load(text)


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n", "ring\n"])
def test_what_is_no_mapping_is_refused(load, text):
    with pytest.raises(ConfigError, match=r"two\.yaml is empty or no mapping: it needs at least 'graph'"):
        load(text)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml cannot be read: no such file"):
        run_file.load(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"cannot be read: is a directory"):
        run_file.load(tmp_path)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError, match=r"bytes\.yaml cannot be read: not UTF-8 text"):
        run_file.load(tmp_path / "bytes.yaml")


def test_a_setting_is_put_over_the_file(load):
    run = load(GOOD, ("train.lr", 0.5), ("agents.1.id", "b"), ("partition.kind", "dirichlet"), ("rounds", 3))
    assert (run.train.lr, run.agents[1].id, run.partition.kind, run.rounds) == (0.5, "b", "dirichlet", 3)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("train.lrr", 1, "--set train.lrr: there is no such key here; did you mean 'lr'"),
        ("rouns", 1, "--set rouns: there is no such key here; did you mean 'rounds'"),
        ("train.lr", "fast", "--set train.lr: "),
        ("train", 3, "--set train: "),
        ("train.lr.x", 3, "--set train.lr.x: 'lr' is a plain value"),
        ("agents.2.id", "x", "--set agents.2.id: '2' is no place in a list of 2"),
        ("agents.x.id", "x", "--set agents.x.id: 'x' is no place in a list of 2"),
    ],
)
def test_a_setting_that_cannot_be_is_named(load, key, value, said):
    with pytest.raises(ConfigError) as caught:
        load(GOOD, (key, value))
    assert str(caught.value).startswith(said)


def test_a_graph_file_lies_beside_the_run_file(load, tmp_path):
    nx.write_graphml(nx.Graph([("a0", "a1")]), tmp_path / "g.graphml")
    graph = load(GOOD.replace("generator: ring", "file: g.graphml")).graph
    assert graph.file == str(tmp_path / "g.graphml")
    assert graph.nodes == ["a0", "a1"] and graph.edges == [("a0", "a1")]


WITH_PATHS = """
graph: {generator: ring}
agents:
  - {id: a0, modalities: [audio], data: {path: "site/{id}.npz"}, test_data: {kind: npz, path: ~/test.npz}}
  - {id: a1, modalities: [audio], encoders: {audio: {weights: w.npz}}, model: {encoder: {weights: v.npz}}}
data_schema: {modalities: {audio: {kind: vector, shape: [3]}}, classes: [cat, dog]}
model: {encoder: {weights: u.npz}}
keyring: my-keys
discovery: {kind: shared-folder, folder: meet}
"""


def test_every_path_lies_beside_the_run_file(load, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.chdir("/")
    run = load(WITH_PATHS)
    a0, a1 = run.agents
    assert run.dataset == "own", "said by the schema and the data of agents"
    assert a0.data == {"path": str(tmp_path / "site/{id}.npz")}
    assert a0.test_data == {"kind": "npz", "path": "/home/me/test.npz"}
    assert a1.encoders["audio"]["weights"] == str(tmp_path / "w.npz")
    assert a1.model["encoder"]["weights"] == str(tmp_path / "v.npz")
    assert run.model.encoder.weights == str(tmp_path / "u.npz") and run.keyring == str(tmp_path / "my-keys")
    mix = {"mix": {"audio": 2}, "data": {"a1": {"path": "here.npz"}}}
    assert load(WITH_PATHS, ("agents", mix)).agents.data == {"a1": {"path": "/here.npz"}}, "said on the command line"
    text = WITH_PATHS.replace(WITH_PATHS[WITH_PATHS.index("agents") : WITH_PATHS.index("data_schema")], "")
    assert load(text + yaml.safe_dump({"agents": mix})).agents.data == {"a1": {"path": str(tmp_path / "here.npz")}}
    assert str(run.discovery.folder) == str(tmp_path / "meet")
    monkeypatch.chdir(tmp_path)
    assert load(run_file.dump(run)) == run, "of a run that was written down nothing moves"


def test_the_paths_of_a_shared_set_lie_there_too_and_those_of_a_command_line_here(load, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    public = {"dataset": "npz", "data": {"path": "p.npz"}}
    text = GOOD + yaml.safe_dump({"dataset": "npz", "data": {"path": "d.npz"}, "public": public})
    run = load(text)
    assert run.data["path"] == str(tmp_path / "d.npz") and run.public.data["path"] == str(tmp_path / "p.npz")
    for put in (("data.path", "q.npz"), ("data", {"path": "q.npz"})):
        assert load(text, put).data["path"] == str(tmp_path / "here/q.npz")
    assert load(text, ("public.data.path", "q.npz")).public.data["path"] == str(tmp_path / "here/q.npz")
    assert load(text, ("data.classes", 3)).data == {"path": str(tmp_path / "d.npz"), "classes": 3}


def test_an_option_that_is_no_path_stays_as_it_is(load):
    assert load(GOOD, ("dataset", "bits"), ("data.path", "x")).data["path"] == "x", "bits has no such option"


def test_a_data_set_that_is_named_is_taken_whatever_else_is_said(load):
    assert load(GOOD).dataset == "htad"
    schema = "data_schema: {modalities: {audio: {kind: vector, shape: [3]}}, classes: [cat, dog]}\n"
    assert load(GOOD + schema).dataset == "own" and load(GOOD + schema, ("dataset", "bits")).dataset == "bits"


def test_a_path_that_no_file_can_have_is_refused_where_it_stands(load):
    with pytest.raises(ConfigError, match=r"two\.yaml:7: keyring: 'a\\x00b' is no file name"):
        load(GOOD + 'keyring: "a\\0b"\n')


def test_of_weights_it_is_agreed_what_is_in_them_and_not_where_they_are(load, tmp_path):
    def digest(name, text):
        (tmp_path / name).write_text(text)
        return load(GOOD, ("model.encoder.weights", str(tmp_path / name))).digest()

    assert digest("u.npz", "same") == digest("v.npz", "same") != digest("w.npz", "other")
    own = load(GOOD, ("agents.0.encoders", {"audio": {"depth": 1, "weights": "x.npz"}}))
    assert own.digest() == load(GOOD, ("agents.0.encoders", {"audio": {"depth": 1, "weights": "y.npz"}})).digest()
    assert own.digest() != load(GOOD, ("agents.0.encoders", {"audio": {"depth": 2, "weights": "x.npz"}})).digest()


def test_weights_of_one_modality_lie_beside_the_file_and_are_agreed_likewise(load, tmp_path):
    text = WITH_PATHS.replace("{encoder: {weights: u.npz}}", "{encoders: {audio: {weights: u}}}")
    run = load(text.replace("{encoder: {weights: v.npz}}", "{encoders: {audio: {weights: v}}}"))
    assert run.model.encoders["audio"].weights == str(tmp_path / "u")
    assert run.agents[1].model["encoders"]["audio"]["weights"] == str(tmp_path / "v")
    assert load(run_file.dump(run)) == run, "and what is not given is not filled in"

    def digest(name, text):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_text(text)
        return load(GOOD, ("model.encoders", {"audio": {"weights": str(tmp_path / name)}})).digest()

    assert digest("a", "same") == digest("b", "same") != digest("c", "other")
    private = load(GOOD, ("agents.0.model", {"encoders": {"audio": {"weights": "x"}}})).digest()
    assert private == load(GOOD, ("agents.0.model", {"encoders": {"audio": {"weights": "y"}}})).digest()


SCHEMA = "data_schema: {modalities: {audio: {kind: vector, shape: [3]}}, classes: [cat, dog]}\n"


@pytest.mark.parametrize(
    ("put", "fingerprint", "schema"),
    [
        (("rounds", 9), True, True),
        (("seed", 1), False, True),
        (("public", {"share": 0.2}), False, True),
        (("data.samples", 80), False, False),
        (("dataset", "bits"), False, False),
    ],
)
def test_what_was_filled_in_of_other_data_is_forgotten(load, put, fingerprint, schema):
    run = load(GOOD + "dataset: htad\nfingerprint: abc\n" + SCHEMA, put)
    assert (run.fingerprint is not None, run.data_schema is not None) == (fingerprint, schema)


def test_a_schema_of_ones_own_stays_whatever_data_are_set(load):
    run = load(GOOD + "dataset: npz\n" + SCHEMA, ("data.path", "x.npz"), ("seed", 1))
    assert run.data_schema is not None


def test_there_is_a_weight_for_each_edge(load):
    edges = GOOD.replace("generator: ring", "edges: [[a0, a1]], edge_weights: [0.5, 0.5]")
    with pytest.raises(ConfigError, match=r"two\.yaml:\d+: graph\.edge_weights: there are 2 for 1 edges; give"):
        load(edges)
    with pytest.raises(ConfigError, match=r"there are 1 for 0 edges"):
        load(GOOD.replace("generator: ring", "generator: ring, edge_weights: [0.5]"))


def test_the_name_of_a_file_is_no_part_of_what_is_agreed_on(load):
    assert load(GOOD, ("name", "alice")).digest() == load(GOOD, ("name", "bob")).digest()
    assert load(GOOD).keys().differing(load(GOOD, ("seed", 1), ("train.lr", 0.3)).keys().said) == ["train", "seed"]


MQTT = {"kind": "mqtt", "broker": "mqtt://broker.lan"}
GOSSIP = {"kind": "gossip", "contacts": ["a0"]}
FULL = {
    "graph": {"edges": [["a0", "a1"]]},
    "agents": [
        {"id": "a0", "modalities": ["audio"], "encoders": {"audio": {"depth": 1}}, "address": "tcp://127.0.0.1:7000"},
        {"id": "a1", "modalities": ["audio", "motion"], "model": {"init": "own"}, "device": "cpu"},
    ],
    "options": {"nothing": None, "list": [1, None]},
    "base_port": 7000,
    "discovery": MQTT | {"bind": "::", "advertise": "host3"},
}


@pytest.mark.parametrize("raw", [yaml.safe_load(GOOD), FULL, FULL | {"discovery": GOSSIP}],
                         ids=["small", "full", "gossip"])  # fmt: skip
def test_a_dumped_run_is_loaded_as_an_equal_one(load, raw):
    run = RunFile.model_validate(raw | {"keyring": "/where/keys/are"})
    again = load(run_file.dump(run))
    assert again == run and again.digest() == run.digest()


def test_the_digest_says_who_may_talk_to_whom(load):
    plain = load()
    for put in (("device", "cuda:0"), ("checkpoint.every", 5), ("base_port", 7000), ("discovery", MQTT)):
        assert load(GOOD, put).digest() == plain.digest(), put
    for other in (("seed", 1), ("train.lr", 0.2), ("method", "harmony"), ("agents.0.modalities", ["motion"])):
        assert load(GOOD, other).digest() != plain.digest(), other
    assert load(GOOD + "method: parse\n").digest() == plain.digest()  # the default, written out


KEYS = [*RunFile.model_fields, "generator", "args", "edges", "file", "id", "modalities", "mix", "lr", "encoder", "a b",
        "kind", "broker"]  # fmt: skip
PLAIN = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates() | st.binary(max_size=3)
)
KEY = st.sampled_from(KEYS) | st.text(max_size=8) | st.integers() | st.booleans() | st.none() | st.dates()


def branches(inner):
    return st.lists(inner, max_size=4) | st.dictionaries(KEY, inner, max_size=4)


JUNK = st.recursive(PLAIN, branches, max_leaves=12)
RUNLIKE = st.fixed_dictionaries(
    {"graph": JUNK, "agents": JUNK}, optional=dict.fromkeys(set(KEYS) - {"graph", "agents"}, JUNK)
)
PUT = st.lists(st.tuples(st.lists(st.sampled_from(KEYS) | st.sampled_from("01"), min_size=1).map(".".join), JUNK))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("junk") / "junk.yaml"


def only_config_errors(place: Path, text: str, put=()):
    place.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        run = run_file.load(place, put)
    except ConfigError as error:
        assert str(error)
        return
    assert isinstance(run, RunFile)


@settings(max_examples=300, deadline=None)
@given(JUNK | RUNLIKE)
def test_junk_in_a_file_is_a_config_error(place, junk):
    only_config_errors(place, yaml.safe_dump(junk, allow_unicode=True))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_config_error(place, text):
    only_config_errors(place, text)


@settings(max_examples=200, deadline=None)
@given(PUT)
def test_junk_put_over_a_file_is_a_config_error(place, put):
    only_config_errors(place, GOOD, put)


ODD = {
    "itself inside itself": "a: &x [*x]",
    "a date that is none": "a: 2020-13-45",
    "a tagged whole number that is none": "a: !!int x",
    "a tagged truth that is none": "a: !!bool x",
    "a tagged time that is none": "a: !!timestamp x",
    "a list as a key": "? [a]\n: 1",
    "deeper than can be read": "[" * 3000,
    "a key named as a class": GOOD + "AgentEntry: 1",
    "a file name with a zero": GOOD.replace("generator: ring", 'file: "a\\0b"'),
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD.keys())
def test_odd_files_are_a_config_error(load, text):
    with pytest.raises(ConfigError):
        load(text)


@pytest.mark.parametrize("key", ["\u00b2", "agents.\u00b2.id"])
def test_a_digit_that_is_no_number_is_no_place(load, key):
    with pytest.raises(ConfigError, match="--set"):
        load(GOOD, (key, "x"))
