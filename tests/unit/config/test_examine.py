"""``parse-agent check``: everything that is wrong with a run file, with its line, and nothing that is not."""

import json
from pathlib import Path

import pytest
from paths import ROOT

from parse_p2p.config.examine import examine

RUN = {
    "graph": {"generator": "ring"},
    "agents": {"mix": {"audio": 2, "motion": 1}},
    "dataset": "bits",
    "data": {"samples": 160},
    "model": {"latent": 12, "hidden": 8, "encoder": {"width": 8, "depth": 1}},
    "rounds": 5,
}
SHIPPED = sorted((ROOT / "topologies").glob("*.yaml"))
BROKEN = {"kind": "sensor", "agents": ["b0"], "modality": "smell", "round": 1}
ALONE = {"id": "a0", "modalities": ["audio"]}


@pytest.fixture
def found(tmp_path, monkeypatch):
    """What is wrong with this run file: key by key, one on a line, and changes of them."""
    monkeypatch.chdir(tmp_path)

    def found(settings=(), **changes):
        text = "\n".join(f"{key}: {json.dumps(value)}" for key, value in (RUN | changes).items())
        Path("three.yaml").write_text(text)
        plan, problems = examine(Path("three.yaml"), settings)
        assert (plan is None) == bool(problems)
        return problems

    return found


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_nothing_is_wrong_with_what_is_shipped(file):
    plan, problems = examine(file)
    assert problems == [] and plan.run.name == file.stem


def test_all_wrong_keys_are_named_with_their_lines_and_in_order(found):
    problems = found(
        train={"lrr": 1, "momentum": 3}, rouns=3, seed=-1, faults=[{"kind": "dorp"}, {"kind": "drop", "x": 1}]
    )
    starts = [problem.split(": ")[:2] for problem in problems]
    assert starts == [
        ["three.yaml:7", "train.lrr"],
        ["three.yaml:7", "train.momentum"],
        ["three.yaml:8", "rouns"],
        ["three.yaml:9", "seed"],
        ["three.yaml:10", "faults.1.x"],
        ["three.yaml:10", "faults.0"],
    ]
    assert "did you mean 'lr'?" in problems[0] and "not 3" in problems[1]


def test_of_a_list_of_agents_every_wrong_one_is_named_and_no_other(found):
    agents = [ALONE, {"id": "a1", "modalities": ["audio"], "rloe": 1}, {"id": "a2"}, {"modalities": []}]
    problems = found(agents=agents)
    assert [problem.partition(": ")[2].partition(":")[0] for problem in problems] == [
        "agents.1.rloe", "agents.3.id", "agents.3.modalities", "agents.2"
    ]  # fmt: skip
    [problem] = found(agents={"mix": {"audio": 2}, "placemnt": "blocks"})
    assert problem.startswith("three.yaml:2: agents.placemnt: there is no such key here; did you mean 'placement'?")


def test_keys_plugins_and_what_they_ask_together_are_found_at_once(found):
    problems = found(
        agents={"mix": {"audio": 2, "smell": 1, "taste": 1}},
        options={"exchange": "slow"},
        codec="bf61",
        clocks={"lost": 1},
        train={"lrr": 1},
        events=[{"round": 9, "agent": "a0", "gain": ["sight"]}],
        faults=[{"kind": "drop", "senders": ["b0"]}],
    )
    said = [
        (2, "agents: a1 is to have the modality 'smell'"),
        (2, "agents: a2 is to have the modality 'taste'"),
        (7, "options.exchange: there is no exchange"),
        (8, "codec: there is no codec 'bf61': did you mean 'bf16'?"),
        (9, "clocks: lost must be more than two heartbeats"),
        (10, "train.lrr: there is no such key here"),
        (11, "events: a0 is to gain 'sight'"),
        (11, "events: round 9 of a0 never comes: rounds is 5"),
        (12, "faults.0.senders: there is no agent 'b0'"),
    ]
    assert len(problems) == len(said), problems
    for line, part in said:
        assert any(problem.startswith(f"three.yaml:{line}: {part}") for problem in problems), (part, problems)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": "parze", "data": {"sample": 3}}, ["method: there is no method 'parze'", "data.sample"]),
        ({"dataset": "bitz", "options": {"x": 1}}, ["dataset: there is no data set 'bitz'", "options.x"]),
        ({"data": {"sample": 3}, "graph": {"generator": "rnig"}}, ["data.sample", "graph: no graph family"]),
        ({"agents": [ALONE, ALONE, ALONE | {"task": "t"}]}, ["agents: the id 'a0' is given twice", "the task 't'"]),
        ({"method": "fedavg"}, ["graph: the method 'fedavg' needs a coordinator"]),
        ({"graph": {"edges": [["a0", "a1"]]}, "faults": [BROKEN]},
         ["graph: it has 2 connected components", "there is no agent 'b0'", "no agent ever has 'smell'"]),
        ({"partition": {"kind": "idd"}}, ["partition.kind: there is no partition 'idd'"]),
        ({"weights": "uniform", "varying": {"kind": "matching"}}, ["varying: its graphs have weights of their own"]),
        ({"agents": [ALONE | {"address": "tcp://h:*"}]}, ["agents: a0: nobody would know the port"]),
        ({"graph": {}}, ["graph: give exactly one of generator, edges and file"]),
        ({"rounds": 0, "events": [{"round": 3, "agent": "a0", "gain": ["motion"]}]}, ["rounds: input should be"]),
        ({"public": {}, "method": "fedmosaic"}, ["public: give exactly one of share and dataset"]),
    ],
)  # fmt: skip
def test_what_cannot_be_is_found_and_no_more_than_that(changes, said, found):
    problems = found(**changes)
    assert len(problems) == len(said), problems
    for part in said:
        assert any(part in problem and problem.startswith("three.yaml:") for problem in problems), problems


def test_a_setting_is_looked_at_like_the_file(found):
    [problem] = found(settings=[("train.lrr", 1)])
    assert problem.startswith("--set train.lrr: there is no such key here")
    assert found(settings=[("rounds", 7)]) == []


@pytest.mark.parametrize("text", ["", "a: [", "a: 1\na: 2\n"])
def test_what_cannot_be_read_is_one_sentence(text, tmp_path):
    (tmp_path / "x.yaml").write_text(text)
    plan, [problem] = examine(tmp_path / "x.yaml")
    assert plan is None and problem.startswith(f"{tmp_path / 'x.yaml'}")


def test_agents_with_data_of_their_own_are_looked_at_without_opening_them(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(
        "graph: {generator: ring}\n"
        "agents: [{id: a0, modalities: [audio], data: {path: x.npz}}, {id: a1, modalities: [smell]}]\n"
        "data_schema: {modalities: {audio: {kind: vector, shape: [3]}}, classes: [cat, dog]}\n"
    )
    plan, problems = examine(path)
    assert plan is None
    assert problems == [
        f"{path}:2: agents: a1 is to have the modality 'smell', which data_schema does not hold: Known: audio"
    ]
    path.write_text(path.read_text().replace("smell", "audio"))
    plan, problems = examine(path)
    assert plan is not None and problems == []
