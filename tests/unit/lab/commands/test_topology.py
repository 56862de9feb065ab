"""parse-lab topology, typed as a person does."""

import json
import sys

import pytest

from parse_p2p.lab import cli
from parse_p2p.topology import graph_io

BITS = ("--set", "dataset=bits")


@pytest.fixture
def lab(monkeypatch, capsys, tmp_path):
    """``parse-lab topology`` in this process: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def lab(*arguments, columns=80):
        monkeypatch.setattr(sys, "argv", ["parse-lab", "topology", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", str(columns))
        with pytest.raises(SystemExit) as stop:
            cli.main()
        printed = capsys.readouterr()
        return stop.value.code or 0, printed.out, printed.err

    return lab


def test_one_graph_fits_the_terminal(lab):
    code, out, _ = lab("ring:8", *BITS)
    assert code == 0 and "8 agents, 8 edges, degree 2, diameter 4" in out
    assert max(map(len, out.splitlines())) <= 80


def test_every_overlay_has_a_row(lab):
    _, out, _ = lab("ring:8", *BITS, columns=100)
    lines = out.splitlines()
    [head] = [line.removeprefix("slices of group").split() for line in lines if line.startswith("slices of group")]
    assert head == ["holders", "components", "gap", "ρ", "rounds", "bytes"]
    [row] = [line.split() for line in lines if line.startswith("all ")]
    assert row[1:6] == ["8", "1", "0.195", "0.8047", "32"]


def test_a_shipped_one_is_found_by_name_and_a_generator_is_one_all_the_same(lab):
    assert lab("ring", *BITS)[1] == lab("ring.yaml", *BITS)[1]
    assert "ring under parse: 8 agents" in lab("ring", *BITS)[1]
    code, out, _ = lab("ring", "--mix", "audio=3,motion=2", *BITS)
    assert code == 0 and "ring under parse: 5 agents" in out


@pytest.mark.parametrize(
    ("arguments", "narrow"),
    [(["ring:8"], 40), (["ring:16", "torus:16"], 40), (["ring:8", "--suggest", "--degree", 3], 48)],
)
def test_a_narrow_terminal_gets_fewer_columns_and_whole_numbers(lab, arguments, narrow):
    printed = [lab(*arguments, *BITS, columns=columns)[1].splitlines() for columns in (100, narrow)]
    heads = [next(x for x in lines if x.startswith(("graph  ", "slices "))) for lines in printed]
    tables = [head.split() for head in heads]
    assert "gap" in tables[1] and set(tables[1]) < set(tables[0])
    assert not any("…" in line for line in printed[1])


def test_several_are_a_row_each(lab):
    code, out, _ = lab("--compare", "ring:16", "torus:16", "--mix", "audio=16", *BITS)
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line.split()}
    assert code == 0 and rows["ring-16"][4] == "0.051" and rows["torus-16"][4] == "0.400"


def test_machines_read_json(lab):
    _, out, err = lab("ring:8", "--json", *BITS, columns=20)
    assert json.loads(out)["degree"] == [2, 2, 2] and err == ""
    assert list(json.loads(out)) == ["name", "method", "agents", "edges", "degree", "diameter", "groups", "types",
                                     "bytes", "total", "notes"]  # fmt: skip
    _, out, _ = lab("ring:8", "star:8", "--json", *BITS)
    assert [each["diameter"] for each in json.loads(out)] == [4, 2]
    _, out, _ = lab("ring:8", "--suggest", "--degree", 3, "--json", *BITS)
    assert all(each["degree"] <= 3 for each in json.loads(out))


def test_a_suggestion_can_be_pasted(lab, tmp_path):
    code, out, _ = lab("ring:10", "--suggest", "--degree", 4, "--bytes", "1MB", *BITS)
    lines = [line for line in out.splitlines() if line.startswith("graph: {")]
    assert code == 0 and lines
    (tmp_path / "mine.yaml").write_text(f"{lines[0]}\nagents: {{mix: {{audio: 5, motion: 5}}}}\n")
    code, out, _ = lab("mine.yaml", *BITS)
    assert code == 0 and "10 agents" in out


def test_pictures_and_exports_are_files(lab, tmp_path):
    code, _, _ = lab("torus:9", "--picture", "nine.svg", "--export", "nine.graphml", *BITS)
    assert code == 0 and len(graph_io.read(tmp_path / "nine.graphml")) == 9
    picture = (tmp_path / "nine.svg").read_text()
    assert "torus-9, and slices of all" in picture and "audio+motion" in picture
    code, out, _ = lab("nine.graphml", *BITS)
    assert code == 0 and "9 agents, 18 edges" in out


def test_a_graph_that_varies_says_so(lab):
    code, out, _ = lab("ring:8", "--set", "varying.kind=matching", "--picture", "eight.png", *BITS)
    assert code == 0 and "varying: matching draws the graph of every slice anew" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["rig:8"], "did you mean 'ring'"),
        (["ring:8", "--degree", "3"], "add --suggest"),
        (["ring:8", "star:8", "--suggest"], "name one"),
        (["ring:8", "--suggest", "--bytes", "much"], "such as 100kB"),
        (["ring:8", "--suggest", "--bytes", "-3kB"], "such as 100kB"),
        (["ring:8", "--suggest", "--bytes", "nanB"], "such as 100kB"),
        (["ring:8", "--suggest", "--bytes", "1B"], "no graph keeps this budget"),
        (["ring:8", "--suggest", "--degree", "0"], "degree"),
        (["ring:8", "--picture", "eight.gif"], "that end in"),
        (["ring:8", "--picture", "no/eight.svg"], "cannot be written"),
        (["ring:8", "--export", "eight.gif"], "no graph format ends in '.gif'"),
        (["ring:8", "--export", "no/eight.json"], "cannot be written"),
        (["ring:8", "--mix", "audio"], "no count of agents"),
        (["ring:8", "--set", "rounds"], "write key=value"),
        (["ring:8", "--method", "prse"], "did you mean 'parse'"),
        (["ring:8", "--method", "fedavg", "--set", "agents.coordinator=hub"], "exchange with a coordinator"),
        ([], "Missing argument 'source'"),
    ],
)
def test_what_cannot_be_is_one_sentence(lab, arguments, says):
    code, out, err = lab(*arguments, *BITS, columns=200)
    assert code == 2 and says in err and len(err.strip().splitlines()) == 1 and not out
