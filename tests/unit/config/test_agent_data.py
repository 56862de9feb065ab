"""Where each agent's samples come from: dealt from one set, or read from a source of its own by nobody else."""

import os
import re

import numpy as np
import plans
import pytest
import torch
import trained

from parse_p2p.config.own_data import OwnData, with_source
from parse_p2p.config.run_file import OWN, RunFile
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.config.source import Source
from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import Modality, PeerId
from parse_p2p.data.base import Dataset, split

TWO = [{"id": "a0", "modalities": ["audio"]}, {"id": "a1", "modalities": ["audio"]}]
ALL = {"modalities": {"audio": {"kind": "vector", "shape": [3], "scale": "all"}}, "classes": ["a", "b"]}
MIX = {"audio": 2, "motion": 1, "audio+motion": 2}


def given(plan):
    """The schema of a plan whose statistics are those of all its training samples, as numbers."""
    schema = plan.schema.model_dump(mode="json")
    opened = plans.dealt(plan)._opened
    train, _ = split(opened, plan.run.test, plan.run.seed)
    for m, x in train.inputs.items():
        deviation, mean = torch.std_mean(x.double(), 0, correction=0)
        schema["modalities"][m]["scale"] = {"mean": mean.tolist(), "deviation": deviation.tolist()}
    return schema


def save(path, dataset):
    np.savez(path, y=dataset.targets.numpy(), **{m: x.numpy() for m, x in dataset.inputs.items()})


@pytest.fixture
def cut_up(tmp_path):
    """A plan of agents that share a set, and the run file of the same agents with sources of their own."""
    shared = plans.plan(MIX)
    data = plans.dealt(shared)
    raw, test = split(data._opened, shared.run.test, shared.run.seed)
    for me in shared.peers:
        modalities = shared.specs[me].modalities
        save(tmp_path / f"{me}.npz", raw.select(data.shares[me], modalities))
        save(tmp_path / f"{me}-test.npz", test.select(range(len(test)), modalities))
    return shared, shared.run.model_copy(
        update={
            "dataset": OWN,
            "data": {"kind": "npz", "classes": 16},
            "data_schema": type(shared.schema).model_validate(given(shared)),
            "fingerprint": None,
            "agents": [
                spec.entry.model_copy(
                    update={
                        "data": {"path": str(tmp_path / f"{me}.npz")},
                        "test_data": {"path": str(tmp_path / "{id}-test.npz")},
                    }
                )
                for me, spec in shared.specs.items()
            ],
        }
    )


def test_a_study_cut_into_own_sources_comes_to_the_same_bit_for_bit(cut_up):
    shared, run = cut_up
    own = RunPlan(run)
    ours, theirs = plans.finished(own), plans.finished(shared)
    assert plans.differing(ours[0], theirs[0]) == []
    for me in shared.peers:
        nats = [agents[me].learner.evaluate()["test_loss"] for agents in (ours[0], theirs[0])]
        assert nats[0] == nats[1], "the test samples are the same too"


def test_own_samples_are_scaled_by_themselves_and_some_kept_to_test_with(cut_up):
    shared, run = cut_up
    schema = shared.schema.model_copy(
        update={"modalities": {m: s.model_copy(update={"scale": "own"}) for m, s in shared.schema.modalities.items()}}
    )
    entries = [entry.model_copy(update={"test_data": None}) for entry in run.agents]
    plan = RunPlan(run.model_copy(update={"data_schema": schema, "agents": entries}))
    for me in plan.peers:
        train, test = plan.share(me)
        whole = len(plans.dealt(shared).shares[me])
        assert len(train) + len(test) == whole and 0.15 < len(test) / whole < 0.35
        for x in train.inputs.values():
            assert x.mean(0).abs().max() < 1e-6 and (x.std(0, correction=0) - 1).abs().max() < 1e-5
        assert all(x.mean(0).abs().max() > 1e-3 for x in test.inputs.values()), "by the training samples alone"


@pytest.mark.parametrize("scale", ["own", "all", "none", {"mean": [0.25] * 16, "deviation": [0.5] * 15 + [0]}])
@pytest.mark.parametrize("method", ["parse", "fedafd"])
def test_the_scales_of_a_shared_set_are_those_its_test_samples_are_scaled_by(scale, method):
    schema = trained.scaled_by(plans.plan(), scale)
    plan = plans.plan({"audio": 2, "audio+motion": 1}, method=method, data_schema=schema)
    raw = trained.measured(plan)
    for me, spec in plan.specs.items():
        scales = plan.data.scales(me)
        assert set(scales) == {"audio", "motion"}, "an agent may gain one"
        for m, x in plan.share(me)[1].inputs.items():
            assert torch.equal(scales[m](raw.inputs[m]), x), (me, spec.modalities, m)


def test_the_scales_of_own_data_are_those_its_samples_are_scaled_by(cut_up):
    _, run = cut_up
    schema = run.data_schema.model_copy(deep=True)
    schema.modalities["audio"] = schema.modalities["audio"].model_copy(update={"scale": "own"})
    plan = RunPlan(run.model_copy(update={"data_schema": schema}))
    data = OwnData(plan.run)
    for me in plan.peers:
        scales = data.scales(me)
        assert set(scales) == set(plan.specs[me].modalities)
        train, test = data.share(me, plan.specs[me].modalities)
        for m in plan.specs[me].modalities:
            raw = [data.source(me, to_test).open(0).inputs[m]
                   for to_test in (False, True)]  # fmt: skip
            assert torch.equal(scales[m](raw[0]), train.inputs[m]) and torch.equal(scales[m](raw[1]), test.inputs[m])


def test_a_modality_of_other_shape_that_an_agent_does_not_use_has_no_scale():
    schema = {"modalities": {m: {"kind": "vector", "shape": [3]} for m in ("audio", "smell")}, "classes": ["0", "1"]}
    run = own([dict(entry) for entry in TWO], data_schema=schema)
    samples = Dataset("set", {"audio": torch.randn(8, 3), "smell": torch.randn(8, 4)}, torch.arange(8) % 2, 2)
    data = OwnData(run, None, {PeerId(me): samples for me in ("a0", "a1")})
    train, _ = data.share(PeerId("a0"), [Modality("audio")])
    assert set(data.scales(PeerId("a0"))) == {"audio"} and len(train) == 6


def test_nobody_opens_a_source_that_is_not_its_own(cut_up, monkeypatch):
    opened = []
    read = Source.open

    def noted(self, seed):
        opened.append(self.path.name)
        return read(self, seed)

    monkeypatch.setattr(Source, "open", noted)
    _, run = cut_up
    plan = RunPlan(run)
    assert plan.overlays(0) is not None and plan.run.digest() and opened == []
    plan.agent_state(plan.peers[0])
    assert opened == ["a0.npz", "a0-test.npz"]


def test_what_agents_agree_on_does_not_say_where_their_data_are(cut_up):
    _, run = cut_up
    not_said = [entry.model_copy(update={"data": None, "test_data": None}) for entry in run.agents]
    assert run.model_copy(update={"agents": not_said, "data": {}}).digest() == run.digest()
    assert run.model_copy(update={"data_schema": None}).digest() != run.digest()


def own(agents, **changes):
    """A run of agents with sources of their own."""
    schema = {"modalities": {"audio": {"kind": "vector", "shape": [3]}}, "classes": ["cat", "dog"]}
    raw = {"graph": {"generator": "ring"}, "agents": agents, "dataset": OWN, "data_schema": schema} | changes
    return RunFile.model_validate(raw)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data_schema": None}, "data_schema: agents with data of their own have to agree on modalities and classes"),
        ({"agents": {"mix": {"audio": 60}}, "data_schema": ALL}, "data_schema.modalities.audio.scale: on this graph "
         "the agents that are there in the first round take 9812 exchanges to agree, and at most 2000 are made: give"),
        ({"agents": [TWO[0], TWO[1] | {"id": "a9"}], "graph": {"nodes": ["a0", "a9"], "edges": []}, "method": "local",
          "data_schema": ALL}, "graph: it has 2 connected components"),
        ({"public": {"share": 0.2}}, "public: where agents have data of their own, give the coordinator its data"),
        ({"partition": {"kind": "dirichlet"}}, "partition: agents have data of their own, and nothing is dealt"),
        ({"agents": [TWO[0] | {"data": {"pth": "x"}}, TWO[1]]},
         "agents: a0.data.pth: there is no such key here; did you mean 'path'?"),
        ({"agents": [TWO[0] | {"data": {"kind": "python"}}, TWO[1]]}, "agents: a0.data.object: this key is missing"),
        ({"agents": [TWO[0], TWO[1] | {"test_data": {"kind": "npz", "path": "x", "pth": "x"}}]},
         "agents: a1.test_data.pth: there is no such key here; did you mean 'path'?"),
        ({"agents": {"mix": {"audio": 2}, "data": {"a0": {"path": "x"}, "a9": {"path": "y"}}}},
         "agents.data.a9: there is no agent 'a9': Known: a0, a1"),
        ({"agents": [{"id": "a0", "modalities": ["odour"]}]},
         "agents: a0 is to have the modality 'odour', which data_schema does not hold: Known: audio"),
    ],
)  # fmt: skip
def test_what_cannot_be_with_own_data_is_refused(changes, said):
    with pytest.raises(ConfigError) as caught:
        RunPlan(own(**{"agents": TWO} | changes))
    assert str(caught.value).startswith(said)


def test_agents_of_a_set_that_is_dealt_have_no_data_of_their_own():
    agents = [TWO[0] | {"data": {"path": "x.npz"}}, TWO[1]]
    with pytest.raises(ConfigError, match="dataset: an agent has data of its own, and 'bits' is dealt to all"):
        RunPlan(own(agents, dataset="bits", data_schema=None))


def test_a_source_that_is_missing_is_named_with_what_to_do(tmp_path):
    plan = RunPlan(own([TWO[0] | {"data": {"path": str(tmp_path / "no.npz")}}, TWO[1]]))
    for check in (plan.data.check_source, plan.share):
        with pytest.raises(ConfigError, match=re.escape(f"agents: a0.data: {tmp_path / 'no.npz'} does not exist")):
            check("a0")
        with pytest.raises(ConfigError, match=re.escape("agents: a1 has no data: add data: {path: ...} to its entry")):
            check("a1")


def test_a_coordinator_is_tested_on_data_of_its_own(tmp_path):
    dataset = plans.dealt(plans.plan(MIX)).train
    save(tmp_path / "hub.npz", dataset)
    schema = {"modalities": {m: {"kind": "vector", "shape": [16]} for m in ("audio", "motion")},
              "classes": [str(k) for k in range(16)]}  # fmt: skip
    hub = {"id": "hub", "role": "coordinator"}
    with pytest.raises(ConfigError, match="agents: the coordinator hub has no data to be tested on"):
        RunPlan(own([*TWO, hub], method="fedavg", data_schema=schema)).data.check_source("hub")
    hub |= {"data": {"kind": "npz", "classes": 16, "path": str(tmp_path / "hub.npz")}}
    plan = RunPlan(own([*TWO, hub], method="creamfl", data_schema=schema))
    train, test = plan.share("hub")
    assert len(train) + len(test) == len(dataset) and train.modalities == ("audio",)
    assert len(plan.data.public_of("hub", plan.specs["hub"].modalities)) == len(train)


@pytest.mark.parametrize("scale", ["all", "own"])
@pytest.mark.parametrize("public", [{"share": 0.2}, {"dataset": "bits", "data": {"samples": 160}}])
def test_public_samples_are_those_that_the_coordinator_learns_from(scale, public):
    kinds = {m: {"kind": "vector", "shape": [16], "scale": scale} for m in ("audio", "motion")}
    schema = {"modalities": kinds, "classes": [str(k) for k in range(16)]}
    made = plans.plan(
        {"audio": 2}, method="fedmosaic", model={"network": "adapters"}, public=public, data_schema=schema
    )
    hub = made.agent_state("hub")
    assert hub.public.modalities == ("audio",), "nobody has motion, and the network of nobody reads it"
    assert torch.equal(hub.public.inputs["audio"], hub.learner.data.inputs["audio"])
    assert hub.public.inputs["audio"].mean(0).abs().max() < (1e-6 if scale == "own" else 0.5)


def test_a_modality_that_no_agent_has_is_no_part_of_what_is_learnt_from_public_samples():
    _, metrics = plans.finished(plans.plan({"audio": 2}, method="fedmosaic", model={"network": "adapters"}, rounds=1))
    assert metrics["hub"]["updates"] == 2


def test_the_path_of_a_source_says_its_kind(tmp_path):
    np.savez(tmp_path / "mine.npz", audio=np.zeros((4, 3)), y=[0, 1, 0, 1])
    assert Source({"path": tmp_path / "mine.npz"}, "here").open(0).modalities == ("audio",)
    (tmp_path / "mine.doc").touch()
    for values, said in (
        ({"path": tmp_path / "mine.doc"}, f"here: {tmp_path / 'mine.doc'}: no kind of source recognises it; say which"),
        ({}, "here: give a path, or the kind of the source: "),
        ({"path": tmp_path / "absent"}, f"here: {tmp_path / 'absent'} does not exist on this host: correct the path"),
        ({"path": tmp_path / "mine.npz", "pth": 1}, "here.pth: there is no such key here; did you mean 'path'?"),
        ({"kind": "npzz", "path": "x"}, "here.kind: there is no data set 'npzz': did you mean 'npz'?"),
    ):
        with pytest.raises(ConfigError) as caught:
            Source(values, "here").open(0)
        assert str(caught.value).startswith(said)


def test_another_source_for_one_agent_changes_that_one_alone():
    run = own([TWO[0] | {"data": {"kind": "npz", "path": "x"}}, TWO[1]])
    a0, a1 = with_source(run, "a0", {"path": "y"}).agents
    assert a0.data == {"kind": "npz", "path": "y"} and a1 == run.agents[1]
    mix = own({"mix": {"audio": 2}, "data": {"a0": {"path": "x"}}}, data={"kind": "npz"})
    changed = with_source(mix, "a1", {"path": "y"})
    assert changed.agents.data == {"a0": {"path": "x"}, "a1": {"path": "y"}} and changed.data == mix.data
    assert changed.digest() == mix.digest()
    with pytest.raises(ConfigError, match="--data: the run deals 'bits' to its agents: set dataset: own"):
        with_source(plans.plan().run, "a0", {"path": "y"})


@pytest.mark.parametrize("path", [5, True, ["x"], ""])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(ConfigError, match=re.escape(f"here.path: a path is text, not {path!r}")):
        Source({"path": path}, "here").check()


def test_a_path_that_no_file_can_have_does_not_exist():
    with pytest.raises(ConfigError, match="does not exist on this host"):
        Source({"path": "x" * 5000}, "here").open(0)


def test_what_tests_is_something_else_than_what_trains():
    own_data = {"kind": "npz", "path": "x.npz", "classes": 4}
    data = RunPlan(own([TWO[0] | {"data": own_data, "test_data": {"path": "y.npz"}}, TWO[1]])).data
    assert isinstance(data, OwnData)
    assert data.source("a0", to_test=True).values == own_data | {"path": "y.npz"}
    for same in ({}, {"path": "x.npz"}):
        with pytest.raises(ConfigError, match=r"agents: a0\.test_data says no other source than its data"):
            RunPlan(own([TWO[0] | {"data": own_data, "test_data": same}, TWO[1]]))


def test_a_path_may_be_given_when_an_agent_is_started():
    data = RunPlan(own([TWO[0] | {"data": {"kind": "npz", "target": "t"}}, TWO[1] | {"data": {"target": "t"}}])).data
    assert list(data.problems()) == []
    with pytest.raises(ConfigError, match=r"agents: a0\.data says no path: add it, or start the agent with --data"):
        data.check_source("a0")
    with pytest.raises(ConfigError, match=r"agents: a1\.data: give a path, or the kind of the source"):
        data.check_source("a1")


def test_an_agents_name_stands_in_the_path_of_all():
    data = RunPlan(own({"mix": {"audio": 2}}, data={"kind": "npz", "path": "/sites/{id}/mine.npz"})).data
    assert isinstance(data, OwnData)
    assert [str(data.source(me).path) for me in ("a0", "a1")] == ["/sites/a0/mine.npz", "/sites/a1/mine.npz"]
    assert data.source("a0", to_test=True) is None


# one set for all


def test_a_run_that_begins_knows_schema_and_fingerprint_of_its_set():
    plan = plans.plan()
    assert plan.run.data_schema == plan.schema and len(plan.run.fingerprint) == 16
    assert plans.plan().run.fingerprint == plan.run.fingerprint
    other = plans.plan(data={"samples": 321})
    assert other.run.fingerprint != plan.run.fingerprint and other.run.digest() != plan.run.digest()


def test_one_that_goes_on_opens_nothing_to_plan_and_refuses_another_copy():
    run = plans.plan().run
    nowhere = RunPlan(run.model_copy(update={"dataset": "npz", "data": {"path": "nowhere.npz"}}))
    assert nowhere.overlays(0) is not None
    with pytest.raises(ConfigError, match=r"nowhere\.npz does not exist"):
        nowhere.share("a0")
    again = RunPlan(run.model_copy(update={"fingerprint": "0" * 16}))
    with pytest.raises(ConfigError, match=f"the data set 'bits' holds other samples here .*{run.fingerprint}, there 0"):
        again.share("a0")


@pytest.mark.parametrize("change", ["input", "target", "group", "name", "row", "modality"])
def test_any_difference_makes_another_fingerprint(tmp_path, change):
    def fingerprint(audio, other, y, groups):
        np.savez(tmp_path / "mine.npz", y=y, groups=groups, audio=audio, **{other: audio})
        agents = {"mix": {"audio": 2}}
        return plans.plan(dataset="npz", data={"path": str(tmp_path / "mine.npz")}, agents=agents).run.fingerprint

    audio, y = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 4
    groups = np.arange(40) // 10
    plain = fingerprint(audio, "more", y, groups)
    assert fingerprint(audio, "more", y, groups) == plain
    changed = {
        "input": (audio + 1e-6 * (audio == audio.max()), "more", y, groups),
        "target": (audio, "more", y[::-1].copy(), groups),
        "group": (audio, "more", y, groups[::-1].copy()),
        "name": (audio, "much", y, groups),
        "row": (audio[:-1], "more", y[:-1], groups[:-1]),
        "modality": (audio[:, ::-1].copy(), "more", y, groups),
    }
    assert fingerprint(*changed[change]) != plain


def test_where_a_copy_lies_is_not_agreed_on(tmp_path):
    def digest(folder):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "mine.npz"
        np.savez(path, y=np.arange(40) % 4, audio=np.arange(120.0).reshape(40, 3))
        return plans.plan(dataset="npz", data={"path": str(path)}, agents={"mix": {"audio": 2}}).run.digest()

    assert digest("one") == digest("other")


def test_a_shared_set_is_scaled_as_its_schema_says():
    plain = plans.plan(MIX)

    def share(scale):
        schema = plain.schema.model_dump(mode="json")
        schema["modalities"]["audio"]["scale"] = scale
        plan = plans.plan(MIX, data_schema=schema)
        me = next(me for me, spec in plan.specs.items() if spec.modalities == ("audio", "motion"))
        return me, plan.share(me)

    _, raw = share("none")
    for scale in ("all", "own", {"mean": [1.0] * 16, "deviation": [2.0] * 16}):
        me, parts = share(scale)
        for part, unscaled, ordinary in zip(parts, raw, plain.share(me), strict=True):
            assert torch.equal(part.inputs["motion"], ordinary.inputs["motion"])
            assert torch.equal(part.inputs["audio"], ordinary.inputs["audio"]) == (scale == "all")
            if isinstance(scale, dict):
                assert torch.equal(part.inputs["audio"], (unscaled.inputs["audio"] - 1) / 2)
        if scale == "own":
            assert parts[0].inputs["audio"].mean(0).abs().max() < 1e-6
            assert parts[1].inputs["audio"].mean(0).abs().max() > 1e-3


def test_a_shared_set_that_does_not_fit_its_schema_is_refused():
    schema = plans.plan().schema.model_dump(mode="json")
    schema["classes"] = schema["classes"][:-1]
    with pytest.raises(ConfigError, match=re.escape("the data set 'bits': the class '15' is not in data_schema.clas")):
        plans.plan(data_schema=schema)


# what only shows once the data are there


def saved(folder, me, y, **inputs):
    np.savez(folder / f"{me}.npz", y=y, **inputs)
    return {"id": me, "modalities": ["audio"], "data": {"path": str(folder / f"{me}.npz")}}


def test_an_agent_without_samples_of_its_task_is_named(tmp_path):
    agents = [saved(tmp_path, me, ["cat"] * 12, audio=np.ones((12, 3))) | {"task": "dogs"} for me in ("a0", "a1")]
    schema = {"modalities": {"audio": {"kind": "vector", "shape": [3]}}, "classes": ["cat", "dog", "fox"]}
    plan = RunPlan(own(agents, data_schema=schema, tasks={"dogs": {"classes": [[1], [2]]}}))
    with pytest.raises(ConfigError, match="agents: a0 has no samples of its task 'dogs' to train on, or none to test"):
        plan.agent_state("a0")


def test_an_agent_that_is_to_gain_what_its_source_lacks_is_refused_before_it_begins(tmp_path):
    agents = [saved(tmp_path, me, ["cat", "dog"] * 8, audio=np.ones((16, 3))) for me in ("a0", "a1")]
    audio = {"kind": "vector", "shape": [3]}
    schema = {"modalities": {"audio": audio, "motion": audio}, "classes": ["cat", "dog"]}
    events = [{"round": 1, "agent": "a0", "gain": ["motion"]}]
    plan = RunPlan(own(agents, data_schema=schema, events=events, rounds=3))
    with pytest.raises(ConfigError, match=r"the data of a0 \(a0\.npz\): there is no modality 'motion' in it"):
        plan.agent_state("a0")
    plan.agent_state("a1")


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    source = Source({"path": tmp_path / "pipe.npz"}, "here")
    for attempt in (source.check, lambda: source.open(0)):
        with pytest.raises(
            ConfigError, match=r"here\.path: .*pipe\.npz is neither a file nor a folder: correct the path"
        ):
            attempt()
    with pytest.raises(ConfigError, match=r"data\.path: .*pipe\.npz is neither a file nor a folder"):
        plans.plan(dataset="npz", data={"path": str(tmp_path / "pipe.npz")})


def test_whose_data_cannot_be_used_is_said(tmp_path):
    agents = [saved(tmp_path, "a0", ["cat"], audio=np.ones((1, 3)))]
    agents += [saved(tmp_path, "a1", [0.5] * 9, audio=np.ones((9, 3)))]
    plan = RunPlan(own(agents))
    for me, said in (("a0", "the data of a0: the test share 0.25 of 'a0.npz' leaves no test samples"),
                     ("a1", f"the data of a1: array 'y' of {tmp_path / 'a1.npz'} is float64")):  # fmt: skip
        with pytest.raises(ConfigError) as caught:
            plan.share(me)
        assert str(caught.value).startswith(said)


def test_an_agents_own_samples_have_a_fingerprint_for_itself_alone(tmp_path):
    def fingerprint(value):
        plan = RunPlan(own([saved(tmp_path, "a0", ["cat", "dog"] * 8, audio=np.full((16, 3), value)), TWO[1]]))
        plan.share("a0")
        return plan.data.own_fingerprint("a0"), plan.run.digest()

    (one, digest), (again, _), (other, same) = fingerprint(1.0), fingerprint(1.0), fingerprint(2.0)
    assert one == again != other and digest == same
    assert plans.plan().data.own_fingerprint("a0") is None
