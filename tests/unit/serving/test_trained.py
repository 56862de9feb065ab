"""A loaded model says what its agent said, to the last bit, of samples as they were measured; and refuses others."""

import shutil
import warnings

import numpy as np
import own_modules
import plans
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from trained import NETWORKS, asked, measured, recorded, scaled_by

import parse_p2p
from parse_p2p.config.agent_data import SharedData
from parse_p2p.config.source import Source
from parse_p2p.core import plugins
from parse_p2p.core.errors import ConfigError
from parse_p2p.data.sets import bits
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.runtime import checkpoint
from parse_p2p.serving import trained

METHODS = plugins.known(plugins.METHODS)
GIVEN = {"mean": [0.25] * 16, "deviation": [0.5] * 15 + [0]}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run of three agents, its plan, and its agents as they ended."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, *recorded(folder)


@pytest.fixture(scope="module")
def model(run):
    return parse_p2p.load(run[0], "a2")


def inputs(model, rows=5, seed=0):
    rng = np.random.default_rng(seed)
    return {m: rng.normal(size=(rows, *shape)).astype(np.float32) for m, shape in model.modalities.items()}


def says_the_same(folder, plan, agents):
    for me, agent in agents.items():
        logits = agent.learner.outputs(agent.learner.test).logits()
        loaded = parse_p2p.load(folder, me)
        assert torch.equal(loaded.predict(asked(plan, me)), logits.softmax(1)), me
        assert loaded.round == plan.run.rounds


def test_another_frozen_trunk_is_not_taken_for_the_one_it_learnt_on(tmp_path):
    path = tmp_path / "w.pt"
    torch.save(own_modules.Normed().state_dict(), path)
    encoder = {"kind": "own_modules:Normed", "frozen": True, "weights": str(path)}
    recorded(tmp_path / "run", model={"encoder": encoder})
    assert parse_p2p.load(tmp_path / "run", "a0").round == 2
    torch.save(own_modules.Normed().state_dict(), path)
    with pytest.raises(ConfigError, match="the frozen trunk of a0 is not the one it was trained on"):
        parse_p2p.load(tmp_path / "run", "a0")


def test_what_is_asked_is_not_changed_and_no_number_is_no_answer(tmp_path):
    plan, _ = recorded(tmp_path / "run")
    recorded(
        tmp_path / "none",
        model={"encoder": {"kind": "own_modules:Changing"}},
        data_schema=scaled_by(plan, "none"),
        mix={"audio": 2},
    )
    model = parse_p2p.load(tmp_path / "none", "a0")
    x = torch.ones(2, 16)
    assert torch.equal(model.predict({"audio": x}), model.predict({"audio": x})) and torch.equal(x, torch.ones(2, 16))
    with pytest.raises(ConfigError, match="no number for some rows, whose values are too large"):
        model.predict({"audio": torch.full((2, 16), 3e38)})


# what is loaded


@pytest.mark.parametrize("method", METHODS)
def test_every_methods_agents_say_what_they_said(tmp_path, method):
    says_the_same(tmp_path, *recorded(tmp_path, method=method, rounds=1))


@pytest.mark.parametrize("scale", ["own", "all", "none", GIVEN], ids=["own", "all", "none", "given"])
def test_inputs_are_scaled_as_the_agents_own_were(tmp_path, scale):
    schema = scaled_by(plans.plan(data={"samples": 160}), scale)
    plan, agents = recorded(tmp_path, data_schema=schema, rounds=1)
    says_the_same(tmp_path, plan, agents)
    for me, agent in agents.items():
        scaled = parse_p2p.load(tmp_path, me).scaled(asked(plan, me))
        assert all(torch.equal(scaled[m], x) for m, x in agent.learner.test.inputs.items())


def test_classes_of_an_agent_with_a_task_of_its_own_are_named_by_it(tmp_path):
    tasks = {"few": {"classes": [[0, 1], [2]]}, "many": {"classes": [[0], [1], [2], [3]]}}
    entries = [{"id": me, "modalities": ["audio"], "task": task} for me, task in (("a0", "few"), ("a1", "many"))]
    recorded(tmp_path, tasks=tasks, agents=entries)
    assert parse_p2p.load(tmp_path, "a0").classes == ("0+1", "2")
    assert parse_p2p.load(tmp_path, "a1").predict({"audio": np.zeros((3, 16))}).shape == (3, 4)


def test_a_model_has_the_modalities_that_the_agent_had_then(tmp_path):
    plan, agents = recorded(tmp_path, events=[{"round": 1, "agent": "a1", "gain": ["motion"]}])
    assert plan.specs["a1"].modalities == ("audio",)
    assert tuple(parse_p2p.load(tmp_path, "a1").modalities) == ("audio", "motion")
    says_the_same(tmp_path, plan, agents)


def test_frozen_parts_which_no_checkpoint_holds_are_as_they_began(tmp_path):
    says_the_same(tmp_path, *recorded(tmp_path, encoder={"frozen": True}))


def test_the_round_that_is_asked_for(tmp_path):
    _, agents = recorded(tmp_path, rounds=2)
    folder, state = RunFolder(tmp_path), agents["a1"].state()
    checkpoint.save(folder.checkpoints("a1"), 1, state | {"parameters": torch.zeros_like(state["parameters"])}, 9)
    early, late = parse_p2p.load(tmp_path, "a1", 1), parse_p2p.load(tmp_path, "a1")
    x = {"audio": np.ones((1, 16))}
    assert (early.round, late.round) == (1, 2) and np.ptp(early.predict(x)) == 0 < np.ptp(late.predict(x))


def test_neither_data_nor_the_host_is_needed(tmp_path, monkeypatch):
    recorded(tmp_path / "here", mix={"audio": 2})
    (tmp_path / "there/agents/a1").mkdir(parents=True)
    shutil.copy(tmp_path / "here/run.yaml", tmp_path / "there")
    shutil.copytree(tmp_path / "here/agents/a1", tmp_path / "there/agents/a1", dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "here")

    def opened(*_):
        raise AssertionError("data were opened")

    monkeypatch.setattr(SharedData, "_opened", property(opened))
    monkeypatch.setattr(Source, "open", opened)
    assert parse_p2p.load(tmp_path / "there", "a1").predict({"audio": np.zeros((1, 16))}).shape == (1, 16)


# what is asked


def test_arrays_come_back_for_arrays_and_tensors_for_tensors(model):
    x = inputs(model)
    said = model.predict(x)
    tensors = model.predict({m: torch.from_numpy(each).requires_grad_() for m, each in x.items()})
    assert isinstance(said, np.ndarray) and said.dtype == np.float32 and said.shape == (5, 16)
    assert isinstance(tensors, torch.Tensor) and not tensors.requires_grad and np.array_equal(said, tensors.numpy())
    assert np.allclose(said.sum(1), 1, atol=1e-6)
    assert model.labels(x) == [model.classes[k] for k in said.argmax(1)]


@given(kind=st.sampled_from(["f8", "f2", "i8", "u1", "?", ">f4"]), tensor=st.booleans())
def test_numbers_of_any_type_count_as_float32(model, kind, tensor):
    x = {m: (np.abs(each) > 0.5).astype(kind) for m, each in inputs(model).items()}
    wanted = model.predict({m: each.astype(np.float32) for m, each in x.items()})
    tensors = tensor and kind != ">f4"  # which torch does not know
    said = model.predict({m: torch.from_numpy(each) for m, each in x.items()} if tensors else x)
    assert np.array_equal(wanted, np.asarray(said))


def test_many_rows_are_read_batch_by_batch(model, monkeypatch):
    x, read = inputs(model, rows=10), []
    whole = model.predict(x)
    hook = model.network.register_forward_hook(lambda _, given, __: read.append(len(given[0]["audio"])))
    monkeypatch.setattr(trained, "EVALUATION_BATCH", 4)
    assert np.allclose(model.predict(x), whole, atol=1e-6) and read == [4, 4, 2]
    hook.remove()


def test_no_rows_are_no_probabilities(model):
    assert model.predict(inputs(model, rows=0)).shape == (0, 16)


def test_the_module_is_there_and_is_not_trained(model):
    said = model.network(model.scaled({m: torch.from_numpy(x) for m, x in inputs(model).items()})).logits()
    assert not said.requires_grad and np.array_equal(said.softmax(1).numpy(), model.predict(inputs(model)))


def by_row(model, x):
    """What the network says of one row that has just these modalities."""
    return model.network(model.scaled({m: torch.from_numpy(each)[None] for m, each in x.items()})).logits().softmax(1)


@pytest.mark.parametrize("network", NETWORKS)
def test_any_of_its_modalities_are_enough(tmp_path, network):
    recorded(tmp_path, **NETWORKS[network], rounds=1)
    model = parse_p2p.load(tmp_path, "a2")
    x = inputs(model)
    for m, alone in x.items():
        said = model.predict({m: alone})
        assert said.shape == (5, 16) and np.abs(said - model.predict(x)).max() > 1e-6
        assert np.allclose(said, torch.cat([by_row(model, {m: row}) for row in alone]), atol=1e-6)


def test_rows_that_lack_a_modality_are_read_through_the_others(model):
    x = inputs(model)
    has = {"audio": np.array([1, 0, 1, 1, 0], bool), "motion": np.array([1, 1, 0, 1, 1], bool)}
    gaps = {m: np.where(has[m][:, None], each, np.nan).astype(np.float32) for m, each in x.items()}
    said = model.predict(gaps, has)
    for k in range(5):
        alone = by_row(model, {m: x[m][k] for m in x if has[m][k]})
        assert np.allclose(said[k], alone, atol=1e-6), k
    tensors = model.predict(*({m: torch.from_numpy(v) for m, v in each.items()} for each in (gaps, has)))
    assert np.array_equal(tensors.numpy(), said)


X = np.zeros((2, 16), np.float32)
NONE = np.zeros(2, bool)
PRESENT = {
    "unknown": ({"motion": NONE}, "there are no inputs of 'motion': Known: audio"),
    "numbers": ({"audio": np.zeros(2)}, "'audio' is float64 of shape [2]; give true or false for each row"),
    "few": ({"audio": NONE[:1]}, "'audio' is bool of shape [1]; give true or false"),
    "text": ({"audio": "yes"}, "'audio' is <U3 of shape []"),
    "none": ({"audio": NONE}, "a row has none of the modalities; leave it out"),
}


@pytest.mark.parametrize(("present", "said"), PRESENT.values(), ids=PRESENT)
def test_what_does_not_say_which_rows_are_there_is_refused(model, present, said):
    with pytest.raises(ConfigError, match=r"^present: ") as refused:
        model.predict({"audio": X}, present)
    assert said in str(refused.value)


def test_a_network_that_reads_all_or_nothing_says_so(run, monkeypatch):
    model = parse_p2p.load(run[0], "a2")
    monkeypatch.setattr(type(model.network), "reads_some", False)
    with pytest.raises(ConfigError, match="'motion' is missing, and the network 'fission' reads all of its modalities"):
        model.predict({"audio": X})
    with pytest.raises(ConfigError, match="'motion' is missing"):
        model.predict({"audio": X, "motion": X}, {"motion": NONE})


BAD = {
    "nothing": ({}, "give arrays by modality, as {'audio': x}; the model has audio, motion"),
    "no mapping": (X, "give arrays by modality"),
    "unknown": ({"audoi": X}, "the model has no modality 'audoi': did you mean 'audio'?"),
    "no array": ({"audio": [[0.0] * 16]}, "'audio' is list; give a numpy array or a tensor"),
    "text": ({"audio": X.astype(str)}, "'audio' holds texts; give numbers"),
    "objects": ({"audio": X.astype(object)}, "'audio' is object; give numbers"),
    "complex": ({"audio": X.astype(complex)}, "'audio' is complex128; give numbers"),
    "complex tensor": ({"audio": torch.zeros(2, 16, dtype=torch.complex64)}, "'audio' is torch.complex64; give a"),
    "narrow": ({"audio": X[:, :3]}, "'audio' has the shape [2, 3]; give [rows, 16]: vector of 16 features"),
    "one sample": ({"audio": X[0]}, "'audio' has the shape [16]; give [rows, 16] (of one sample, x[None])"),
    "axes": ({"audio": X[..., None]}, "'audio' has the shape [2, 16, 1]"),
    "scalar": ({"audio": np.array(1.0)}, "'audio' has the shape []"),
    "rows": ({"audio": X, "motion": X[:1]}, "'audio' has 2 rows and 'motion' has 1; give as many of each"),
    "nan": ({"audio": X * np.nan}, "'audio' holds values that are NaN or infinite in float32"),
    "too large": ({"audio": X.astype(np.float64) + 1e300}, "'audio' holds values that are NaN or infinite in float32"),
}


@pytest.mark.parametrize(("given", "said"), BAD.values(), ids=BAD)
def test_what_cannot_be_read_is_one_sentence(model, given, said):
    with pytest.raises(ConfigError) as refused, warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(given)
    assert str(refused.value).startswith("inputs: ") and said in str(refused.value) and "\n" not in str(refused.value)


# what cannot be loaded


def refused(*arguments):
    with pytest.raises(ConfigError) as error:
        parse_p2p.load(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_is_not_there_is_named(run, tmp_path):
    folder = run[0]
    assert refused(tmp_path).startswith(f"there is no run in {tmp_path}")
    assert refused(folder).endswith("has several agents; say which: a0, a1, a2")
    assert "has no agent 'a22': did you mean 'a2'? Known: a0, a1, a2" in refused(folder, "a22")
    assert refused(folder, "a2", 7).endswith("has no checkpoint of a2 after round 7: there are those of 2")
    RunFolder(tmp_path).write(run[1].run)
    assert "has no checkpoint of a1: wait for the end of its first round" in refused(tmp_path, "a1")


@pytest.fixture
def copied(run, tmp_path):
    shutil.copytree(run[0], tmp_path / "copy")
    return RunFolder(tmp_path / "copy")


def test_a_scale_that_is_missing_or_of_other_data_is_named(copied):
    path = copied.data("a2")
    whole = path.read_text()
    for broken, said in (
        ("", "cannot be read"),
        (whole[: len(whole) // 2], "cannot be read"),
        ('{"fingerprint": null, "scale": {"audio": null}}', "has no scale for 'motion'"),
        (whole.replace('"motion": {', '"other": {'), "has no scale for 'motion'"),
        ('{"fingerprint": null, "scale": {"audio": null, "motion": {"mean": [0], "deviation": [1]}}}', "1 numbers for"),
    ):
        path.write_text(broken)
        assert str(path) in (sentence := refused(copied.path, "a2")) and said in sentence
    path.unlink()
    assert "which says what inputs are scaled by: copy agents/a2 here" in refused(copied.path, "a2")


def test_a_checkpoint_of_another_model_is_refused(copied):
    state = checkpoint.load(copied.checkpoints("a2"), 2)
    values = state["parameters"]
    for change in (
        {"parameters": values[:1]},  # which would fill all of them
        {"parameters": values.double()},
        {"parameters": values[:-1]},
    ):
        checkpoint.save(copied.checkpoints("a2"), 3, state | change, 9)
        assert "the checkpoint of a2 after round 3 is none of this run ('parameters' of the state is" in refused(
            copied.path, "a2"
        )
    checkpoint.save(copied.checkpoints("a2"), 3, {"other": values}, 9)
    assert "'parameters' of the state is not there" in refused(copied.path, "a2")
    checkpoint.save(copied.checkpoints("a2"), 3, state | {"modalities": torch.ones(5)}, 9)
    assert "the checkpoint of a2 has other modalities than" in refused(copied.path, "a2")


def test_a_checkpoint_that_would_fill_the_memory_is_refused(copied):
    path = copied.checkpoints("a2") / checkpoint.FORMAT.format(3)
    np.savez_compressed(path, parameters=np.zeros(10**6))
    assert "round-000003.npz cannot be read (it is compressed" in refused(copied.path, "a2")


def test_a_run_file_that_no_run_wrote_is_refused(copied):
    lines = copied.file.read_text().splitlines(keepends=True)
    copied.file.write_text("".join(line for line in lines if not line.startswith("fingerprint:")))
    assert "has no data_schema or no fingerprint" in refused(copied.path, "a2")


def test_measured_samples_are_as_they_were_opened(run):
    """Of what the tests ask: were it scaled already, all models would be asked the wrong thing alike."""
    drawn = bits.open(bits.Options(samples=160), run[1].run.seed).inputs["audio"]
    rows = {tuple(row) for row in drawn.tolist()}
    assert all(tuple(row) in rows for row in measured(run[1]).inputs["audio"].tolist())
