"""Modalities that look as usual count in full, to the bit; others by a closed form, in every place that predicts."""

import json
from dataclasses import replace
from math import isclose

import numpy as np
import plans
import pytest
import running
import torch
from trained import NETWORKS, asked, recorded

import parse_p2p
from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import Kind, Modality
from parse_p2p.data import samples
from parse_p2p.data.tasks.regression import Regression
from parse_p2p.models.base import Outputs
from parse_p2p.models.fission import Fission
from parse_p2p.models.weighting.base import MOST, Weigher, joined, probed, weigh
from parse_p2p.models.weighting.reliability import FURTHEST, Reliability, Reliable
from parse_p2p.serving import exported, onnx
from parse_p2p.serving.evaluation import evaluate

RELIABILITY = {"weighting": "reliability"}
AS_LARGE = {"norm": "none"}
"""Of the encoder: what is 50 deviations off stays so in latents, which a norm would bring back."""
AUDIO, MOTION, SMELL = map(Modality, ("audio", "motion", "smell"))
SHAPES = {AUDIO: (3,), MOTION: (4,), SMELL: (5,)}


class Fixed(Weigher):
    """Weights that somebody else says."""

    def __init__(self, **weights):
        super().__init__()
        self.given = weights

    def weights(self, network, latents):
        return {m: torch.tensor(self.given[m]) for m in latents}


def far(inputs, modality, by=50.0):
    return {**inputs, modality: inputs[modality] + by}


def taught(**options):
    """A reliability that has learnt from 200 samples of audio and motion, and those samples."""
    weigher = Reliability(**options).weigher({AUDIO: 6, MOTION: 3})
    draw = torch.Generator().manual_seed(0)
    seen = {AUDIO: 2 + 3 * torch.randn(200, 6, generator=draw), MOTION: torch.randn(200, 3, generator=draw) ** 3}
    weigher.learn(seen)
    return weigher, seen


def of(weigher, **latents):
    return weigher.weights(None, {Modality(m): {Kind.JOINT: torch.as_tensor(x)} for m, x in latents.items()})


# what is usual


def test_the_statistics_are_those_of_numpy():
    weigher, seen = taught(quantile=0.95)
    for m, x in seen.items():
        usual, wanted = weigher._of(m), x.double().numpy()
        np.testing.assert_allclose(usual.mean, wanted.mean(0), rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(1 / usual.factor, wanted.std(0), rtol=1e-6)
        squares = np.sort((((wanted - wanted.mean(0)) / wanted.std(0)) ** 2).mean(1))
        assert isclose(usual.limit, squares[int(np.ceil(0.95 * 201)) - 1], rel_tol=1e-5)
        assert (usual.excess(x) == 1).sum() == int(np.ceil(0.95 * 201)), "as many as the quantile says count in full"


def test_beside_a_large_offset_deviations_are_found_all_the_same():
    weigher = Reliability().weigher({AUDIO: 2})
    x = 1e4 + 0.01 * torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))
    weigher.learn({AUDIO: x})
    np.testing.assert_allclose(1 / weigher._of(AUDIO).factor, x.double().numpy().std(0), rtol=1e-6)


def test_of_few_samples_the_most_unusual_one_is_the_limit():
    weigher = Reliability().weigher({AUDIO: 1})
    weigher.learn({AUDIO: torch.tensor([[0.0]] * 8 + [[3.0]])})
    mean, variance = 1 / 3, 8 / 9
    assert isclose(weigher._of(AUDIO).limit, (3 - mean) ** 2 / variance, rel_tol=1e-6)


def test_what_is_constant_is_no_measure_and_nothing_learnt_weighs_nothing():
    weigher = Reliability().weigher({AUDIO: 2, MOTION: 2})
    before = of(weigher, audio=[[1e9, 0.0]], motion=[[0.0, 0.0]])
    assert before[AUDIO] == before[MOTION] == 1
    x = torch.tensor([[0.0, 7.0], [2.0, 7.0]])
    weigher.learn({AUDIO: x, MOTION: torch.ones(2, 2)})
    assert weigher._of(AUDIO).factor.tolist() == [1, 0] and weigher._of(MOTION).factor.tolist() == [0, 0]
    assert of(weigher, audio=x, motion=[[5.0, 5.0]] * 2)[AUDIO].tolist() == [1, 1]


# weights


def test_weights_fall_with_the_distance_as_the_closed_form_says():
    weigher = Reliability(falloff=3).weigher({AUDIO: 1, MOTION: 1})
    for m in (AUDIO, MOTION):
        weigher.learn({m: torch.tensor([[-1.0], [1.0]])})  # mean 0, deviation 1, limit 1
    said = of(weigher, audio=[[0.5], [2.0], [2.0], [0.0]], motion=[[0.0], [1.0], [4.0], [-3.0]])
    np.testing.assert_allclose(said[AUDIO], [1, (1 / 4) ** 3, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(said[MOTION], [1, 1, (4 / 16) ** 3, (1 / 9) ** 3], rtol=1e-6)


@pytest.mark.parametrize("value", [1e10, 3e38])
def test_however_far_off_all_are_one_counts_in_full_and_none_is_no_number(value):
    weigher, _ = taught()
    said = of(weigher, audio=torch.full((1, 6), value), motion=torch.full((1, 3), 1e20))
    assert max(said.values()) == 1 and all(0 < w <= 1 for w in said.values())
    [alone] = of(weigher, audio=torch.full((1, 6), value)).values()
    assert alone == 1 and FURTHEST < 3e38


# predictions


def test_a_prediction_is_the_mean_over_what_is_kept():
    network = plans.network(shapes=SHAPES).eval()
    x = plans.inputs(SHAPES, count=2)
    weights = {AUDIO: [1.0, 0.5], MOTION: [1.0, 1.0], SMELL: [1.0, 0.2]}
    outputs = network(x)
    network.weighting = Fixed(**weights)
    whole, weighed = outputs.logits(), network.prediction(outputs)
    assert torch.equal(weighed[0], whole[0])

    def without(*missing):
        return network({m: v for m, v in x.items() if m not in missing}).logits()[1]

    expected = 0.1 * whole[1] + 0.4 * without(SMELL) + 0.1 * without(AUDIO) + 0.4 * without(AUDIO, SMELL)
    torch.testing.assert_close(weighed[1], expected)


def test_a_weight_of_0_is_a_modality_that_is_missing_and_numbers_stay_numbers():
    network = plans.network("monolithic").eval()
    x = plans.inputs(plans.BOTH)
    network.weighting = Fixed(audio=[0.0] * 5, motion=[1.0] * 5)
    outputs = network(x)
    torch.testing.assert_close(network.prediction(outputs), network({MOTION: x[MOTION]}).logits())
    alone = network({AUDIO: x[AUDIO]})
    assert torch.equal(network.prediction(alone), alone.logits()), "there is nothing else to go by"
    said = Outputs({"a": torch.ones(5, 1), "b": 3 * torch.ones(5, 1)}, outputs.latents)
    network.read = lambda latents: Outputs({"a": torch.zeros(5, 1), "b": 6 * torch.ones(5, 1)}, latents)
    network.weighting = Fixed(audio=[0.5] * 5, motion=[1.0] * 5)
    assert network.prediction(said, Regression()).flatten().tolist() == [0.5 * 2 + 0.5 * 3] * 5


# runs


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run with reliability, its plan, and its agents as they ended."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, *recorded(folder, model=RELIABILITY)


def test_training_is_as_without_it_and_so_are_usual_samples(run):
    _, _, agents = run
    plain, _ = plans.finished(plans.plan({"audio": 1, "audio+motion": 2}, rounds=2, data={"samples": 160}))
    touched = 0
    for me, agent in agents.items():
        mine, network = agent.learner, agent.learner.model
        assert torch.equal(mine.buffer.values, plain[me].learner.buffer.values)
        outputs = mine.outputs(mine.test)
        logits, weighed = outputs.logits(), network.prediction(outputs).detach()
        if network.weighting is None:
            assert len(network.modalities) == 1 and torch.equal(logits, weighed)
            continue
        excess = [network.weighting._of(m).excess(z) for m, z in joined(outputs.latents).items()]
        usual = torch.stack(excess).amax(0) == 1
        assert torch.equal(logits[usual], weighed[usual])
        said = {"all": weighed, "each": logits}
        loss = {name: mine.test.task.loss(each, mine.test.targets) for name, each in said.items()}
        assert isclose(mine.evaluate()["test_loss"], loss["all"], rel_tol=1e-6) and loss["all"] != loss["each"]
        assert isclose(mine.evaluate(outputs.branches)["test_loss"], loss["each"], rel_tol=1e-6), "as they are"
        touched += int((logits != weighed).any(1).sum())
        assert 0.8 < usual.double().mean() < 1 and bool((logits[~usual] != weighed[~usual]).any(1).all())
    assert touched


def test_what_is_usual_is_learnt_from_the_training_samples_as_the_last_round_left_the_network(run):
    _, _, agents = run
    mine = agents["a2"].learner
    seen = joined(mine.outputs(mine.data).latents)
    for m, z in seen.items():
        np.testing.assert_allclose(mine.model.weighting._of(m).mean, z.double().mean(0), rtol=1e-5, atol=1e-6)
        assert (mine.model.weighting._of(m).excess(z) == 1).double().mean() >= 0.99


def test_processes_and_a_resumed_run_end_as_the_simulator_does(tmp_path):
    made = running.plan(model=RELIABILITY)
    states = running.simulated(made)
    assert any(name.startswith("buffer/weighting.") for state in states.values() for name in state)
    assert running.differing(running.over_memory(made, tmp_path), states) == []
    first, second = plans.plan(model=RELIABILITY).agent_states(), plans.plan(model=RELIABILITY).agent_states()
    plans.simulate(first, 2)
    for old, new in zip(first, second, strict=True):
        new.restore(old.state())
    plans.simulate(second, 4, start=2)
    plans.simulate(first, 4, start=2)
    for old, new in zip(first, second, strict=True):
        assert running.differing({"a": old.state()}, {"a": new.state()}) == []
        assert old.learner.evaluate() == new.learner.evaluate()


def test_a_broken_sensor_does_not_become_what_is_usual():
    made = plans.plan(
        {"audio+motion": 2},
        model=RELIABILITY,
        faults=[{"kind": "sensor", "agents": ["a0"], "modality": "audio", "round": 1}],
    )
    broken, whole = made.agent_states()
    plans.simulate([broken, whole], 1)
    before = {me: x.clone() for me, x in broken.learner.model.changing_buffers().items()}
    plans.simulate([broken, whole], 2, start=1)
    assert broken.failed == (AUDIO,)
    for name, x in broken.learner.model.changing_buffers().items():
        assert torch.equal(x, before[name]) == ("audio" in name), name


def test_samples_that_lack_a_modality_are_learnt_from_and_weighed():
    mine = plans.learner(model=RELIABILITY)
    there = torch.arange(len(mine.data)) % 3 > 0
    inputs = {**mine.data.inputs, AUDIO: torch.where(there[:, None], mine.data.inputs[AUDIO], 1e6)}
    mine.data = replace(mine.data, inputs=inputs, present={AUDIO: there})
    mine.learn_weights()
    seen = joined(mine.model({AUDIO: inputs[AUDIO][there]}).latents)[AUDIO]
    np.testing.assert_allclose(mine.model.weighting._of(AUDIO).mean, seen.detach().mean(0), rtol=1e-4, atol=1e-5)
    mine.test = replace(mine.test, present={AUDIO: torch.arange(len(mine.test)) % 2 > 0})
    assert 0 <= mine.evaluate()["accuracy"] <= 1


def test_tokens_are_weighed_beside_numbers():
    kinds = {"words": 1 + torch.arange(60)[:, None] % 2 * torch.ones(1, 5, dtype=torch.int64), "x": torch.zeros(60, 3)}
    said = samples({**kinds, "y": torch.arange(60) % 2}, tokens={"words": {"vocabulary": 4}})
    run = parse_p2p.run("ring:2", {"words+x": 2}, data=said, rounds=1, model={"encoder": {"width": 4}, **RELIABILITY})
    for state in plans.finished(run.plan)[0].values():
        assert state.learner.model.weighting._of(Modality("words")).mean.isfinite().all()


# wherever a model goes


@pytest.mark.parametrize("network", NETWORKS)
def test_a_model_of_every_network_predicts_alike_wherever_it_is(tmp_path, network):
    safetensors = pytest.importorskip("safetensors.torch")
    options = NETWORKS[network]
    model = {**options.get("model", {}), **RELIABILITY}
    plan, agents = recorded(tmp_path / "run", **{**options, "model": model}, rounds=1, encoder=AS_LARGE)
    mine, x = agents["a2"].learner, far(asked(plan, "a2"), AUDIO)
    scaled = {m: v for m, v in parse_p2p.load(tmp_path / "run", "a2").scaled(x).items()}
    outputs = mine.model.eval()(scaled)
    expected = mine.model.prediction(outputs)
    assert not torch.allclose(expected, outputs.logits(), atol=1e-3)
    loaded = parse_p2p.load(tmp_path / "run", "a2")
    assert torch.equal(loaded.predict(x), expected.detach().softmax(1))
    exported.write(loaded, exported.fresh(tmp_path / "a2"))
    assert "weighting.usual.m·audio.limit" in safetensors.load((tmp_path / "a2" / exported.TENSORS).read_bytes())
    again = parse_p2p.load(tmp_path / "a2")
    assert torch.equal(again.predict(x), loaded.predict(x))
    found = evaluate(again, replace(plans.dealt(plan)._opened, ceiling=None, shows=None), "it")
    assert found.rows == 160


@pytest.mark.parametrize("network", ["fission", "monolithic"])
def test_an_onnx_graph_weighs_likewise(tmp_path, network):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    options = {**NETWORKS[network], "model": {"network": network, **RELIABILITY}}
    plan, _ = recorded(tmp_path, **options, rounds=1, encoder=AS_LARGE)
    model, usual = parse_p2p.load(tmp_path, "a2"), asked(plan, "a2")
    onnx.write(model, tmp_path)
    session = runtime.InferenceSession(tmp_path / onnx.FILE)
    for x in (usual, far(usual, AUDIO), far(far(usual, MOTION, 1e6), AUDIO)):
        (said,) = session.run([model.task.output], {m: each.numpy() for m, each in x.items()})
        assert np.allclose(said, model.predict(x), rtol=0, atol=1e-5)
    plain = model.network(model.scaled(far(usual, AUDIO))).logits().softmax(1)
    assert not torch.allclose(plain, model.predict(far(usual, AUDIO)), atol=1e-3)


def test_an_exported_folder_runs_no_weighting_that_is_not_trusted(tmp_path, run):
    pytest.importorskip("safetensors.torch")
    exported.write(parse_p2p.load(run[0], "a2"), exported.fresh(tmp_path / "a2"))
    path = tmp_path / "a2" / exported.CONFIG
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "model": {**config["model"], "weighting": "antigravity.fly"}}))
    with pytest.raises(ConfigError, match=r"names 'antigravity\.fly', which would be run"):
        parse_p2p.load(tmp_path / "a2")


@pytest.mark.parametrize("training", [True, False])
def test_a_network_that_is_looked_at_stays_as_it_is(training):
    network, seen = plans.network(), []
    network.register_forward_hook(lambda module, inputs, said: seen.append((module.training, torch.is_grad_enabled())))
    network.train(training)
    shapes = {kind: x.shape for kind, x in probed(network, plans.BOTH).latents[AUDIO].items()}
    assert network.training is training and seen == [(False, False)] and shapes[Kind.REDUNDANT] == (2, 16)


# what is refused


def test_what_cannot_be_weighed_is_refused_in_a_sentence():
    class Whole(Fission):
        reads_some = False

    class Mute(Fission):
        def forward(self, inputs):
            return Outputs(super().forward(inputs).branches)

    network = plans.network()
    network.__class__ = Whole
    with pytest.raises(ConfigError, match="a Whole reads all of its modalities at once; take weighting: none"):
        weigh(network, plans.BOTH, "reliability", Reliability())
    network.__class__ = Mute
    with pytest.raises(ConfigError, match="a Mute gives none of 'audio'; take weighting: none"):
        weigh(network, plans.BOTH, "reliability", Reliability())
    with pytest.raises(ConfigError, match="leaves no branch to samples that have audio alone"):
        weigh(plans.network(split=(0, 0, 1)), plans.BOTH, "reliability", Reliability())
    many = {Modality(f"m{i}"): (2,) for i in range(MOST + 1)}
    with pytest.raises(ConfigError, match="weighs up to 8 modalities, and an agent has 9"):
        weigh(plans.network(shapes=many), many, "reliability", Reliability())
    assert weigh(plans.network(shapes={AUDIO: (3,)}), {AUDIO: (3,)}, "reliability", Reliability()).weighting is None
    assert isinstance(weigh(plans.network(), plans.BOTH, "reliability", Reliability()).weighting, Reliable)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            {"weighting": "reliabilty"},
            "model.weighting: there is no weighting 'reliabilty': did you mean 'reliability'",
        ),
        ({**RELIABILITY, "quantile": 0}, "model.quantile: "),
        ({**RELIABILITY, "split": [0, 0, 1]}, "no branch to samples that have audio alone; take weighting: none"),
        ({**RELIABILITY, "falloff": -1}, "model.falloff: "),
        ({**RELIABILITY, "falof": 1}, "model.falof: there is no such key here; did you mean 'falloff'"),
    ],
)
def test_wrong_options_are_refused_by_their_key(agent, tmp_path, model, said):
    path = tmp_path / "run.yaml"
    raw = {"graph": {"generator": "ring"}, "agents": {"mix": {"audio+motion": 3}}, "dataset": "bits", "model": model}
    path.write_text(json.dumps(raw))
    code, _, err = agent("check", path)
    assert code == 2 and said in err and "Traceback" not in err
