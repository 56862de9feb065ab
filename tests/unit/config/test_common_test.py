"""A test set that all agents have, beside what each is tested with of its own."""

from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
import yaml
from plans import finished

import parse_p2p
from parse_p2p.config import run_file
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.errors import ConfigError
from parse_p2p.data.base import Scale, fingerprint, silent
from parse_p2p.data.sources.python import samples
from parse_p2p.methods.base import advance

SCHEMA: dict[str, Any] = {
    "modalities": {"audio": {"kind": "vector", "shape": [4]}, "motion": {"kind": "vector", "shape": [3]}},
    "classes": ["0", "1"],
}
AGENTS = [
    {"id": "a0", "modalities": ["audio"], "data": {"path": "a0.npz"}},
    {"id": "a1", "modalities": ["audio", "motion"], "data": {"path": "a1.npz"}},
]


def made(n=60, shift=0.0, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    audio = rng.normal(size=(n, 4)) + 2 * y[:, None] + shift
    return {"y": y, "audio": audio.astype(np.float32), "motion": rng.normal(size=(n, 3)).astype(np.float32)}


@pytest.fixture
def study(tmp_path):
    """A run file of two agents with files of their own, and a common one; what its keys are changed to."""
    for me, shift in (("a0", 5.0), ("a1", -3.0)):
        np.savez(tmp_path / f"{me}.npz", **made(shift=shift, seed=len(me)))
    np.savez(tmp_path / "common.npz", **made(40, 1.0, 7))

    def plan(**keys):
        raw = {
            "graph": {"edges": [["a0", "a1"]]},
            "agents": AGENTS,
            "data_schema": SCHEMA,
            "rounds": 2,
            "common_test": {"path": "common.npz"},
        }
        file = tmp_path / "study.yaml"
        file.write_text(yaml.safe_dump(raw | keys))
        return RunPlan(run_file.load(file))

    return plan


@torch.no_grad()
def test_each_is_tested_with_the_common_set_scaled_as_its_own_samples(study):
    plan = study()
    for me in plan.peers:
        learner = plan.learner(me, plan.specs[me].modalities)
        common, own = samples(made(40, 1.0, 7)), plan.data.training(me, plan.specs[me].modalities)
        inputs = {m: Scale.of(own.inputs[m])(common.inputs[m]) for m in own.modalities}
        assert all(torch.equal(learner.common.inputs[m], x) for m, x in inputs.items())
        said = learner.model.eval()(inputs).logits().argmax(1)
        assert learner.evaluate()["test/accuracy-common"] == float((said == common.targets).double().mean())


def test_it_is_scaled_by_what_all_agreed_on(study):
    modalities = {m: each | {"scale": "all"} for m, each in SCHEMA["modalities"].items()}
    agents, _ = finished(study(data_schema=SCHEMA | {"modalities": modalities}))
    for agent in agents.values():
        for m, x in agent.learner.common.inputs.items():
            assert torch.equal(x, agent.agreed.scales[m](samples(made(40, 1.0, 7)).inputs[m]))


def test_a_sensor_that_breaks_has_no_numbers_of_it_either(study):
    state = study().agent_state("a1")
    state.sense = lambda round, data: silent(data, ["motion"])
    advance(state.begin(0), None)
    common = state.learner.common.inputs
    assert not common["motion"].any() and common["audio"].any()


def test_without_one_nothing_is_said_of_it(study):
    plan = study(common_test=None)
    assert plan.run.fingerprint is None and plan.run.agreed()["common_test"] is None
    assert not any("common" in name for name in plan.learner("a0", ("audio",)).evaluate())


def test_hosts_agree_on_what_is_in_it_and_not_on_where_it_lies(study, tmp_path):
    plan = study()
    assert plan.run.fingerprint == fingerprint([samples(made(40, 1.0, 7))])
    np.savez(tmp_path / "copy.npz", **made(40, 1.0, 7))
    assert study(common_test={"path": "copy.npz"}).run.digest() == plan.run.digest()
    np.savez(tmp_path / "common.npz", **made(40, 1.0, 8))
    assert study().run.digest() != plan.run.digest()
    assert study(common_test={"path": "copy.npz", "kind": "npz"}).run.digest() != plan.run.digest()  # read otherwise


def test_a_run_that_began_with_another_copy_is_not_gone_on_with(study, tmp_path):
    begun = study().run
    np.savez(tmp_path / "common.npz", **made(40, 1.0, 8))
    changed = RunPlan(begun)  # who only looks at the plan needs none of it
    with pytest.raises(ConfigError, match=r"common_test: .* holds other samples here than where the run began"):
        changed.learner("a0", ("audio",))
    (tmp_path / "common.npz").unlink()
    assert RunPlan(begun).run.fingerprint == begun.fingerprint


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"common_test": {"path": "gone.npz"}}, r"common_test: .*gone\.npz does not exist on this host"),
        ({"common_test": {"path": "common.npz", "kin": "npz"}}, r"common_test\.kin"),
        ({"stream": {"tasks": 2}}, "common_test: every task of a stream has other labels"),
        (
            {"dataset": "digits4", "data_schema": None, "agents": {"mix": {"q00": 2}}},
            r"common_test: all agents are tested with the test share of 'digits4': leave it out",
        ),
    ],
)
def test_what_cannot_be_a_common_test_set(study, keys, said):
    with pytest.raises(ConfigError, match=said):
        study(**keys)


def test_one_of_other_classes_or_shapes_is_refused_with_both_sides(study, tmp_path):
    np.savez(tmp_path / "common.npz", **made(40) | {"y": np.arange(40) % 3})
    with pytest.raises(
        ConfigError, match=r"common_test \(.*common\.npz\): the class '2' is not in data_schema\.classes"
    ):
        study().learner("a0", ("audio",))
    np.savez(tmp_path / "common.npz", **made(40) | {"audio": np.zeros((40, 5), np.float32)})
    with pytest.raises(ConfigError, match=r"'audio' is a vector of 5 features here, and a vector of 4 features in"):
        study().learner("a0", ("audio",))


def test_an_agent_with_classes_of_its_own_is_tested_with_those(study):
    tasks = {"first": {"classes": [[0], [1]]}, "one": {"classes": [[1], [0]]}}
    plan = study(tasks=tasks, agents=[AGENTS[0] | {"task": "one"}, AGENTS[1] | {"task": "first"}])
    assert plan.common("a0", ("audio",)).targets.tolist() == (1 - samples(made(40, 1.0, 7)).targets).tolist()


def test_samples_in_memory_are_a_common_test_set_too():
    graph, data = nx.path_graph(2), {0: made(shift=5.0), 1: made(shift=-3.0)}
    run = parse_p2p.run(graph, data=data, common_test=made(40, 1.0, 7), rounds=2)
    found = [row["accuracy-common"] for row in run.table()]
    assert len(found) == 4 and all(0 <= each <= 1 and (each * 40) % 1 == pytest.approx(0, abs=1e-6) for each in found)
    with pytest.raises(ConfigError, match="common_test: its samples are given for agents whose own are given too"):
        parse_p2p.run(graph, data=made(), common_test=made(), rounds=1)


def test_a_common_set_in_a_file_serves_samples_in_memory(tmp_path):
    np.savez(tmp_path / "common.npz", **made(40, 1.0, 7))
    run = parse_p2p.run(
        nx.path_graph(2), data={0: made(), 1: made()}, common_test={"path": str(tmp_path / "common.npz")}, rounds=1
    )
    assert "accuracy-common" in run.table()[0]
    by_path = parse_p2p.run(
        nx.path_graph(2), data={0: made(), 1: made()}, common_test=tmp_path / "common.npz", rounds=1
    )
    assert by_path.table() == run.table()
