"""Trunks of transformers, timm and torchvision, and adapters of peft, each where it is installed."""

import json

import numpy as np
import pytest
import torch
from plans import finished, inputs, plan
from pydantic import ValidationError
from texts import word_level

import parse_p2p
from parse_p2p.core.errors import ConfigError
from parse_p2p.data import samples
from parse_p2p.data.kinds import TokenShape
from parse_p2p.data.tokenizer import Tokenizer
from parse_p2p.models.base import ModelOptions
from parse_p2p.models.encoder import EncoderOptions, trunk, without_weights
from parse_p2p.models.fission import Fission
from parse_p2p.models.weights import load_weights
from parse_p2p.serving import exported

pytestmark = pytest.mark.filterwarnings("default")  # what libraries say to each other is no matter of ours

IMAGE = (3, 16, 16)
VIT = {
    "model_type": "vit", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8,
    "image_size": 16, "patch_size": 8,
}  # fmt: skip
WAV = {
    "model_type": "wav2vec2", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 8, "conv_dim": [4, 4], "conv_kernel": [5, 3], "conv_stride": [4, 2],
    "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip


def library(name):
    """A library that is there and can be imported; it may have been built for another torch."""
    try:
        return pytest.importorskip(name)
    except RuntimeError as error:
        pytest.skip(str(error))


def of(kind, **options):
    return EncoderOptions(kind=kind, **options)


def images(count=3, channels=3):
    return inputs({"image": (channels, *IMAGE[1:])}, count)["image"]


# transformers


@pytest.fixture
def vit(tmp_path):
    """A folder as ``save_pretrained`` writes it, and the model in it."""
    transformers = library("transformers")
    torch.manual_seed(1)
    model = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(**VIT))
    model.save_pretrained(tmp_path)
    return tmp_path, model.eval()


def test_a_folder_of_transformers_is_a_trunk(vit):
    folder, model = vit
    encoder = trunk(IMAGE, of("transformers", weights=str(folder), frozen=True))
    load_weights(encoder, str(folder))
    x = images()
    with torch.no_grad():
        assert torch.equal(encoder(x), model(pixel_values=x).pooler_output)
        mean = trunk(IMAGE, of("transformers", weights=str(folder), args={"pooling": "mean"}))
        load_weights(mean, str(folder))
        torch.testing.assert_close(mean.eval()(x), model(pixel_values=x).last_hidden_state.mean(1))


def test_a_series_is_read_as_the_values_of_one_channel():
    library("transformers")
    encoder = trunk((1, 200), of("transformers", args={"config": WAV})).eval()
    x = inputs({"sound": (1, 200)})["sound"]
    with torch.no_grad():
        hidden = encoder.get_submodule("module.model")(input_values=x[:, 0]).last_hidden_state
        torch.testing.assert_close(encoder(x), hidden.mean(1))


TEXT = TokenShape((6,), 20, padding=0)
BERT = {"model_type": "bert", "vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 8, "max_position_embeddings": 6}  # fmt: skip


@pytest.mark.parametrize("pooling", ["auto", "mean"])
def test_tokens_are_read_without_their_padding(pooling):
    library("transformers")
    encoder = trunk(TEXT, of("transformers", args={"config": BERT, "pooling": pooling})).eval()
    model = encoder.get_submodule("module.model")
    with torch.no_grad():
        alone = model(input_ids=torch.tensor([[5, 7, 3]]))
        wanted = alone.pooler_output if pooling == "auto" else alone.last_hidden_state.mean(1)
        torch.testing.assert_close(encoder(torch.tensor([[5, 7, 3, 0, 0, 0]])), wanted, rtol=1e-4, atol=1e-5)
        assert encoder(torch.zeros(2, 6, dtype=torch.int64)).isfinite().all()  # as of a sensor that is broken


@pytest.mark.parametrize(
    ("shape", "config", "said"),
    [
        (TokenShape((6,), 21), BERT, "the model bert knows 20 tokens, and the data have 21: take the tokenizer that"),
        (TokenShape((6,), 20, 3), BERT, "bert takes the id 0 for padding, and the data 3"),
        (TokenShape((7,), 20), BERT, "does not take inputs of shape"),
        (TEXT, VIT, "the model vit reads no tokens"),
    ],
)
def test_a_model_that_is_not_for_these_tokens_is_refused(shape, config, said):
    library("transformers")
    with pytest.raises(ConfigError, match=said):
        trunk(shape, of("transformers", args={"config": config}))


def test_weights_beside_another_tokenizer_than_made_the_ids_are_refused(tmp_path):
    transformers = library("transformers")
    transformers.AutoConfig.for_model(**BERT).save_pretrained(tmp_path)
    made = Tokenizer.read(word_level(tmp_path / "tokenizer.json", words=["good", "bad"]))
    weights = of("transformers", weights=str(tmp_path))
    for whose in (made.digest, None):  # None: ids whose tokenizer is not known
        assert isinstance(trunk(TokenShape((6,), 20, 0, whose), weights), torch.nn.Module)
    with pytest.raises(
        ConfigError, match=f"has the tokenizer {made.digest}, and the ids are by abcd: take the one that"
    ):
        trunk(TokenShape((6,), 20, 0, "abcd"), weights)
    (tmp_path / "tokenizer.json").unlink()
    assert isinstance(trunk(TokenShape((6,), 20, 0, "abcd"), weights), torch.nn.Module)


def test_a_text_model_of_a_folder_is_exported_with_what_it_needs(tmp_path):
    transformers = library("transformers")
    pytest.importorskip("safetensors")
    folder = tmp_path / "bert"
    transformers.AutoModel.from_config(transformers.AutoConfig.for_model(**BERT)).save_pretrained(folder)
    word_level(folder / "tokenizer.json", words=["good", "bad", "film"])
    texts = ["good film", "bad film"] * 40
    text = {"review": {"column": "body", "tokenizer": str(folder), "length": 6}}
    data = samples({"body": np.array(texts), "y": np.arange(80) % 2}, text=text)
    model = {"encoder": {"kind": "transformers", "weights": str(folder), "frozen": True}}
    run = parse_p2p.run("ring:2", data=data, rounds=12, model=model, folder=tmp_path / "run", train={"lr": 0.2})
    assert run.score > 0.9
    asked, found = {"review": texts[:4]}, parse_p2p.load(tmp_path / "run", "a0")
    exported.write(found, exported.fresh(tmp_path / "out"))
    folder.rename(tmp_path / "gone")
    assert np.array_equal(parse_p2p.load(tmp_path / "out").predict(asked), found.predict(asked))


def test_a_run_on_a_frozen_trunk_of_transformers_changes_and_sends_nothing_of_it(vit):
    folder, model = vit
    shapes = {"audio": (3, 16, 16)}
    encoder = of("transformers", weights=str(folder), frozen=True)
    network = Fission(shapes, 4, ModelOptions(latent=6, encoder=encoder), dict.fromkeys(shapes, encoder))
    assert {component.part.partition(".")[0] for component, _ in network.parts()} == {"rows", "head"}
    assert sum(p.numel() for _, part in network.parts() for p in part.values()) == 2 * (8 * 2 + 2) + 2 * (2 * 4 + 4)
    load_weights(network.trunk_of("audio"), str(folder))
    before = {name: tensor.clone() for name, tensor in network.trunk_of("audio").state_dict().items()}
    network.train()
    network({"audio": images()}).logits().sum().backward()
    assert not any(module.training for module in network.trunk_of("audio").modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.trunk_of("audio").state_dict().items())
    assert torch.equal(before["module.model.embeddings.cls_token"], model.embeddings.cls_token)


def test_what_a_folder_of_transformers_lacks_is_named(vit):
    folder, _ = vit
    safetensors = pytest.importorskip("safetensors.torch")
    tensors = safetensors.load_file(folder / "model.safetensors")
    rest = {name: tensor for name, tensor in tensors.items() if not name.startswith("pooler.")}
    safetensors.save_file(rest, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match=r"'pooler\.dense\.\w+' of the model is missing there: take pooling: mean"):
        load_weights(trunk(IMAGE, of("transformers", weights=str(folder))), str(folder))
    load_weights(trunk(IMAGE, of("transformers", weights=str(folder), args={"pooling": "mean"})), str(folder))
    (folder / "model.safetensors").write_bytes(b"half")
    with pytest.raises(ConfigError, match="it cannot be read"):
        load_weights(trunk(IMAGE, of("transformers", weights=str(folder))), str(folder))
    (folder / "config.json").write_text(json.dumps({}))
    with pytest.raises(ConfigError, match=r"needs weights, a folder, or args\.config with a model_type"):
        trunk(IMAGE, of("transformers", weights=str(folder)))
    (folder / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"config\.json cannot be read"):
        trunk(IMAGE, of("transformers", weights=str(folder)))


# timm and torchvision


@pytest.mark.parametrize(("kind", "made"), [("timm", "create_model"), ("torchvision", "models.get_model")])
def test_weights_of_a_whole_model_are_those_of_its_trunk_but_for_the_classifier(kind, made, tmp_path):
    make = library(kind)
    for step in made.split("."):
        make = getattr(make, step)
    torch.manual_seed(2)
    whole = make("resnet18").eval()
    torch.save(whole.state_dict(), tmp_path / "resnet18.pth")
    encoder = trunk(IMAGE, of(kind, args={"name": "resnet18"}, frozen=True))
    load_weights(encoder, str(tmp_path / "resnet18.pth"))
    assert encoder.features == 512
    with torch.no_grad():
        torch.testing.assert_close(whole.fc(encoder(images(2))), whole(images(2)))


def test_timm_takes_any_count_of_channels_and_its_own_arguments():
    library("timm")
    args = {"name": "resnet18", "global_pool": ""}
    assert trunk((1, 32, 32), of("timm", args=args))(images(2, 1)).shape == (2, 512)


@pytest.mark.parametrize("kind", ["timm", "torchvision"])
def test_a_model_that_a_library_does_not_have_is_refused(kind):
    library(kind)
    with pytest.raises(ConfigError, match=f"the encoder '{kind}' cannot be made .*resnet9000"):
        trunk(IMAGE, of(kind, args={"name": "resnet9000"}))


# what is not installed


@pytest.mark.parametrize("kind", ["timm", "torchvision", "transformers"])
def test_a_library_that_is_missing_is_named_with_its_extra(kind, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, kind, None)
    args = {"config": VIT} if kind == "transformers" else {"name": "resnet18"}
    with pytest.raises(ConfigError, match=rf"needs the package {kind}: pip install 'parse-p2p\[{kind}\]'"):
        trunk(IMAGE, of(kind, args=args))


# adapters


def lora(**options):
    return {"kind": "own_modules:Normed", "frozen": True, "lora": {"rank": 2} | options}


def test_adapters_alone_are_trained_and_sent(tmp_path):
    library("peft")
    import own_modules

    torch.manual_seed(3)
    base = own_modules.Normed().state_dict()
    torch.save(base, tmp_path / "a.pt")
    encoder = lora() | {"weights": str(tmp_path / "a.pt")}
    made = plan({"audio": 3}, encoder=None, model={"latent": 6, "encoder": encoder}, rounds=2)
    states, _ = finished(made)
    start = made.initialised(made.specs["a0"]).trunk_of("audio")
    x = inputs({"x": (16,)})["x"]
    plain = own_modules.Normed()
    plain.load_state_dict(base)
    torch.testing.assert_close(start(x), plain.eval()(x), msg="adapters add nothing at first")
    for state in states.values():
        region = state.learner.buffer.regions["trunk.audio"]
        # A and B of rank 2 on 16 → 24 and on 24 → 12
        assert region.size == 2 * (16 + 24) + 2 * (24 + 12)
        trunk_of = state.learner.model.trunk_of("audio")
        assert torch.equal(trunk_of.module[0].base_layer.weight, base["0.weight"])
        assert torch.equal(trunk_of.module[1].running_mean, base["1.running_mean"]), "frozen to the last buffer"
        assert not torch.allclose(trunk_of(x), plain(x)), "and the adapters have learnt"


@pytest.mark.parametrize(
    ("options", "said"),
    [({"targets": ["9"]}, "lora.targets: the trunk has no layer '9'"), ({"rank": 0}, "greater than or equal to 1")],
)
def test_adapters_that_cannot_be_are_refused(options, said):
    library("peft")
    with pytest.raises((ConfigError, ValueError), match=said):
        trunk((16,), EncoderOptions.model_validate(lora(**options)))


def test_adapters_need_peft(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(ConfigError, match=r"lora needs the package peft: pip install 'parse-p2p\[lora\]'"):
        trunk((16,), EncoderOptions.model_validate(lora()))


def test_nothing_is_fetched():
    for kind, args, said in [
        ("timm", {"name": "hf-hub:someone/model"}, "'hf-hub:someone/model' is elsewhere; name a model of timm itself"),
        ("timm", {"name": "resnet18", "checkpoint_path": "x.pth"}, "'checkpoint_path' names what is elsewhere; give"),
        ("timm", {"name": "resnet18", "pretrained_cfg": {}}, "'pretrained_cfg' names what is elsewhere; give weights"),
        ("torchvision", {"name": "resnet18", "weights_backbone": "DEFAULT"}, "'weights_backbone' would be fetched"),
        ("transformers", {"config": {"auto_map": {}}}, "'auto_map' in config names what is elsewhere; leave it out"),
        ("transformers", {"config": {"attn_implementation": "a/b"}}, "'attn_implementation' in config names what is"),
    ]:
        with pytest.raises(ValidationError) as caught:
            of(kind, args=args)
        assert said in str(caught.value)


def test_what_is_exported_needs_no_folder(vit, tmp_path):
    folder, _ = vit
    options = of("transformers", weights=str(folder), args={"pooling": "mean", "config": {"hidden_act": "relu"}})
    before = trunk(IMAGE, options)
    load_weights(before, str(folder))
    again = without_weights(options)
    assert again.weights is None and again.args["pooling"] == "mean" and again.args["config"]["hidden_act"] == "relu"
    after = trunk(IMAGE, EncoderOptions.model_validate(again.model_dump(mode="json")))
    after.load_state_dict(before.state_dict())
    with torch.no_grad():
        assert torch.equal(after.eval()(images()), before.eval()(images()))
    assert without_weights(of("vector", weights="x.npz")) == of("vector")
