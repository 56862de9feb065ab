"""Trunks whose weights an installed package holds: found by each host, kept to the bit, and never sent."""

import csv
import sys

import numpy as np
import pytest
import torch
import voices
import yaml
from plans import finished

import parse_p2p
from parse_p2p.config import run_file
from parse_p2p.core.errors import ConfigError
from parse_p2p.data import packaged_file
from parse_p2p.serving import exported

FILE = "data/silero_vad_16k.safetensors"
ROUNDS, NEIGHBOURS, AGENTS = 2, 2, 4


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """A folder as ``media`` reads it: a table, recordings and pictures of lips."""
    soundfile, pillow = pytest.importorskip("soundfile"), pytest.importorskip("PIL.Image")
    folder, rng = tmp_path_factory.mktemp("vowels"), np.random.default_rng(0)
    with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as table:
        rows = csv.writer(table)
        rows.writerow(["y", "sound", "lips"])
        for i, name in enumerate([*voices.VOWELS] * 10):
            soundfile.write(folder / f"{i}.wav", voices.vowel(name, rng), voices.RATE)
            grey = (255 * voices.lips(name, rng)[0].clip(0, 1)).astype(np.uint8)
            pillow.fromarray(grey).save(folder / f"{i}.png")
            rows.writerow([name, f"{i}.wav", f"{i}.png"])
    return folder


def run_on(recordings, folder, **sound):
    """Four agents in a ring, who hear and see; the lips go into the rows as they are."""
    pytest.importorskip("silero_vad")
    pytest.importorskip("safetensors")
    encoders = {
        "sound": {"kind": "voices:Voice", "weights": voices.WEIGHTS, "frozen": True} | sound,
        "lips": {"kind": "torch.nn:Flatten"},
    }
    data = {
        "path": str(recordings),
        "audio": {"sound": {"rate": voices.RATE, "seconds": 0.25}},
        "images": {"lips": {"size": [8, 8], "colours": "grey"}},
    }
    return parse_p2p.run(
        "ring:4", {"lips+sound": AGENTS}, dataset="media", data=data, rounds=ROUNDS, folder=folder, device="cpu",
        model={"latent": 6, "hidden": 8, "encoders": encoders}, test=0.5,
    )  # fmt: skip


def shipped():
    """The tensors in the package by the names they have in our module."""
    return voices.Voice().read_weights(packaged_file("silero_vad", FILE, "install it"))


SLICE = 6 // 3
HEARD, SEEN, CLASSES = 128, 8 * 8, len(voices.VOWELS)
ROWS = 3 * SLICE * (HEARD + 1) + 3 * SLICE * (SEEN + 1)  # redundant, unique, synergistic
LINEAR = 3 * CLASSES * (SLICE + 1)  # what both say, and what each says alone
FUSION = 2 * 8 * (SLICE + 1) + CLASSES * 8


def test_a_packaged_trunk_stays_to_the_bit_and_rows_and_heads_alone_are_sent(recordings, tmp_path):
    over, kept = run_on(recordings, tmp_path / "run"), shipped()
    states, _ = finished(over.plan)
    assert len(states) == AGENTS and len(kept) == 12
    for state in states.values():
        trunk = state.learner.model.trunk_of("sound")
        now = trunk.module.state_dict()
        assert now.keys() == kept.keys() and all(torch.equal(now[name], kept[name]) for name in kept)
        assert not any(p.requires_grad for p in trunk.parameters())
        assert not any(module.training for module in trunk.modules())
        assert not any("trunks" in name for name in state.learner.state())
    assert over.bytes == 4 * (ROWS + LINEAR + FUSION) * NEIGHBOURS * AGENTS * ROUNDS

    model = parse_p2p.load(tmp_path / "run", "a0")
    exported.write(model, exported.fresh(tmp_path / "a0"))
    again = parse_p2p.load(tmp_path / "a0", trusted=["voices:Voice", "torch.nn:Flatten"])
    asked = {m: x[:] for m, x in voices.spoken(12, 1).inputs.items()}
    assert torch.equal(again.predict(asked), model.predict(asked))
    assert len({*model.labels(asked)}) > 1, "and it has learnt something"


def test_adapters_in_it_are_sent_too_and_it_stays_as_it_is(recordings, tmp_path):
    pytest.importorskip("peft")
    lora = {"rank": 2, "targets": ["conv1", "conv4"]}
    over, kept = run_on(recordings, tmp_path / "run", lora=lora), shipped()
    adapters = 2 * (129 * 3 + 128) + 2 * (64 * 3 + 128)  # A of the inputs times the kernel, B of the outputs
    assert over.bytes == 4 * (ROWS + LINEAR + FUSION + adapters) * NEIGHBOURS * AGENTS * ROUNDS
    for state in finished(over.plan)[0].values():
        now = state.learner.model.trunk_of("sound").module.state_dict()
        for name, tensor in kept.items():
            assert torch.equal(now.get(name, now.get(name.replace(".", ".base_layer."))), tensor)


@pytest.mark.filterwarnings("ignore:.*torch.jit.load:DeprecationWarning")
def test_the_trunk_computes_what_the_package_does():
    """With the tensors of its TorchScript, its last layer on our states gives that one's probabilities of speech."""
    pytest.importorskip("silero_vad")
    script = torch.jit.load(packaged_file("silero_vad", "data/silero_vad.jit", "install it"))
    theirs = script._model.state_dict()
    trunk = voices.Voice().eval()
    names = {name: name.replace("lstm.", "decoder.rnn.").removesuffix("_l0") for name in trunk.state_dict()}
    names |= {n: f"encoder.{int(n[4]) - 1}.reparam_conv{n[5:]}" for n in names if n.startswith("conv")}
    trunk.load_state_dict({name: theirs[there] for name, there in names.items()})
    sound = torch.from_numpy(voices.vowel("a", np.random.default_rng(0)))[: 7 * 512]
    found = []
    trunk.lstm.register_forward_hook(lambda lstm, given, out: found.append(out[0][0]))
    with torch.no_grad():
        trunk(sound[None, None])
        [states] = found
        last, bias = (theirs[f"decoder.decoder.2.{name}"] for name in ("weight", "bias"))
        ours = (states.relu() @ last[0, :, 0] + bias).sigmoid()
        wanted = [script(chunk[None], voices.RATE).item() for chunk in sound.split(512)]
    torch.testing.assert_close(ours, torch.tensor(wanted), atol=1e-5, rtol=0)
    assert ours.max() - ours.min() > 0.05


# naming a package


def package(folder, name="shipping", value=1.0):
    """A package in that folder which ships weights; it cannot be imported."""
    (folder / name / "data").mkdir(parents=True)
    (folder / name / "__init__.py").write_text("raise RuntimeError('imported')", encoding="utf-8")
    np.savez(folder / name / "data" / "w.npz", **{"0.weight": np.full((8, 36), value, np.float32)})
    return folder / name / "data" / "w.npz"


def read(folder, weights="shipping:data/w.npz", settings=()):
    folder.mkdir(exist_ok=True)
    raw = {
        "graph": {"generator": "ring"},
        "agents": {"mix": {"audio": 3}},
        "model": {"encoder": {"kind": "torch.nn:Linear", "weights": weights}},
    }
    (folder / "ring.yaml").write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    return run_file.load(folder / "ring.yaml", settings)


def test_every_host_finds_the_package_where_it_has_it_and_compares_what_is_in_it(tmp_path, monkeypatch):
    found = []
    for host, value in (("one", 1.0), ("two", 1.0), ("three", 2.0)):
        file = package(tmp_path / host, value=value)
        with monkeypatch.context() as patch:
            patch.syspath_prepend(tmp_path / host)
            run = read(tmp_path / host)
        assert run.model.encoder.weights == str(file)
        (tmp_path / "kept.yaml").write_text(run_file.dump(run), encoding="utf-8")
        assert run_file.load(tmp_path / "kept.yaml", of_a_run=True) == run, "a run folder keeps it"
        found.append(run.digest())
    assert found[0] == found[1] != found[2]


def test_a_file_beside_the_run_file_comes_first_and_a_drive_is_no_package(tmp_path, monkeypatch):
    package(tmp_path / "host")
    monkeypatch.syspath_prepend(tmp_path / "host")
    (tmp_path / "shipping:data").mkdir()
    (tmp_path / "shipping:data" / "w.npz").touch()
    assert read(tmp_path).model.encoder.weights == str(tmp_path / "shipping:data" / "w.npz")
    assert read(tmp_path, "c:w.npz").model.encoder.weights == str(tmp_path / "c:w.npz")
    assert read(tmp_path, "own/shipping:w.npz").model.encoder.weights == str(tmp_path / "own" / "shipping:w.npz")


@pytest.mark.parametrize("weights", ["nobody_has_this:w.npz", "shipping:data/other.npz", "shipping:data"])
def test_what_no_package_holds_is_named_with_its_line(weights, tmp_path, monkeypatch):
    package(tmp_path / "host")
    monkeypatch.syspath_prepend(tmp_path / "host")
    name, _, inside = weights.partition(":")
    said = f"model.encoder.weights: '{inside}' of the Python package '{name}' is not installed; install it, or correct"
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, weights)
    assert str(caught.value).startswith(f"{tmp_path / 'ring.yaml'}:9: {said}")
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, settings=[("model.encoder.weights", weights)])
    assert str(caught.value).startswith(f"--set {said}")


@pytest.mark.parametrize("inside", ["../secret.npz", "data/../../secret.npz", "/etc/passwd"])
def test_a_path_that_leads_out_of_the_package_is_refused(inside, tmp_path, monkeypatch):
    package(tmp_path / "host")
    (tmp_path / "host" / "secret.npz").touch()
    monkeypatch.syspath_prepend(tmp_path / "host")
    with pytest.raises(ConfigError, match=f"{inside!r} leads out of the Python package 'shipping'; install it, or"):
        read(tmp_path, f"shipping:{inside}")


@pytest.mark.parametrize("weights", ["__main__:w.npz", f"shipping:{'x' * 5000}"])
def test_what_is_no_package_or_no_file_name_is_a_sentence(weights, tmp_path, monkeypatch):
    package(tmp_path / "host")
    monkeypatch.syspath_prepend(tmp_path / "host")
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    with pytest.raises(ConfigError, match="is not installed; install it, or correct the name"):
        read(tmp_path, weights)
