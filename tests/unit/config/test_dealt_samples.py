"""What a plan deals out, to whom and from whom. A sample is known by its weight, a number of its own."""

import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from parse_p2p.config.run_file import RunFile, dump, load
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import Modality
from parse_p2p.data.base import Dataset
from parse_p2p.data.sets import bits, brca, digits4, htad, watch

SETS = {
    "digits4": (digits4, {"views": "left-right"}, 3),
    "htad": (htad, {}, 2),
    "bits": (bits, {"samples": 400}, 1),
    "watch": (watch, {}, 4),
    "brca": (brca, {"views": ["mirna", "rna"]}, 1),
}
"""Each with its options, and which rows are taken of it: every one, every second …"""

QUICK = {"deadline": None, "suppress_health_check": list(HealthCheck), "phases": [Phase.generate]}
"""A plan takes long to make: one that is wrong is shown as it was drawn."""


@cache
def numbered(name):
    """Some of a data set, with the number of each sample from 1 as its weight."""
    module, values, step = SETS[name]
    try:
        found = module.open(module.Options(**values), 0)
    except ConfigError as error:
        pytest.skip(str(error))
    found = found.select(range(0, len(found), step))
    return replace(found, weights=torch.arange(1, len(found) + 1).float())


def planned(samples, agents, seed, coordinator=False, **keys):
    """A plan of agents that all have every modality."""
    kind = "+".join(samples.modalities)
    hub = {"coordinator": "hub"} if coordinator else {}
    raw = {
        "graph": {"generator": "ring"},
        "agents": {"mix": {kind: agents}} | hub,
        "method": "creamfl" if coordinator else "local",
        "model": {"latent": 4, "hidden": 4, "encoder": {"width": 4, "depth": 1}},
        "dataset": samples.name,
        "seed": seed,
        "device": "cpu",
    } | keys
    return RunPlan(RunFile.model_validate(raw), samples=samples)


def rows(part):
    """The numbers of the samples, from 0."""
    return part.weights.long() - 1


def shares(plan):
    return {me: plan.share(me)[0] for me in plan.peers}


def kept(plan):
    """The rows of the test set, which is the same for all."""
    found = [rows(plan.share(me)[1]) for me in plan.peers]
    assert all(torch.equal(each, found[0]) for each in found)
    return found[0]


def ways(samples):
    """Ways to deal and to test that a data set allows."""
    kinds = ["iid", "dirichlet"] + ["group"] * (samples.groups is not None)
    return st.fixed_dictionaries(
        {
            "seed": st.integers(0, 2**31),
            "agents": st.integers(2, 6),
            "partition": st.sampled_from(kinds).map(lambda kind: {"kind": kind, "alpha": 0.5}),
            "test": st.sampled_from([0.2, 0.3]),
            "test_by": st.sampled_from(["sample"] + ["group"] * (samples.groups is not None)),
            "public": st.sampled_from([None, {"share": 0.2}]),
        }
    )


@pytest.mark.parametrize("name", SETS)
@settings(max_examples=6, **QUICK)
@given(data=st.data())
def test_every_sample_is_dealt_once_and_whoever_is_tested_with_was_never_learnt_from(name, data):
    samples = numbered(name)
    keys = data.draw(ways(samples))
    plan = planned(samples, coordinator=keys["public"] is not None, **keys)
    mine, test = shares(plan), kept(plan)
    public = [] if keys["public"] is None else [rows(plan.data.public_of(plan.coordinator, samples.modalities))]
    everyone = [*map(rows, mine.values()), *public, test]
    assert torch.equal(torch.cat(everyone).sort().values, torch.arange(len(samples)))
    assert all(len(part) for part in everyone)
    if keys["test_by"] == "group":
        learnt = torch.cat(everyone[:-1])
        assert {*samples.groups[learnt].tolist()}.isdisjoint(samples.groups[test].tolist())
    if keys["partition"]["kind"] == "group":
        held = [{*samples.groups[rows(part)].tolist()} for part in mine.values()]
        assert sum(map(len, held)) == len(set.union(*held))
    rest = np.setdiff1d(np.arange(len(samples)), test.numpy())
    for m in samples.modalities:
        raw = samples.inputs[m].double()
        axes = [0, *range(2, raw.ndim)]
        mean, deviation = raw[rest].mean(axes, keepdim=True), raw[rest].std(axes, correction=0, keepdim=True)
        wanted = torch.where(deviation > 0, (raw - mean) / deviation, 0.0)
        for part in (*mine.values(), plan.share(plan.peers[0])[1]):
            assert torch.allclose(part.inputs[m].double(), wanted[rows(part)], atol=1e-4)
            assert torch.equal(part.targets, samples.targets[rows(part)])


@pytest.mark.parametrize("name", SETS)
@settings(max_examples=3, **QUICK)
@given(data=st.data())
def test_a_seed_deals_the_same_again_and_another_one_otherwise(name, data):
    samples = numbered(name)
    keys = data.draw(ways(samples)) | {"public": None}
    one, again, other = (
        planned(samples, **keys),
        planned(samples, **keys),
        planned(samples, **keys | {"seed": 2**31 + 1}),
    )
    dealt = [{me: rows(part).tolist() for me, part in shares(plan).items()} for plan in (one, again, other)]
    assert dealt[0] == dealt[1] and torch.equal(kept(one), kept(again))
    assert dealt[0] != dealt[2]  # by chance one agent may be dealt the same people
    # of the same samples too, where the test set does not depend on the seed
    if samples.groups is None or len(samples.groups.unique()) <= keys["agents"] + 1:
        return
    named = {"test_groups": [next(iter(samples.natural_groups))]}
    parts = [shares(planned(samples, **keys | named | {"seed": seed})) for seed in (1, 2)]
    assert any(rows(parts[0][me]).tolist() != rows(parts[1][me]).tolist() for me in one.peers)


def test_what_an_agent_chooses_its_round_or_weights_by_is_none_of_what_it_learns_from():
    samples = numbered("htad")
    stopping = {"patience": 2, "validation": 0.2}
    plan = planned(samples, 4, 3, early_stopping=stopping, method="parse", model={"weighting": "branches"})
    for me in plan.peers:
        train, test, _, validation, held = plan._divided(me, samples.modalities, *plan.share(me))
        parts = [rows(part) for part in (train, validation, held)]
        assert all(map(len, parts)) and torch.equal(rows(test), rows(plan.share(me)[1]))
        assert torch.equal(torch.cat(parts).sort().values, rows(plan.share(me)[0]).sort().values)


# named groups and official sets


def people(names=("ada", "bob", "cyd", "dan"), each=12):
    rng = torch.Generator().manual_seed(1)
    count = len(names) * each
    inputs = {Modality(m): torch.randn(count, 3, generator=rng) for m in ("audio", "motion")}
    groups = torch.arange(count) // each
    targets = torch.arange(count) % 3
    official = torch.arange(count) % 6 == 0
    weights = torch.arange(1, count + 1).float()
    return Dataset("people", inputs, targets, 3, groups, weights=weights, group_names=names, official=official)


def test_the_named_groups_are_tested_with_and_all_others_train():
    samples = people()
    plan = planned(samples, 2, 0, test_groups=["dan", "bob"], partition={"kind": "iid"})
    assert {*samples.groups[kept(plan)].tolist()} == {1, 3}
    learnt = torch.cat([rows(part) for part in shares(plan).values()])
    assert {*samples.groups[learnt].tolist()} == {0, 2} and len(learnt) + len(kept(plan)) == len(samples)


def test_groups_that_are_numbers_are_named_by_them():
    samples = replace(people(), groups=people().groups * 7 - 7, group_names=())
    plan = planned(samples, 2, 0, test_groups=[-7, 14], partition={"kind": "iid"})
    assert {*samples.groups[kept(plan)].tolist()} == {-7, 14} and plan.run.test_groups == ["-7", "14"]


def test_the_official_test_set_is_tested_with_whatever_the_seed():
    samples = people()
    for seed in (0, 1):
        plan = planned(samples, 2, seed, test="official", partition={"kind": "iid"})
        assert torch.equal(kept(plan), torch.nonzero(samples.official).flatten())


@pytest.mark.parametrize(
    ("keys", "change", "said"),
    [
        ({"test_groups": ["bbo"]}, {}, r"test_groups: .*'people' has no group 'bbo'; did you mean 'bob'"),
        ({"test_groups": ["ada", "bob", "cyd", "dan"]}, {}, r"test_groups: it names all 4 groups of 'people'"),
        ({"test_groups": ["ada"]}, {"groups": None, "group_names": ()}, r"test_groups: .*no natural groups"),
        ({"test": "official"}, {"official": None}, r"test: .*does not say which of its samples are the official"),
        ({"test": "official"}, {"official": torch.ones(48, dtype=torch.bool)}, r"test: all of the samples"),
        ({"test": "official"}, {"official": torch.zeros(48, dtype=torch.bool)}, r"test: none of the samples"),
    ],
)
def test_what_cannot_be_kept_for_testing_is_refused(keys, change, said):
    with pytest.raises(ConfigError, match=said):
        planned(replace(people(), **change), 2, 0, partition={"kind": "iid"}, **keys)


@pytest.mark.parametrize("share", [0, 1, -0.5, "offical", True, None, [0.5], float("nan")])
def test_a_share_is_between_nothing_and_all_or_the_official_one(share):
    with pytest.raises(ValidationError, match="give a share between 0 and 1, or official"):
        RunFile.model_validate({"graph": {"generator": "ring"}, "agents": {"mix": {"a": 2}}, "test": share})


def test_a_file_that_says_the_test_set_twice_is_refused_where_it_does(tmp_path):
    path = tmp_path / "two.yaml"
    path.write_text("graph: {generator: ring}\nagents: {mix: {a: 2}}\ntest: official\ntest_groups: [3, eva]\n")
    with pytest.raises(ConfigError, match=re.escape(f"{path}:4: test_groups: test: official says what is tested")):
        load(path)
    run = load(path, [("test", 0.3)])
    assert run.test_groups == ["3", "eva"] and run.test == 0.3
    again = tmp_path / "again.yaml"
    again.write_text(dump(run))
    assert load(again).digest() == run.digest() != load(path, [("test", 0.3), ("test_groups", ["eva"])]).digest()


def own(**keys):
    """Two agents with samples of their own."""
    raw = {"graph": {"generator": "ring"}, "agents": [{"id": me, "modalities": ["audio"]} for me in ("a0", "a1")],
           "method": "local", "dataset": "own", "device": "cpu"}  # fmt: skip
    return RunPlan(RunFile.model_validate(raw | keys), samples={"a0": people(), "a1": people(("ada", "eve"))})


def test_agents_with_data_of_their_own_keep_the_same_groups_or_their_official_sets():
    plan = own(test_groups=["ada"])
    assert {*rows(plan.share("a0")[1]).tolist()} == {*rows(plan.share("a1")[1]).tolist()} == {*range(12)}
    assert {*rows(plan.share("a1")[0]).tolist()} == {*range(12, 24)}
    assert rows(own(test="official").share("a1")[1]).tolist() == [0, 6, 12, 18]
    with pytest.raises(ConfigError, match=r"the data of a1: test_groups: .*no group 'bob'; .*ada, eve"):
        own(test_groups=["bob"]).share("a1")


# public samples


def private(count=60, seed=0):
    rng = torch.Generator().manual_seed(seed)
    inputs = {Modality(m): torch.randn(count, 3, generator=rng) for m in ("audio", "motion")}
    return Dataset("private", inputs, torch.arange(count) % 3, 3)


def with_public(monkeypatch, public):
    monkeypatch.setattr("parse_p2p.config.agent_data.open_named", lambda *_: public)
    return planned(private(), 2, 0, coordinator=True, public={"dataset": "another"})


def test_public_samples_that_agents_hold_or_are_tested_with_are_refused(monkeypatch):
    mine, other = private(), private(seed=9)
    assert with_public(monkeypatch, other).data.public_of("hub", ("audio",)) is not None
    for leaked in range(0, 60, 7):  # any row, whether it is trained on or tested with
        inputs = {m: x.clone() for m, x in other.inputs.items()}
        for m, x in inputs.items():
            x[3] = mine.inputs[m][leaked]
        with pytest.raises(ConfigError, match=r"public.dataset: 1 of the 60 samples of 'private' .*public: {share"):
            with_public(monkeypatch, replace(other, inputs=inputs))


def test_rows_that_are_alike_in_one_modality_or_hold_one_value_are_no_leak(monkeypatch):
    mine, other = private(), private(seed=9)
    with_public(monkeypatch, replace(other, inputs=dict(other.inputs) | {"audio": mine.inputs["audio"]}))
    black = {m: x.index_fill(0, torch.tensor([4]), 0.0) for m, x in mine.inputs.items()}
    also_black = {m: x.index_fill(0, torch.tensor([9]), 0.0) for m, x in other.inputs.items()}
    monkeypatch.setattr("parse_p2p.config.agent_data.open_named", lambda *_: replace(other, inputs=also_black))
    planned(replace(mine, inputs=black), 2, 0, coordinator=True, public={"dataset": "another"})


def test_a_set_is_no_public_set_of_itself_even_under_a_name_or_views_of_its_own():
    keys = {"data": {"views": "left-right"}, "public": {"dataset": "digits4", "data": {"views": "left-right"}}}
    raw = {"graph": {"generator": "star"}, "agents": {"mix": {"left+right": 2}, "coordinator": "hub"},
           "method": "creamfl", "dataset": "digits4", "device": "cpu"} | keys  # fmt: skip
    with pytest.raises(ConfigError, match="1797 of the 1797 samples of 'digits4' are in the agents' data"):
        RunPlan(RunFile.model_validate(raw))


def keeping(key, share):
    if key == "validation":
        return {"early_stopping": {"validation": share}}
    return {"method": "parse", "model": {"weighting": "branches", "held_out": share}}


@pytest.mark.parametrize("key", ["held_out", "validation"])
def test_agents_keep_whole_groups_where_whole_groups_are_tested_with(key):
    deal = {"partition": {"kind": "group"}, "test_by": "group", "test": 0.2}
    samples = people(("ada", "bob", "cyd", "dan", "eve"))
    one = planned(samples, 2, 0, **deal, **keeping(key, 0.3)).agent_state("a0").learner
    kept = one.held if key == "held_out" else one.validation
    assert len(kept) == 12 and len(one.data) == 12
    assert len(kept.groups.unique()) == 1 and not torch.isin(kept.groups, one.data.groups).any()
    said = rf"{key}: 0\.3 leaves agent a0, which has 1 group of training samples, none .*; take a share nearer"
    with pytest.raises(ConfigError, match=said):
        planned(samples, 4, 0, **deal, **keeping(key, 0.3)).agent_state("a0")
    with pytest.raises(
        ConfigError, match=rf"{key}: 0\.9 leaves agent a0, which has 2 groups .*, none to train on or to"
    ):
        planned(samples, 2, 0, **deal, **keeping(key, 0.9)).agent_state("a0")
    with pytest.raises(ConfigError, match=rf"{key}: 0\.001 leaves agent a0, which has \d+ training samples, none"):
        planned(samples, 4, 0, **keeping(key, 0.001)).agent_state("a0")
