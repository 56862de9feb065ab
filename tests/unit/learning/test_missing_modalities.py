"""Samples that lack a modality: nobody reads what is not there, and each branch learns from the samples it has."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plans import BOTH, dealt, differing, finished, inputs, learner, network, plan
from torch.nn.functional import cross_entropy, normalize

from parse_p2p.config.run_file import RunFile
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core import plugins
from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import Kind
from parse_p2p.data.base import Batch, Dataset, Scale, scaled
from parse_p2p.data.sets import bits
from parse_p2p.data.streams import join
from parse_p2p.learning import losses
from parse_p2p.models.base import EncoderOptions, ModelOptions, key_of
from parse_p2p.models.embedding import Embedding
from parse_p2p.models.infiltration import Infiltration, infiltrated, own

AGENTS = {"audio": 1, "motion": 1, "audio+motion": 2}
GAPS = sorted(name for name in plugins.known(plugins.METHODS) if plugins.load(plugins.METHODS, name).gaps)


def gapped(samples=160, fill=0.0):
    """Bits of which every third sample lacks audio and every fifth that has it motion; there is ``fill`` instead."""
    dataset = bits.open(bits.Options(samples=samples), 0)
    rows = torch.arange(samples)
    present = {"audio": rows % 3 != 0, "motion": (rows % 5 != 0) | (rows % 3 == 0)}
    filled = {m: torch.where(there[:, None], dataset.inputs[m], fill) for m, there in present.items()}
    return replace(dataset, inputs=filled, present=present, ceiling=None, shows=None)


def planned(method="parse", fill=0.0, agents=AGENTS, **keys):
    """A plan on such samples."""
    centralised = plugins.load(plugins.METHODS, method).centralised
    raw = {
        "graph": {"generator": "complete"},
        "agents": {"mix": agents} | ({"coordinator": "hub"} if centralised else {}),
        "method": method,
        "dataset": "given",
        "model": {"latent": 12, "hidden": 8, "encoder": {"width": 8, "depth": 1}},
        "train": {"batch": 16},
        "rounds": 2,
        "device": "cpu",
    }
    return RunPlan(RunFile.model_validate(raw | keys), samples=gapped(fill=fill))


# rows by what they have


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=12))
def test_the_parts_of_a_batch_are_its_rows_each_with_what_it_has(rows):
    present = {m: torch.tensor([row[i] for row in rows]) for i, m in enumerate("abc")}
    x = {m: torch.arange(len(rows)).float()[:, None] for m in "abc"}
    batch = Batch(x, torch.arange(len(rows)), present)
    seen = []
    for at, part in batch.parts():
        assert not part.present and part.targets.tolist() == at.tolist()
        for row in at.tolist():
            assert set(part.inputs) == {m for m in "abc" if present[m][row]}
        assert all(values[:, 0].tolist() == at.tolist() for values in part.inputs.values())
        seen += at.tolist()
    assert sorted(seen) == list(range(len(rows)))
    assert len(batch.parts()) == len(set(rows))


def test_a_batch_without_gaps_is_its_only_part():
    batch = Batch({"a": torch.ones(2, 1)}, torch.zeros(2))
    [(at, part)] = batch.parts()
    assert part is batch and torch.equal(torch.arange(2)[at], torch.arange(2))


def test_a_data_set_knows_which_samples_lack_what():
    x = {m: torch.arange(4.0)[:, None] for m in "ab"}
    present = {"a": torch.tensor([True, False, True, False]), "b": torch.tensor([True, True, False, False])}
    dataset = Dataset("d", x, torch.tensor([0, 1, 0, 1]), 2, present=present)
    assert {k: rows.tolist() for k, rows in dataset.lacking().items()} == {
        (): [0], ("a",): [1], ("b",): [2], ("a", "b"): [3]
    }  # fmt: skip
    assert dataset.having("a").flatten().tolist() == [0, 2]
    assert dataset.sensed().inputs["a"].flatten().tolist() == [0, 1, 2]
    assert dataset.whole().inputs["b"].flatten().tolist() == [0] and not dataset.whole().present
    only = dataset.select([2, 0, 1], ["b"])
    assert {m: there.tolist() for m, there in only.present.items()} == {"b": [False, True, True]}
    assert not dataset.select([0, 2], ["a"]).present  # of these samples none lacks it
    with pytest.raises(ConfigError, match="4 targets but 3 rows of 'a'"):
        replace(dataset, present={"a": torch.ones(3, dtype=torch.bool)})


def test_scales_are_those_of_what_is_there_and_what_is_not_stays_zero():
    x = torch.tensor([[1.0], [0.0], [3.0]])
    dataset = Dataset("d", {"a": x}, torch.tensor([0, 1, 0]), 2, present={"a": torch.tensor([True, False, True])})
    found = scaled(dataset, {"a": Scale.of(dataset.having("a"))})
    assert found.inputs["a"].flatten().tolist() == [-1, 0, 1]


def test_tasks_one_after_another_keep_their_gaps():
    one = gapped(6)
    other = replace(one, present={})
    assert join([one, other]).present["audio"].tolist() == [False, True, True, False, *[True] * 8]


def test_what_says_who_has_a_modality_is_looked_at():
    data = gapped(6)
    for present, said in [
        ({"smell": torch.ones(6, dtype=torch.bool)}, "says who has 'smell', of which it has no input"),
        ({"audio": torch.ones(6)}, "present of 'audio' in 'bits' has to be a bool tensor"),
        ({"audio": np.ones(6, bool)}, "present of 'audio' in 'bits' has to be a bool tensor"),
    ]:
        with pytest.raises(ConfigError, match=said):
            replace(data, present=present)


# networks


def subset(net, m):
    return net({m: inputs(BOTH)[m]})


def test_fission_says_of_one_modality_what_its_own_branches_say():
    net = network()
    whole, part = net(inputs(BOTH)), subset(net, "audio")
    assert set(part.branches) == {"redundant", "unique.audio"} and set(part.latents) == {"audio"}
    z = whole.latents["audio"]
    assert torch.equal(part.branches["redundant"], net.heads[key_of("redundant")](z[Kind.REDUNDANT]))
    assert torch.equal(part.branches["unique.audio"], whole.branches["unique.audio"])
    three = {"audio": (16,), "motion": (16,), "video": (4,)}
    wider = network(shapes=three)
    two = {m: inputs(three)[m] for m in ("audio", "video")}
    views = wider(two).views
    mean = (views["redundant.audio"] + views["redundant.video"]) / 2
    assert torch.allclose(wider(two).branches["redundant"], mean) and "synergistic" not in wider(two).branches


def test_fission_needs_a_branch_for_what_is_there():
    net = network(split=(0, 0, 1))
    with pytest.raises(ConfigError, match=r"model\.split leaves no branch to samples that have audio alone"):
        subset(net, "audio")


def test_the_other_networks_fall_back_on_the_heads_of_what_is_there():
    encoders = dict.fromkeys(BOTH, EncoderOptions())
    mono, embedding = network("monolithic"), Embedding(BOTH, 4, ModelOptions(network="embedding"), encoders)
    for net in (mono, embedding):
        whole, part = net(inputs(BOTH)), subset(net, "motion")
        assert list(whole.branches) == ["joint"] and list(part.branches) == ["unimodal.motion"]
        assert torch.equal(part.logits(), whole.views["unimodal.motion"])
    net = Infiltration(BOTH, 4, ModelOptions(network="infiltration"), encoders)
    [z] = [zs[Kind.JOINT] for zs in subset(net, "motion").latents.values()]
    expected = net.fusion(torch.cat([infiltrated(z), own(z)], 1))  # in the place of audio what infiltrates
    assert torch.equal(subset(net, "motion").logits(), expected)


# training


def test_the_loss_of_a_batch_counts_each_row_once_on_what_it_has():
    agent = learner(train={"momentum": 0, "weight_decay": 0, "lr": 0.1, "clip": 1e9})
    data = gapped(12)
    agent.data = data
    agent.options = agent.options.model_copy(update={"batch": 12})
    before = agent.buffer.values.clone()
    total = torch.zeros(())
    for row in range(12):
        had = {m: x[row : row + 1] for m, x in data.inputs.items() if data.present[m][row]}
        total = total + cross_entropy(agent.model(had).logits(), data.targets[row : row + 1])
    agent.buffer.grads.zero_()
    (total / 12).backward()
    expected = before - 0.1 * agent.buffer.grads
    agent.begin(0, 1)
    metrics = agent.train(losses.task)
    assert metrics["loss"] == pytest.approx(float(total.detach()) / 12, rel=1e-5)
    assert torch.allclose(agent.buffer.values, expected, atol=1e-6)


def test_a_branch_that_no_row_has_stays_as_it_is():
    agent = learner(train={"momentum": 0, "weight_decay": 0})
    data = gapped(30)
    agent.data = replace(data, present=data.present | {"motion": torch.zeros(30, dtype=torch.bool)}).sensed()
    before = agent.buffer.values.clone()
    agent.begin(0, 1)
    agent.train(losses.task, losses.branches(1.0))
    for name, region in agent.buffer.regions.items():
        moved = not torch.equal(agent.buffer.view(region), before[region.start : region.stop])
        assert moved == ("motion" not in name and "synergistic" not in name), name


@pytest.mark.parametrize("method", GAPS)
def test_nobody_reads_what_is_missing(method):
    """Were one number of it read, whether to train, to scale, to test or to mix, the results would not be numbers."""
    options = {"options": {"contrast": 0.5, "align": 0.5}} if method == "parse" else {}
    one, metrics = finished(planned(method, **options))
    other, _ = finished(planned(method, fill=torch.nan, **options))
    assert all(np.isfinite(list(each.values())).all() for each in metrics.values())
    # the fill of what is scaled is 0, so that nothing but 0 and NaN was there to be read
    assert differing(one, other) == []
    assert [p.learner.evaluate() for p in one.values()] == [p.learner.evaluate() for p in other.values()]


def test_all_modalities_matter_where_they_are_there():
    plain = planned()
    other = RunPlan(plain.run.model_copy(update={"fingerprint": None}), samples=replace(gapped(), present={}))
    assert differing(finished(plain)[0], finished(other)[0])


# evaluation


def test_evaluation_is_of_every_row_and_says_how_those_with_gaps_fare():
    agent = learner()
    agent.test = gapped(60)
    found = agent.evaluate()
    right = []
    for row in range(60):
        had = {m: x[row : row + 1] for m, x in agent.test.inputs.items() if agent.test.present[m][row]}
        right.append(float(agent.model(had).logits().argmax(1) == agent.test.targets[row]))
    rows = {key: at.tolist() for key, at in agent.test.lacking().items()}
    assert found["accuracy"] == pytest.approx(np.mean(right))
    assert found["test/accuracy-whole"] == pytest.approx(np.mean([right[r] for r in rows[()]]))
    assert found["test/accuracy-without-audio"] == pytest.approx(np.mean([right[r] for r in rows["audio",]]))
    assert found["test/accuracy-without-motion"] == pytest.approx(np.mean([right[r] for r in rows["motion",]]))
    assert set(found) == {
        "accuracy", "test_loss", "test/accuracy-whole", "test/accuracy-without-audio", "test/accuracy-without-motion"
    }  # fmt: skip
    alone = agent.branch_accuracy()["unique.audio"]["alone"]
    having = agent.test.select(torch.nonzero(agent.test.present["audio"]).flatten(), ["audio"])
    said = agent.model(having.inputs).branches["unique.audio"].argmax(1)
    assert alone == pytest.approx(float((said == having.targets).double().mean()))


def test_a_branch_that_no_test_sample_has_is_refused():
    agent = learner()
    agent.test = gapped(6).select([0, 3])
    with pytest.raises(ConfigError, match=r"no sample of a0 has what unique\.audio reads"):
        agent.evaluate(["unique.audio"])


# whole runs


def test_an_agent_takes_the_samples_that_have_something_it_senses():
    found = planned(agents={"audio": 2, "audio+motion": 1})
    train, test = found.share("a0")
    assert found.kind("a0") == "audio" and not train.present and not test.present
    assert float(train.inputs["audio"].abs().max(1).values.min()) > 0
    kinds = {found.kind(me): me for me in found.peers}
    train, _ = found.share(kinds["audio+motion"])
    assert set(train.present) == {"audio", "motion"}


def test_what_cannot_bear_gaps_says_so():
    with pytest.raises(ConfigError) as caught:
        planned("fedcmi").agent_state("a3")
    assert str(caught.value).startswith(
        "the method 'fedcmi' does not learn from samples that lack a modality, and of a"
    )
    assert "lack 'audio': leave them out, or take dsgd-full, " in str(caught.value) and "parse" in str(caught.value)


def test_a_network_has_to_say_that_it_reads_them(monkeypatch):
    from parse_p2p.models.fission import Fission

    monkeypatch.setattr(Fission, "reads_some", False)
    with pytest.raises(ConfigError, match=r"model\.network: 'fission' does not say that it reads samples that lack"):
        planned().agent_state("a3")


def test_an_agent_needs_samples_of_its_own_modalities():
    data = gapped()
    data = replace(data, present=data.present | {"audio": torch.zeros(160, dtype=torch.bool)})
    found = RunPlan(planned().run.model_copy(update={"fingerprint": None}), samples=data)
    me = next(me for me in found.peers if found.kind(me) == "audio")
    with pytest.raises(ConfigError, match=f"agents: of the samples dealt to {me} none has audio: deal more"):
        found.share(me)


def test_an_agent_is_tested_with_what_it_trains_with():
    data = gapped()
    nobody = replace(data, present=data.present | {"audio": torch.zeros(160, dtype=torch.bool)})
    found = RunPlan(planned().run.model_copy(update={"fingerprint": None}), samples=data)
    agents = {found.kind(me): me for me in found.peers}
    parts = dealt(found)._parts
    found.data.__dict__["_parts"] = parts._replace(test=nobody)
    with pytest.raises(ConfigError, match=f"no test sample has audio, which {agents['audio']} is to have: raise test"):
        found.share(agents["audio"])
    found.data.__dict__["_parts"] = parts._replace(train=nobody)
    with pytest.raises(ConfigError, match=f"no training sample of {agents['audio+motion']} has 'audio': leave it out"):
        found.share(agents["audio+motion"])


def test_branches_are_those_of_any_part_of_the_test_set():
    agent = learner()
    agent.test = gapped(30)
    agent.test = agent.test.select(agent.test.lacking()["audio",])
    assert set(agent.branch_accuracy()) == {"redundant", "unique.motion"}


def test_normalised_rows_are_of_length_one():  # embeddings of samples with one modality of two
    encoders = dict.fromkeys(BOTH, EncoderOptions())
    net = Embedding(BOTH, 4, ModelOptions(network="embedding"), encoders)
    [z] = [zs[Kind.JOINT] for zs in subset(net, "audio").latents.values()]
    assert torch.allclose(z, normalize(z))


def test_without_gaps_nothing_changes():
    assert set(finished(plan({"audio+motion": 2}, rounds=1))[0]["a0"].learner.evaluate()) == {"accuracy", "test_loss"}
