"""What a run file says of samples that arrive: read with the source's options, and refused in a sentence."""

from dataclasses import replace

import arriving
import numpy as np
import pytest
import yaml

from parse_p2p.config import run_file
from parse_p2p.config.examine import examine
from parse_p2p.config.own_data import OwnData
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.errors import ConfigError


def test_a_source_is_read_without_the_keys_of_what_arrives(tmp_path):
    plan = arriving.plan(tmp_path, {"keep": {"kind": "window", "samples": 7}, "drift": ["shift"]})
    assert plan.data.source("a0").values.keys() == {"path", "target", "columns"}
    chosen = plan.data.arrivals("a0")
    assert chosen.watch == tmp_path / "in/a0", "beside the run file, with the agent's id"
    assert (chosen.keep.kind, chosen.keep.samples, [each.kind for each in chosen.drift]) == ("window", 7, ["shift"])


@pytest.mark.parametrize(
    ("drift", "kinds"),
    [(None, []), ("none", []), ("shift", ["shift"]), ({"kind": "shift", "above": 2}, ["shift"]),
     (["shift", {"kind": "adwin", "delta": 0.1}], ["shift", "adwin"])],
)  # fmt: skip
def test_what_looks_for_a_drift_is_a_word_a_mapping_or_a_list(tmp_path, drift, kinds):
    chosen = OwnData(run_file.load(arriving.study(tmp_path, {"drift": drift}))).arrivals("a0")
    assert [each.kind for each in chosen.drift] == kinds


def test_an_agent_may_say_otherwise_than_the_run(tmp_path):
    agents = [{"id": "a0", "modalities": ["x"], "data": {"keep": {"kind": "reservoir", "samples": 9}}},
              {"id": "a1", "modalities": ["x"]}]  # fmt: skip
    data = OwnData(run_file.load(_study(tmp_path, agents)))
    assert [data.arrivals(me).keep.kind for me in arriving.TWO] == ["reservoir", "all"]


def _study(folder, agents, **changes):
    path = arriving.study(folder, **changes)
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"agents": agents}))
    return path


WRONG = {
    "no folder's name": ({"watch": 3}, "agents: a0.data.watch: a path is text, not 3"),
    "no way to keep": ({"keep": "newest"}, "agents: a0.data.keep: there is no way to keep samples 'newest': "),
    "a window without a size": ({"keep": "window"}, "agents: a0.data.keep.samples: this key is missing"),
    "a window of none": ({"keep": {"kind": "window", "samples": 0}}, "data.keep.samples: input should be greater"),
    "another's key": ({"keep": {"kind": "all", "samples": 3}}, "data.keep.samples: there is no such key here"),
    "no way to detect": ({"drift": ["adwinn"]}, "there is no way to detect drift 'adwinn': did you mean 'adwin'?"),
    "a wrong delta": ({"drift": {"kind": "adwin", "delta": 2}}, "delta: input should be less than 1"),
    "one twice": ({"drift": ["adwin", {"kind": "adwin", "delta": 0.1}]}, "a0.data.drift: adwin stands there twice"),
    "the source itself": ({"watch": "{id}.csv"}, "a0.csv is the source"),
    "a folder in the source": ({"watch": "{id}.csv/new"}, "or lies in it: watch another folder"),
    "lazy": ({"kind": "npz", "lazy": True}, "agents: a0.data.watch: samples that arrive are kept in memory"),
}


@pytest.mark.parametrize(("data", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_a_sentence_that_names_the_key(tmp_path, data, said):
    path = arriving.study(tmp_path, data)
    _, found = examine(path)
    matching = [each for each in found if said in each and "a1." not in each]
    assert len(matching) == 1 and str(path) in matching[0] and "\n" not in matching[0], found


def test_keys_without_a_folder_are_of_no_use(tmp_path):
    agents = [{"id": me, "modalities": ["x"], "data": {"path": f"{me}.csv", "drift": "adwin"}} for me in arriving.TWO]
    path = _study(tmp_path, agents)
    raw = yaml.safe_load(path.read_text())
    del raw["data"]["watch"]
    path.write_text(yaml.safe_dump(raw))
    with pytest.raises(ConfigError, match=r"agents: a0\.data\.drift: no folder is watched: add watch"):
        RunPlan(run_file.load(path))


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"events": []}, "events: samples that arrive"), ({"stream": {"tasks": 2}}, "stream: samples that arrive")],
)
def test_what_says_itself_which_samples_there_are_does_not_go_with_it(tmp_path, changes, said):
    with pytest.raises(ConfigError, match=said):
        RunPlan(run_file.load(arriving.study(tmp_path, **changes)))


def test_a_coordinator_watches_nothing(tmp_path):
    hub = {"id": "hub", "role": "coordinator", "data": {"path": "a0.csv"}}
    agents = [{"id": me, "modalities": ["x"]} for me in arriving.TWO]
    changes = {"method": "fedavg", "graph": {"generator": "star"}}
    plan = RunPlan(run_file.load(_study(tmp_path, [*agents, hub], **changes)))
    assert plan.data.arrivals("hub") is None and plan.data.arrivals("a0") is not None
    hub["data"]["watch"] = "in"
    with pytest.raises(ConfigError, match=r"agents: hub\.data\.watch: the public samples of a coordinator stay"):
        RunPlan(run_file.load(_study(tmp_path, [*agents, hub], **changes)))


def test_a_folder_that_is_not_there_is_named_before_anything_begins(tmp_path):
    plan = arriving.plan(tmp_path)
    plan.data.check_source("a0")
    (tmp_path / "in/a0").rmdir()
    with pytest.raises(ConfigError, match=rf"a0\.data\.watch: there is no folder {tmp_path}/in/a0 on this host"):
        plan.data.check_source("a0")


def test_a_kind_that_reads_no_file_has_none_that_arrive(tmp_path):
    plan = arriving.plan(tmp_path)
    data = {"kind": "python", "object": "somewhere:made", "watch": str(tmp_path / "in/a0")}
    own = OwnData(plan.run.model_copy(update={"data": data}))
    with pytest.raises(ConfigError, match="the kind 'python' reads no file"):
        own.check_source("a0")


def test_a_test_set_of_its_own_has_nothing_that_arrives(tmp_path):
    agents = [{"id": me, "modalities": ["x"], "test_data": {"path": "test.csv"}} for me in arriving.TWO]
    arriving.drop(tmp_path / "test.csv", 40)
    plan = RunPlan(run_file.load(_study(tmp_path, agents)))
    assert len(plan.share("a0")[1]) == 40
    assert "watch" not in OwnData(plan.run).source("a0", to_test=True).values
    agents[0]["test_data"]["watch"] = "in"
    with pytest.raises(ConfigError, match=r"agents: a0\.test_data\.watch: there is no such key here"):
        RunPlan(run_file.load(_study(tmp_path, agents))).share("a0")


def test_what_all_are_tested_with_is_read_without_the_keys_of_what_arrives(tmp_path):
    (tmp_path / "in/a0").mkdir(parents=True)
    arriving.drop(tmp_path / "in/a0/common.csv", 10, 3)
    plan = arriving.plan(tmp_path, {"drift": "shift"}, rounds=2, common_test={"path": "in/a0/common.csv"})
    arriving.drop(tmp_path / "in/a0/new.csv", 20)
    states, said, measured = arriving.simulated(plan)
    assert [event.file for event in said[0]["a0"]] == ["new.csv"], "nobody trains on the common test set"
    assert "arrived/accuracy" in measured[0]["a0"]
    assert len(states["a0"].learner.common) == 10 and "test/accuracy-common" in states["a0"].learner.evaluate()


def test_agents_that_keep_other_samples_are_of_the_same_run_with_a_common_test_set_too(tmp_path):
    common = {"path": "a0.csv", "encoding": "utf-8"}
    one, other, latin = (
        RunPlan(run_file.load(arriving.study(tmp_path, data, common_test=common | more))).run.digest()
        for data, more in (({}, {}), ({"keep": {"kind": "window", "samples": 9}}, {}), ({}, {"encoding": "latin-1"}))
    )
    assert one == other != latin


def test_sources_of_others_do_not_arrive(tmp_path):
    plan = arriving.plan(tmp_path, {"watch": "."}, rounds=1)
    states, said, _ = arriving.simulated(plan)
    assert {event.file for event in said[0]["a0"]} == {"in", "study.yaml"}
    assert states["a0"].learner.samples == 30


# other sources and tasks


def arrays(path, count, seed, offset=0.0, **more):
    x, y = arriving.samples(count, seed, offset)
    np.savez(path, x=x.astype(np.float32), y=y, **{name: values(y) for name, values in more.items()})


def sites(folder, write, data, **changes):
    """Two agents whose source and one new file are written so."""
    file = arriving.study(folder, **changes)
    raw = yaml.safe_load(file.read_text())
    raw["data"] = {"watch": "in/{id}"} | data
    file.write_text(yaml.safe_dump(raw))
    for k, me in enumerate(arriving.TWO):
        write(folder / data["path"].format(id=me), 40, k)
    write(folder / "in/a0" / data["path"].format(id="new"), 12, 9)
    return RunPlan(run_file.load(file))


def test_samples_may_be_arrays(tmp_path):
    names = {"labels": {"0": "no", "1": "yes"}}
    states, said, _ = arriving.simulated(sites(tmp_path, arrays, {"path": "{id}.npz"} | names, rounds=1))
    [event] = said[0]["a0"]
    assert event.samples == 12 and states["a0"].learner.samples == 42


def test_samples_may_be_folders_of_arrays(tmp_path):
    def write(path, count, seed):
        path.mkdir()
        x, y = arriving.samples(count, seed)
        np.save(path / "x.npy", x.astype(np.float32))
        np.save(path / "y.npy", np.array(arriving.CLASSES)[y])

    _, said, _ = arriving.simulated(sites(tmp_path, write, {"path": "{id}"}, rounds=1))
    assert [event.samples for event in said[0]["a0"]] == [12]


def test_numbers_are_scored_by_their_own_name(tmp_path):
    def write(path, count, seed):
        x, _ = arriving.samples(count, seed)
        np.savez(path, x=x.astype(np.float32), y=x.sum(1))

    schema = {"modalities": arriving.SCHEMA["modalities"], "task": "regression", "outputs": ["y"]}
    data = {"path": "{id}.npz", "task": "regression", "outputs": ["y"]}
    plan = sites(tmp_path, write, data, data_schema=schema, rounds=2, early_stopping={"validation": 0.2})
    states, _, measured = arriving.simulated(plan)
    assert measured[0]["a0"]["arrived/r2"] <= 1 and states["a0"].learner.samples == 24 + 12
    assert len(states["a0"].learner.validation) == 6


def test_samples_may_lack_a_modality_where_the_method_learns_from_such(tmp_path):
    def write(path, count, seed):
        x, y = arriving.samples(count, seed)
        x[1] = np.nan if "new" in path.name else 0
        np.savez(path, x=x.astype(np.float32), z=np.float32(y[:, None]), y=y)

    modalities = {"x": {"kind": "vector", "shape": [2]}, "z": {"kind": "vector", "shape": [1]}}
    names = {"path": "{id}.npz", "labels": {"0": "no", "1": "yes"}}
    sites(tmp_path, write, names, data_schema=arriving.SCHEMA | {"modalities": modalities}, rounds=1)
    raw = yaml.safe_load((tmp_path / "study.yaml").read_text())
    raw["agents"] = [{"id": me, "modalities": ["x", "z"]} for me in arriving.TWO]
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(raw))
    plan = RunPlan(run_file.load(tmp_path / "study.yaml"))
    states, said, _ = arriving.simulated(plan)
    assert [event.name for event in said[0]["a0"]] == ["data-noted", "arrived"]
    assert states["a0"].learner.data.present["x"].tolist() == [*[True] * 31, False, *[True] * 10]
    plan.method = replace(plan.method, gaps=False)
    states, said, _ = arriving.simulated(plan)
    [refused] = said[0]["a0"]
    assert "does not learn from samples that lack a modality" in refused.why
    assert states["a0"].learner.samples == 30
