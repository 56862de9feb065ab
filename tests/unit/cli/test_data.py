"""``parse-agent data``: the schema that is printed can be read back, and what is in data is printed in full."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from parse_p2p.cli.agent import main
from parse_p2p.config import run_file
from parse_p2p.core import plugins
from parse_p2p.data.schema import schema_of

RUN = {
    "graph": {"edges": [["a1", "a2"]]},
    "agents": [
        {"id": "a1", "modalities": ["audio"], "data": {"path": "one.npz"}},
        {"id": "a2", "modalities": ["motion"], "data": {"path": "two.npz"}},
    ],
    "data": {"kind": "npz"},
}


def arrays(rows=60, seed=0, classes=2, **others):
    rng = np.random.default_rng(seed)
    inputs = {"audio": rng.normal(size=(rows, 4)), "motion": rng.normal(size=(rows, 3, 8))}
    return inputs | {"y": np.arange(rows) % classes} | others


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Two sources and a run file of two agents that have them, in the working directory."""
    monkeypatch.chdir(tmp_path)
    np.savez("one.npz", **arrays())
    np.savez("two.npz", **arrays(seed=1, classes=12))
    write()
    return tmp_path


def write(**changes):
    Path("study.yaml").write_text(yaml.safe_dump(RUN | changes))


@pytest.fixture
def refused(agent):
    """The sentence with which it is refused."""

    def refused(*arguments):
        code, out, err = agent("data", *arguments)
        assert (code, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1
        return err.removeprefix("error: ").rstrip("\n")

    return refused


@pytest.fixture
def printed(agent):
    def printed(*arguments):
        code, out, err = agent("data", *arguments)
        assert (code, err) == (0, "")
        return out

    return printed


MODALITIES = """  modalities:
    audio:
      kind: vector
      shape: [4]
      scale: own
    motion:
      kind: series
      shape: [3, 8]
      scale: own
"""


# schema


def test_the_schema_of_a_source_is_yaml_for_a_run_file(here, printed):
    out = printed("schema", "one.npz")
    assert out == f"# of one.npz (60 rows)\ndata_schema:\n{MODALITIES}  classes: ['0', '1']\n"


def test_what_is_printed_is_read_back_equal(here, printed):
    out = printed("schema", "two.npz", "--kind", "npz")
    write()
    with Path("study.yaml").open("a", encoding="utf-8") as file:
        file.write(out)
    read = run_file.load(Path("study.yaml"))
    npz = plugins.module(plugins.DATA, "npz")
    assert read.data_schema == schema_of(npz.open(npz.Options(path="two.npz"), 0), "own")
    assert read.dataset == run_file.OWN


@pytest.fixture
def made(here, monkeypatch):
    """The arguments that name a source without a path, which has these labels, rows and axes."""
    (here / "datacli").mkdir()
    (here / "datacli" / "made.py").write_text(
        "import torch\nfrom pydantic import BaseModel\nfrom parse_p2p.data import Dataset\n\n\n"
        "class Options(BaseModel, extra='forbid'):\n    labels: tuple[str, ...] = ('a', 'b')\n"
        "    rows: int = 60\n    axes: int = 1\n\n\n"
        "def open(options, seed):\n    y = torch.arange(options.rows) % len(options.labels)\n"
        "    x = torch.rand(options.rows, *[8] * options.axes, generator=torch.Generator().manual_seed(seed))\n"
        "    return Dataset('made', {'on': x}, y, len(options.labels), labels=options.labels)\n"
    )
    monkeypatch.syspath_prepend(here)

    def made(**options):
        given = (f"--set={key}={json.dumps(value)}" for key, value in options.items())
        return ["--kind", "datacli.made", *given]

    return made


def test_a_source_without_a_path_is_called_by_its_own_name(made, printed):
    assert printed("schema", *made()).startswith("# of made (60 rows)\n")
    assert printed("check", *made(rows=1)).startswith("made: 1 row\n")


LABELS = ["no", "1", "1e3", "null", "a: b", "# c", "ä", "2020-01-01", "it's", "~", " x ", "long " * 40]


def test_labels_that_yaml_takes_for_something_else_are_read_back_in_their_order(made, printed):
    out = printed("schema", *made(labels=LABELS))
    assert yaml.safe_load(out)["data_schema"]["classes"] == LABELS and "ä" in out


def test_several_sources_have_the_modalities_and_classes_of_all(here, printed):
    np.savez("three.npz", y=np.arange(40) % 11, camera=np.random.default_rng(0).normal(size=(40, 1, 2, 2)))
    out = printed("schema", "three.npz", "two.npz", "one.npz")
    assert out.splitlines()[0] == "# of three.npz (40 rows), two.npz (60 rows), one.npz (60 rows)"
    found = yaml.safe_load(out)["data_schema"]
    assert found["classes"] == [str(k) for k in range(12)], "by number, and not by text"
    assert list(found["modalities"]) == ["audio", "camera", "motion"]
    assert found["modalities"]["camera"] == {"kind": "image", "shape": [1, 2, 2], "scale": "own"}


def test_classes_of_text_stand_in_its_order_where_sources_have_others(made, here, printed):
    made()
    labelled = [{"id": f"a{k}", "modalities": ["on"], "data": {"kind": "datacli.made", "labels": labels}}
                for k, labels in enumerate((["walk", "10"], ["9", "sit"], ["walk", "10"]))]  # fmt: skip
    write(agents=labelled, data={})
    out = printed("schema", "study.yaml", "--id", "a0", "--id", "a1")
    assert yaml.safe_load(out)["data_schema"]["classes"] == ["10", "9", "sit", "walk"]
    out = printed("schema", "study.yaml", "--id", "a0", "--id", "a2")
    assert yaml.safe_load(out)["data_schema"]["classes"] == ["walk", "10"], "as all have them"


def test_sources_of_other_shapes_are_refused_with_both_named(here, refused):
    np.savez("three.npz", y=np.arange(40) % 2, audio=np.zeros((40, 5)))
    assert refused("schema", "one.npz", "two.npz", "three.npz") == (
        "'audio' is a vector of 4 features in one.npz and a vector of 5 features in three.npz: agents share samples of "
        "one shape, so cut or fill one of them, or call it by another name"
    )


def test_a_single_class_is_refused(made, refused):
    assert refused("schema", *made(labels=["a"])) == (
        "made: there is one class, 'a', and nothing to tell it from: add a source that has others, or name all with "
        "--set 'classes=[...]'"
    )


# sources


def test_the_path_says_the_kind_or_it_is_given(here, printed, refused):
    Path("one.npz").rename("one.dat")
    assert printed("schema", "one.dat", "--kind", "npz").startswith("# of one.dat (60 rows)")
    assert "one.dat: no kind of source recognises it; say which: kind: " in refused("schema", "one.dat")
    assert refused("check", "one.dat", "--kind", "npzz").startswith(
        "data.kind: there is no data set 'npzz': did you mean 'npz'?"
    )


def test_options_are_set_with_nested_keys_too(here, printed, refused):
    assert "classes: ['0', '1', '2']" in printed("schema", "one.npz", "--set", "classes=3")
    assert "60 rows" in printed("schema", "--set", "path=one.npz", "--kind", "npz")
    said = refused("check", "one.npz", "--set", "columns.audio=x", "--set", "columns.motion=y")
    assert said.startswith("data.columns: there is no such key here")
    assert refused("check", "one.npz", "--set", "classes").startswith("--set classes: write key=value")
    assert run_file.settings(["columns.audio=x", "columns.motion=[y, 1]", "target=label"]) == {
        "columns": {"audio": "x", "motion": ["y", 1]},
        "target": "label",
    }


def test_the_data_of_agents_are_those_of_the_run_file(here, printed):
    write(data={"kind": "npz", "classes": 13})
    assert printed("schema", here / "study.yaml", "--id", "a2") == (
        f"# of a2 of {here / 'study.yaml'} (60 rows)\ndata_schema:\n{MODALITIES}"
        "  classes: ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '10', '11', '12']\n"
    )
    out = printed("check", "study.yaml", "--id", "a1", "--id", "a2")
    assert "a1 of study.yaml: 60 rows\n" in out and "a2 of study.yaml: 60 rows\n" in out
    assert printed("schema", "study.yaml", "two.npz", "--id", "a1", "--set", "classes=14").count("'13'") == 1


def test_agents_of_a_mix_find_theirs_by_their_ids(here, printed):
    Path("one.npz").rename("a1.npz")
    write(agents={"mix": {"audio": 2}}, data={"path": "{id}.npz"}, dataset="own", graph={"generator": "ring"})
    assert printed("schema", "study.yaml", "--id", "a1").startswith("# of a1 of study.yaml (60 rows)")


def test_data_are_drawn_by_the_seed_of_the_run(made, printed):
    made()
    agents = [{"id": "a1", "modalities": ["on"], "data": {"kind": "datacli.made"}}]
    write(data={}, agents=agents, seed=3, graph={"generator": "ring"})
    three = printed("check", "study.yaml", "--id", "a1").splitlines()[2:]
    write(data={}, agents=agents, seed=4, graph={"generator": "ring"})
    assert printed("check", "study.yaml", "--id", "a1").splitlines()[2:] != three
    assert printed("check", *made()).splitlines()[2:] not in (three, [])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "data: give a path, or the kind of the source: "),
        (["none.npz"], "data: none.npz does not exist on this host: correct the path"),
        (["none.yaml", "--id", "a1"], "the topology none.yaml cannot be read: no such file"),
        (["study.yaml"], "study.yaml is a run file: say whose data with --id, such as --id a1"),
        (["study.yaml", "--id", "a3"], "--id a3: there is no such agent in study.yaml: Known: a1, a2"),
        (["one.npz", "--id", "a1"], "--id a1: whose agent is that? Name its run file, a .yaml, as a source"),
        (["study.yaml", "--id", "a1", "--kind", "npz"],
         "--kind and --set are for data named by its path: change the agents' data in study.yaml"),
        (["study.yaml", "--id", "a1", "--set", "x=1"], "--kind and --set are for data named by its path"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["schema", "check"])
def test_a_source_that_cannot_be_found_is_refused(here, refused, command, arguments, said):
    assert refused(command, *arguments).startswith(said)


def test_agents_without_data_and_with_shared_data_are_refused(here, refused, made):
    write(agents=[{"id": "a1", "modalities": ["audio"]}], data={}, dataset="own")
    assert refused("check", "study.yaml", "--id", "a1").startswith("agents: a1 has no data: add data: {path: ...}")
    write(agents=[{"id": "a1", "modalities": ["audio"]}], data={}, dataset="bits")
    assert refused("check", "study.yaml", "--id", "a1") == (
        "study.yaml deals 'bits' to its agents: name that with --kind bits, or a file"
    )
    assert refused("check", *made(rows=0)) == "made has no rows: name a source that holds samples"
    assert "has the shape [8, 8, 8, 8]" in refused("check", *made(axes=4))


# check


def test_what_is_there_is_printed_in_full(here, printed):
    np.savez("three.npz", motion=np.arange(480.0).reshape(60, 1, 8), y=np.arange(60) // 45, groups=np.arange(60) // 20)
    assert printed("check", "three.npz").splitlines() == [
        "three.npz: 60 rows, 3 groups (0, 1, 2)",
        "modality  kind    shape  smallest  largest   mean  deviation",
        "motion    series  1 × 8         0      479  239.5      138.6",
        "",
        "class  rows  share",
        "0        45  75.0%",
        "1        15  25.0%",
        "",
        "nothing in it is odd",
    ]
    np.savez("three.npz", motion=np.arange(480.0).reshape(60, 1, 8), y=np.arange(60) % 2, groups=np.ones(60, int))
    assert printed("check", "three.npz").splitlines()[0] == "three.npz: 60 rows, 1 group (1)"
    people = np.array([f"p{k % 22:02}" for k in range(60)])
    np.savez(
        "three.npz", motion=np.arange(480.0).reshape(60, 1, 8), y=np.arange(60) % 2, who=people, part=people < "p02"
    )
    said = printed("check", "three.npz", "--set", "group=who", "--set", "official=part").splitlines()[0]
    assert said.startswith("three.npz: 60 rows, 6 of them the official test set, 22 groups (p00, p01, p02, ")
    assert said.endswith("p19 and 2 more)")


def test_several_sources_are_printed_in_their_order_with_what_is_odd_after_them(here, printed):
    shared = arrays(seed=1, classes=12)
    np.savez("one.npz", **{name: each[:30] for name, each in shared.items()})
    lines = printed("check", "two.npz", "one.npz").splitlines()
    assert [line for line in lines if " rows" in line and ":" in line] == [
        "two.npz: 60 rows",
        "one.npz: 30 rows",
        "two.npz: 12 classes have fewer than 10 rows ('0', '1', '2', '3', '4', …)",
        "one.npz: 30 rows are few to train on and test with: give 50 or more",
        "one.npz: 12 classes have fewer than 10 rows ('0', '1', '2', '3', '4', …)",
        "two.npz: 30 rows are in one.npz too: what one agent is tested with, the other may have trained on",
    ]
    np.savez("two.npz", **arrays(seed=2))
    np.savez("one.npz", **arrays(seed=3))
    assert printed("check", "two.npz", "one.npz").splitlines()[-1] == "nothing in them is odd"


def test_of_many_classes_the_first_are_listed(made, printed):
    names = [f"c{k:02}" for k in range(21)]
    lines = printed("check", *made(labels=names[:20], rows=400)).splitlines()
    assert "more" not in " ".join(lines) and lines[-3].split() == ["c19", "20", "5.0%"]
    lines = printed("check", *made(labels=names, rows=420)).splitlines()
    assert lines[-4].split() == ["c19", "20", "4.8%"] and lines[-3].split() == ["1", "more", "20", "4.8%"]


def test_names_are_printed_as_they_are(made, printed):
    assert "[red]x  " in printed("check", *made(labels=["[red]x", "[/]"]))


def test_a_narrow_terminal_is_minded(here, printed, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["parse-agent", "data", "check", "one.npz"])
    monkeypatch.setenv("COLUMNS", "40")
    with pytest.raises(SystemExit) as ended:
        main()
    lines = capsys.readouterr().out.splitlines()
    assert ended.value.code == 0 and lines[1].split() == ["modality", "shape", "smallest", "largest"]
    assert max(map(len, lines)) <= 40


# check --topology

SCHEMA = {
    "modalities": {"audio": {"kind": "vector", "shape": [4]}, "motion": {"kind": "series", "shape": [3, 8]}},
    "classes": ["0", "1"],
}


def test_what_fits_a_schema_is_said_to_be_so_by_silence(here, printed):
    write(data_schema=SCHEMA)
    assert printed("check", "one.npz", "--topology", "study.yaml").splitlines()[-1] == "nothing in it is odd"
    write(data_schema=SCHEMA | {"classes": ["0", "lie", "1"]})
    assert printed("check", "one.npz", "--topology", "study.yaml").splitlines()[-1] == (
        "one.npz: no row is of 1 class of data_schema ('lie')"
    )
    write(data_schema=SCHEMA | {"modalities": {"audio": SCHEMA["modalities"]["audio"]}})
    assert printed("check", "one.npz", "--topology", "study.yaml").splitlines()[-1] == (
        "one.npz: the modality 'motion' is not in data_schema: Known: audio"
    )


def test_what_does_not_fit_a_schema_is_refused(here, refused):
    write(data_schema=SCHEMA)
    assert refused("check", "one.npz", "two.npz", "--topology", "study.yaml").startswith(
        "two.npz: the class '2' is not in data_schema.classes: "
    )
    write(data_schema=SCHEMA | {"modalities": {"audio": {"kind": "vector", "shape": [5]}}})
    assert refused("check", "one.npz", "--topology", "study.yaml") == (
        "one.npz: 'audio' is a vector of 4 features here, and a vector of 5 features in data_schema"
    )
    write(data_schema=SCHEMA | {"modalities": {"camera": {"kind": "vector", "shape": [5]}}})
    assert refused("check", "one.npz", "--topology", "study.yaml") == (
        "one.npz: there is no modality 'camera' in it: Known: audio, motion"
    )
    write()
    assert refused("check", "one.npz", "--topology", "study.yaml") == (
        "study.yaml has no data_schema to fit: add what parse-agent data schema SOURCE prints"
    )


def test_an_agent_needs_its_modalities_and_a_file_those_that_it_has(here, printed, refused):
    np.savez("two.npz", y=np.arange(60) % 2, audio=np.random.default_rng(1).normal(size=(60, 4)))
    write(data_schema=SCHEMA)
    assert printed("check", "two.npz", "--topology", "study.yaml").endswith("nothing in it is odd\n")
    for topology in ([], ["--topology", "study.yaml"]):  # of an agent it is its own run file's
        assert refused("check", "study.yaml", "--id", "a2", *topology) == (
            "a2 of study.yaml: there is no modality 'motion' in it: Known: audio"
        )
    Path("other.yaml").write_text(
        yaml.safe_dump(RUN | {"data_schema": SCHEMA | {"modalities": {"audio": SCHEMA["modalities"]["audio"]}}})
    )
    assert refused("check", "study.yaml", "--id", "a2", "--topology", "other.yaml").startswith(
        "data_schema: there is no modality 'motion'"
    )


def test_the_coordinator_of_a_run_file_may_have_data_too(here, printed):
    hub = {"id": "hub", "role": "coordinator", "data": {"path": "one.npz", "kind": "npz"}}
    write(agents=[*RUN["agents"], hub], data_schema=SCHEMA)
    out = printed("check", "study.yaml", "--id", "hub", "--topology", "study.yaml")
    assert out.startswith("hub of study.yaml: 60 rows") and out.endswith("nothing in it is odd\n")


# help


@pytest.mark.parametrize("command", ["schema", "check"])
def test_the_help_shows_examples(printed, command):
    out = printed(command, "--help")
    lines = [line.strip() for line in out.partition("Examples")[2].splitlines() if line.strip()]
    assert len(lines) >= 4 and all(line.startswith(f"parse-agent data {command} ") for line in lines)
