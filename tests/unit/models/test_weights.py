"""Weights of trunks: every format gives the same tensors, and what is not such a file is refused in one sentence."""

import io
import json
import os
import pickle
import zipfile

import numpy as np
import own_modules
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from parse_p2p.config.run_file import content
from parse_p2p.core.errors import ConfigError
from parse_p2p.models.encoder import EncoderOptions, trunk
from parse_p2p.models.weights import load_weights

safetensors = pytest.importorskip("safetensors.torch")


def tensors():
    torch.manual_seed(5)
    module = own_modules.Normed()
    module.get_buffer("1.running_mean").fill_(3)
    return module.state_dict()


def write(path, state):
    """The file of a state dict in the format that its name says."""
    if path.suffix == ".npz":
        np.savez(path, **{name: tensor.numpy() for name, tensor in state.items()})
    elif path.suffix == ".safetensors":
        safetensors.save_file(dict(state), path)
    else:
        torch.save(state, path)
    return path


def loaded(path):
    encoder = trunk((16,), EncoderOptions(kind="own_modules:Normed"))
    load_weights(encoder, str(path))
    return encoder.module.state_dict()


NAMES = ["a.npz", "a.safetensors", "a.pt", "a.pth", "A.BIN"]


@pytest.mark.parametrize("name", NAMES)
def test_every_format_gives_the_same_tensors(name, tmp_path):
    state = tensors()
    path = write(tmp_path / name, state)
    assert all(torch.equal(value, state[key]) for key, value in loaded(path).items())


def test_a_folder_is_read_by_its_file_and_compared_by_all_in_it(tmp_path):
    state = tensors()
    write(tmp_path / "pytorch_model.bin", {name: tensor + 1 for name, tensor in state.items()})
    first = content(str(tmp_path))
    assert not torch.equal(loaded(tmp_path)["0.weight"], state["0.weight"])
    write(tmp_path / "model.safetensors", state)
    assert torch.equal(loaded(tmp_path)["0.weight"], state["0.weight"]), "it is the better of both"
    content.cache_clear()
    assert content(str(tmp_path)) != first


def test_weights_of_half_precision_are_taken_as_they_are(tmp_path):
    state = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors().items()}
    found = loaded(write(tmp_path / "half.safetensors", state))
    assert torch.equal(found["0.weight"], state["0.weight"].float()) and found["0.weight"].dtype == torch.float32


def without(name):
    return {key: tensor for key, tensor in tensors().items() if key != name}


MISFITS = {
    "missing": (without("4.bias"), "the tensor '4.bias' of the trunk is missing there: give the weights of a trunk of"),
    "unknown": (tensors() | {"5.bias": torch.zeros(1)}, "'5.bias' there is no tensor of the trunk: give"),
    "both": (
        {f"model.{name}": tensor for name, tensor in tensors().items()},
        "the tensor '0.weight' of the trunk is missing there, and 'model.0.bias' there is no tensor of the trunk",
    ),
    "shape": (tensors() | {"4.bias": torch.zeros(9)}, "'4.bias' has shape (9,) there and (12,) in the trunk"),
    "whole numbers": (
        tensors() | {"4.bias": torch.zeros(12, dtype=torch.int64)},
        "'4.bias' is of torch.int64 there and of torch.float32 in the trunk",
    ),
}


@pytest.mark.parametrize("name", NAMES[:3])
@pytest.mark.parametrize("kind", MISFITS)
def test_tensors_that_do_not_fit_are_named(kind, name, tmp_path):
    state, said = MISFITS[kind]
    with pytest.raises(ConfigError) as refused:
        loaded(write(tmp_path / name, state))
    assert str(refused.value).startswith(f"encoder weights {tmp_path / name}: ") and said in str(refused.value)


class Bomb:
    """What runs a command when it is unpickled."""

    def __init__(self, touched):
        self.touched = touched

    def __reduce__(self):
        return os.mkdir, (str(self.touched),)


def archive(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(f"{name}.npy", data)


def array(shape):
    """The header of an array of ones, and no more of it than that."""
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return out.getvalue()


def test_code_in_a_pickle_never_runs(tmp_path):
    touched = tmp_path / "touched"
    (tmp_path / "a.pt").write_bytes(pickle.dumps({"0.weight": Bomb(touched)}))
    torch.save({"0.weight": Bomb(touched)}, tmp_path / "b.pt")
    np.savez(tmp_path / "c.npz", **{"0.weight": np.array([Bomb(touched)])})
    for name in ("a.pt", "b.pt", "c.npz"):
        with pytest.raises(ConfigError) as refused:
            loaded(tmp_path / name)
        assert "\n" not in str(refused.value) and "save model.state_dict()" in str(refused.value)
    assert not touched.exists()


def test_an_archive_that_unpacks_to_far_more_is_not_unpacked(tmp_path):
    archive(tmp_path / "a.npz", x=array((10**7,)) + bytes(4 * 10**7))
    archive(tmp_path / "b.npz", x=array((10**15,)))
    with pytest.raises(ConfigError, match=r"it would unpack to 4\d+ bytes, far more than weights do"):
        loaded(tmp_path / "a.npz")
    with pytest.raises(ConfigError, match="it cannot be read"):
        loaded(tmp_path / "b.npz")


OTHERS = {
    "absent.pt": (None, "there is no such file"),
    "empty.pt": (b"", "it cannot be read"),
    "text.safetensors": (b"weights", "it cannot be read"),
    "weights.h5": (b"weights", r"weights are read from \.npz, \.safetensors, \.pt, \.pth, \.bin or a folder, not from"),
    "nothing": ((), r"the folder holds neither model\.safetensors nor pytorch_model\.bin"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_holds_no_weights_is_refused(name, tmp_path):
    data, said = OTHERS[name]
    if data == ():
        (tmp_path / name).mkdir()
    elif data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError, match=f"encoder weights .*{said}"):
        loaded(tmp_path / name)


def test_what_is_around_tensors_is_to_be_left_out(tmp_path):
    with pytest.raises(ConfigError, match="it does not hold tensors by name: save model"):
        loaded(write(tmp_path / "a.pt", {"state_dict": tensors(), "epoch": 3}))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return [write(folder / name, tensors()) for name in NAMES[:3]]


@given(which=st.integers(0, 2), at=st.floats(0, 1), to=st.binary(max_size=6), cut=st.booleans())
def test_a_broken_file_is_refused_or_read_but_nothing_else(files, which, at, to, cut):
    whole = files[which].read_bytes()
    place = int(at * (len(whole) - 1))
    broken = files[which].with_stem("broken")
    broken.write_bytes(whole[:place] + to + (b"" if cut else whole[place + len(to) :]))
    try:
        loaded(broken)
    except ConfigError as error:
        assert "\n" not in str(error)


def test_the_safetensors_header_is_not_believed(tmp_path):
    head = json.dumps({"0.weight": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(len(head).to_bytes(8, "little") + head)
    with pytest.raises(ConfigError, match="it cannot be read"):
        loaded(tmp_path / "a.safetensors")
