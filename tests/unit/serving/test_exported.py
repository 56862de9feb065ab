"""An exported model is the model, to the last bit; its folder says what it is, and is refused where it does not."""

import json
import pickle
import shutil
import sys

import numpy as np
import pytest
import torch
import yaml
from trained import NETWORKS, asked, recorded

import parse_p2p
from parse_p2p.core.errors import ConfigError
from parse_p2p.serving import exported

safetensors = pytest.importorskip("safetensors.torch")


@pytest.fixture(scope="module", params=NETWORKS)
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / request.param
    return folder, *recorded(folder, **NETWORKS[request.param], rounds=1)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A run of PARSE, its plan, and the folder of one exported agent."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    plan, _ = recorded(folder)
    exported.write(parse_p2p.load(folder, "a2"), exported.fresh(folder / "a2"))
    return folder, plan, folder / "a2"


@pytest.fixture
def copied(kept, tmp_path):
    shutil.copytree(kept[2], tmp_path / "copy")
    return tmp_path / "copy"


def test_every_network_comes_back_to_the_last_bit(run, tmp_path):
    folder, plan, agents = run
    assert plan.run.model.network == folder.name
    for me in agents:
        model = parse_p2p.load(folder, me)
        exported.write(model, exported.fresh(tmp_path / me))
        again = parse_p2p.load(tmp_path / me)
        assert torch.equal(again.predict(asked(plan, me)), model.predict(asked(plan, me)))
        assert again.description == model.description


def test_a_frozen_encoder_is_part_of_it_and_where_its_weights_were_is_not(tmp_path):
    path = tmp_path / "secret.npz"
    np.savez(path, **{"0.weight": np.ones((8, 16), np.float32), "0.bias": np.zeros(8, np.float32)})
    plan, _ = recorded(tmp_path / "run", mix={"audio": 2}, encoder={"frozen": True, "weights": str(path)})
    model = parse_p2p.load(tmp_path / "run", "a0")
    exported.write(model, exported.fresh(tmp_path / "a0"))
    path.unlink()
    assert np.array_equal(parse_p2p.load(tmp_path / "a0").network.trunks["m·audio"][0].weight, np.ones((8, 16)))
    assert torch.equal(parse_p2p.load(tmp_path / "a0").predict(asked(plan, "a0")), model.predict(asked(plan, "a0")))
    assert not any(b"secret" in each.read_bytes() for each in (tmp_path / "a0").iterdir())


# the folder


def test_the_card_is_laid_out_as_cards_are_and_says_what_was_measured(agent, kept, tmp_path):
    folder, plan, _ = kept
    code, out, err = agent("export", folder, "--id", "a2", "--out", tmp_path / "a2")
    assert (code, out) == (0, f"wrote {tmp_path / 'a2'}\n"), err
    assert sorted(path.name for path in (tmp_path / "a2").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    _, front, text = (tmp_path / "a2/README.md").read_text().split("---\n", 2)
    [result] = yaml.safe_load(front)["model-index"][0]["results"]
    [*_, last] = [json.loads(line) for line in (folder / "agents/a2/events.jsonl").read_text().splitlines()][:-1]
    assert result["metrics"] == [{"type": "accuracy", "value": last["accuracy"]}]
    assert f"Accuracy {last['accuracy']:.4f}, cross-entropy {last['test_loss']:.4f} nats" in text
    assert plan.run.digest() in text and "| `motion` | vector of 16 features | by 16 means and deviations |" in text
    example = text.split("```python\n")[1].split("```")[0]
    exec(example.replace('"."', repr(str(tmp_path / "a2"))), {})


def test_a_folder_that_holds_something_is_left_alone(agent, kept, tmp_path):
    (tmp_path / "mine").write_text("x")
    code, _, err = agent("export", kept[0], "--id", "a2", "--out", tmp_path)
    assert code == 2 and f"--out {tmp_path} is not empty: name another folder" in err
    code, _, err = agent("export", kept[0], "--id", "a2", "--out", tmp_path / "mine")
    assert code == 2 and "cannot be written: " in err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_without_the_package_it_says_which_extra_has_it(agent, kept, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    code, _, err = agent("export", kept[0], "--id", "a2", "--out", tmp_path / "a2")
    assert code == 2 and "an export needs the package safetensors: pip install 'parse-p2p[export]'" in err
    assert not (tmp_path / "a2").exists()


# what is refused


def refused(folder, *arguments):
    with pytest.raises(ConfigError) as error:
        parse_p2p.load(folder, *arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def changed(folder, **keys):
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | keys))
    return raw


def test_another_agent_or_round_than_it_holds_is_refused(kept):
    assert refused(kept[2], "a0").endswith("holds the agent a2 and not a0: leave it out")
    assert refused(kept[2], "a2", 1).endswith("holds the round 2 and not 1: leave it out")
    assert parse_p2p.load(kept[2], "a2", 2).round == 2


def test_another_format_is_refused_with_the_version_that_wrote_it(copied):
    changed(copied, format=2, version="9.1.0")
    assert "is of format 2, written by parse-p2p 9.1.0; this is" in refused(copied)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "[" * 10**5, '{"format": 1}', '{"format": 1, "a": NaN}', "\0"])
def test_a_description_that_is_none_is_refused(copied, text):
    (copied / "config.json").write_text(text)
    assert f"{copied / 'config.json'} cannot be read (" in refused(copied)


def test_a_description_that_contradicts_itself_is_refused(copied):
    raw = changed(copied, scale={})
    assert "config.json does not fit together (KeyError" in refused(copied)
    few = {"audio": None, "motion": {"mean": [0], "deviation": [1]}}
    changed(copied, **raw | {"scale": few})
    assert "config.json does not fit together (ValueError: 1 numbers for 16 features" in refused(copied)
    changed(copied, **raw | {"encoders": {}})
    assert "config.json does not fit together" in refused(copied)
    changed(copied, **raw | {"data_schema": raw["data_schema"] | {"classes": ["cat", "dog"]}})
    assert "is not of the network in config.json: the tensor 'heads." in refused(copied)


@pytest.mark.parametrize("where", ["network", "encoder", "encoders", "modalities"])
@pytest.mark.parametrize("name", ["evil.code", "evil.code:make", "os:system"])
def test_a_module_of_others_is_not_run(copied, monkeypatch, where, name):
    monkeypatch.syspath_prepend(copied)
    (copied / "evil").mkdir()
    (copied / "evil/code.py").write_text("raise SystemExit('it was run')")
    raw = changed(copied)
    model, encoders = raw["model"], raw["encoders"]
    model |= {"network": name} if where == "network" else {}
    model["encoder"] |= {"kind": name} if where == "encoder" else {}
    model["encoders"] |= {"audio": {"kind": name}} if where == "modalities" else {}
    encoders["audio"] |= {"kind": name} if where == "encoders" else {}
    changed(copied, model=model, encoders=encoders)
    said = refused(copied)
    assert f"names {name!r}, which would be run: if you trust it and this folder, load the model by" in said
    assert f"trusted=[{name!r}]" in said
    with pytest.raises(ConfigError, match="which would be run"):
        parse_p2p.load(copied, trusted=["evil", "os", "evil.code:other"])
    with pytest.raises(ConfigError, match="trusted: give a list of names"):
        parse_p2p.load(copied, trusted=name)


@pytest.mark.parametrize(("key", "value"), [("latent", 10**9), ("hidden", 10**9), ("depth", 10**6)])
def test_a_network_larger_than_its_tensors_is_not_built(copied, key, value):
    raw = changed(copied)
    if key == "depth":
        raw["encoders"]["audio"][key] = value
    else:
        raw["model"][key] = value
    changed(copied, model=raw["model"], encoders=raw["encoders"])
    assert f"config.json does not fit together (ValueError: {key} is {value}, and there are " in refused(copied)


def test_tensors_that_are_no_numbers_are_refused(copied):
    safetensors = pytest.importorskip("safetensors.torch")
    tensors = safetensors.load((copied / "model.safetensors").read_bytes())
    name = min(tensors)
    tensors[name] = torch.full_like(tensors[name], torch.nan)
    (copied / "model.safetensors").write_bytes(safetensors.save(tensors))
    assert f"holds values in {name!r} that are no numbers" in refused(copied)


class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('a pickle was run')",)


def test_tensors_that_are_broken_or_of_another_network_are_refused(copied):
    path = copied / "model.safetensors"
    whole, tensors = path.read_bytes(), safetensors.load(path.read_bytes())
    name = min(tensors)
    for broken in (b"", whole[:-1], whole[:20], b"\xff" * 8 + whole, pickle.dumps(Bomb())):
        path.write_bytes(broken)
        assert f"{path} cannot be read (" in refused(copied)
    for change, said in (
        ({name: tensors[name][:1].clone()}, f"the tensor {name!r} is torch.float32 ["),
        ({name: tensors[name].double()}, f"the tensor {name!r} is torch.float64 ["),
        ({"other": torch.ones(1)}, "the tensor 'other' is not one of its"),
    ):
        path.write_bytes(safetensors.save(tensors | change))
        assert said in refused(copied)
    path.write_bytes(safetensors.save({n: t for n, t in tensors.items() if n != name}))
    assert f"the tensor {name!r} is missing" in refused(copied)
    path.unlink()
    assert "model.safetensors cannot be read (" in refused(copied)
