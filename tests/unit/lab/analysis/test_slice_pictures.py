"""Slices in two dimensions: what is drawn of whom, by principal components computed apart, and why there is nothing."""

from types import SimpleNamespace

import numpy as np
import plans
import pytest
import torch

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.rng import seeded
from parse_p2p.lab.analysis import load_checkpoints
from parse_p2p.lab.analysis.slice_pictures import SAMPLES, pictures, projected
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.runtime import checkpoint
from parse_p2p.runtime.simulator import simulate

MIX = {"audio": 1, "motion": 1, "audio+motion": 2}


def left(path, checkpoints=True, **changes):
    """The folder of a run of two rounds, and its agents as they ended."""
    plan = plans.plan(MIX, **{"rounds": 2} | changes)
    folder = RunFolder(path)
    folder.write(plan.run)
    people = plan.agent_states()
    simulate(people, 2)
    for p in people if checkpoints else ():
        if p.me in plan.peers:
            checkpoint.save(folder.checkpoints(p.me), 2, p.state(), 1)
    return folder, {p.me: p for p in people}


def test_each_slice_is_drawn_and_redundant_ones_of_all_modalities_together(tmp_path):
    folder, people = left(tmp_path)
    found = pictures(folder)
    both = next(me for me, p in people.items() if len(p.learner.holder.modalities) > 1)
    one = next(me for me, p in people.items() if p.learner.holder.modalities in (("audio",), ("motion",)))
    alone = people[one].learner.holder.modalities[0]
    assert found["why"] == "" and found["classes"] == [str(i) for i in range(16)]
    drawn = [(p["agent"], p["type"], p["round"], p["slice"], list(p["points"])) for p in found["panels"]]
    assert drawn == [
        (both, "audio+motion", 2, "redundant", ["audio", "motion"]),
        (both, "audio+motion", 2, "unique", ["audio"]),
        (both, "audio+motion", 2, "unique", ["motion"]),
        (both, "audio+motion", 2, "synergistic", ["audio"]),
        (both, "audio+motion", 2, "synergistic", ["motion"]),
        (one, alone, 2, "redundant", [alone]),
        (one, alone, 2, "unique", [alone]),
    ]
    test = people[both].learner.test
    assert len(test) <= SAMPLES and found["panels"][0]["labels"] == test.targets.tolist()
    latents = people[both].learner.outputs(test).latents
    points, explained = projected({m: zs["redundant"].double().numpy() for m, zs in latents.items()})
    assert found["panels"][0]["points"] == points and found["panels"][0]["explained"] == explained
    assert pictures(folder) == found, "nothing is drawn by chance"


def test_the_projection_is_on_the_principal_components_of_both():
    x, y = (seeded(name) for name in "xy")
    one, other = (torch.randn(30, 5, generator=g).double().numpy() * [9, 5, 1, 1, 1] for g in (x, y))
    points, explained = projected({"a": one, "b": other + 3})
    stacked = np.concatenate([one, other + 3])
    _, sizes, axes = np.linalg.svd(stacked - stacked.mean(0), full_matrices=False)
    wanted = (stacked - stacked.mean(0)) @ axes[:2].T
    got = np.concatenate([np.array(points["a"]).T, np.array(points["b"]).T])
    np.testing.assert_allclose(np.abs(got), np.abs(wanted), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(got @ got.T, wanted @ wanted.T, rtol=1e-2, atol=1e-1)  # each axis has one sign for all
    assert explained == pytest.approx((sizes**2 / (sizes**2).sum())[:2], abs=1e-3)


def test_one_number_and_none_that_varies_are_drawn_too():
    points, explained = projected({"a": np.array([[1.0], [2.0], [6.0]])})
    assert sorted(map(abs, points["a"][0])) == [1, 2, 3] and points["a"][1] == [0, 0, 0] and explained == [1, 0]
    assert projected({"a": np.full((3, 4), 7.0)}) == ({"a": [[0, 0, 0], [0, 0, 0]]}, [0, 0])


@pytest.mark.parametrize("wrong", [np.inf, np.nan])
def test_latents_that_are_not_finite_are_named_and_not_drawn(tmp_path, monkeypatch, wrong):
    with pytest.raises(ConfigError, match="latents are not finite"):
        projected({"a": np.array([[1.0, 2.0], [wrong, 3.0], [0.0, 1.0]])})
    folder, _ = left(tmp_path)
    plain = load_checkpoints.learner

    def broken(*of):
        learner = plain(*of)
        learner.buffer.values.data.fill_(wrong)
        return learner

    monkeypatch.setattr(load_checkpoints, "learner", broken)
    found = pictures(folder)
    assert "latents are not finite" in found["why"] and found["panels"] == []


class Broken:
    """In place of a folder: what opening it gives, or raises."""

    def __init__(self, found):
        self.found = found

    def open(self):
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


def test_where_there_is_nothing_it_says_why(tmp_path):
    task = SimpleNamespace(schema=SimpleNamespace(task="regression", solved=SimpleNamespace(one_class=False)))
    for folder, why in (
        (left(tmp_path, checkpoints=False)[0], "no checkpoint"),
        (Broken(task), "the task of this run is regression"),
        (Broken(ConfigError("there is no file x.csv")), "there is no file x.csv"),
    ):
        found = pictures(folder)
        assert why in found["why"] and found["panels"] == [] and found["classes"] == []


def test_a_network_without_slices_has_its_latents_drawn(tmp_path):
    folder, _ = left(tmp_path, method="dsgd-task", model={"network": "monolithic"})
    assert {panel["slice"] for panel in pictures(folder)["panels"]} == {"joint"}
