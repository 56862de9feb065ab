"""Weights of a trunk from a file or folder, of which nothing but tensors is read: no code in it ever runs."""

import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from parse_p2p.core.errors import ConfigError, cause
from parse_p2p.models.encoder import Trunk
from parse_p2p.models.lora.injection import without_adapters

Tensors = Mapping[str, Tensor]

IN_FOLDERS = ("model.safetensors", "pytorch_model.bin")
"""What holds the weights in a folder as ``save_pretrained`` writes it, the better first."""

DEFLATES = 32
"""How many times its size an archive may unpack to: weights are noise, which hardly shrinks."""


@torch.no_grad()
def load_weights(encoder: nn.Module, path: str) -> None:
    """Give a trunk its tensors, by their names: all of them and no others.

    The file is an ``.npz`` of plain arrays, ``.safetensors``, or the ``state_dict`` that ``torch.save`` wrote (``.pt``,
    ``.pth``, ``.bin``); or a folder that holds ``model.safetensors`` or ``pytorch_model.bin``. A module with a method
    ``read_weights(path)``, which gives tensors by name, reads it by itself. Raises ConfigError, naming the path and
    what does not fit.
    """
    module = encoder.module if isinstance(encoder, Trunk) else encoder
    read: Callable[[Path], Tensors] = getattr(module, "read_weights", read_tensors)
    mine = {name: tensor for name, tensor in module.state_dict().items() if isinstance(tensor, Tensor)}
    try:
        with torch.random.fork_rng(devices=[]):  # a reader may make the module anew
            _fill(without_adapters(mine), read(Path(path)))
    except ConfigError as error:
        raise ConfigError(f"encoder weights {path}: {error}") from None


def _fill(mine: Tensors, given: Tensors) -> None:
    missing, unknown = [n for n in mine if n not in given], sorted(given.keys() - mine.keys())
    wrong = [f"the tensor {missing[0]!r} of the trunk is missing there"] if missing else []
    wrong += [f"{unknown[0]!r} there is no tensor of the trunk"] if unknown else []
    if wrong:
        raise ConfigError(f"{', and '.join(wrong)}: give the weights of a trunk of this kind")
    for name, tensor in mine.items():
        if given[name].shape != tensor.shape:
            there, here = tuple(given[name].shape), tuple(tensor.shape)
            raise ConfigError(f"{name!r} has shape {there} there and {here} in the trunk: make them equal")
        if given[name].layout is not torch.strided or given[name].device.type != "cpu":
            raise ConfigError(f"{name!r} is {given[name].layout} on {given[name].device}: save plain tensors")
        if tensor.is_floating_point() and not bool(given[name].to(tensor.dtype).isfinite().all()):
            raise ConfigError(f"{name!r} holds values that are no numbers in {tensor.dtype}: save it again")
        if given[name].is_floating_point() != tensor.is_floating_point():
            raise ConfigError(f"{name!r} is of {given[name].dtype} there and of {tensor.dtype} in the trunk")
    for name, tensor in mine.items():
        tensor.copy_(given[name])


def weights_file(path: Path) -> Path:
    """The file that weights are read from: this one, or one in this folder. Raises ConfigError."""
    inside = [path / name for name in IN_FOLDERS if (path / name).is_file()]
    if path.is_dir() and not inside:
        raise ConfigError(f"the folder holds neither {' nor '.join(IN_FOLDERS)}")
    if not path.is_dir() and not path.is_file():
        raise ConfigError("there is no such file")
    return inside[0] if inside else path


def read_tensors(path: Path) -> Tensors:
    """The tensors of a file or folder, by name. Raises ConfigError, without the path."""
    file = weights_file(path)
    read = READERS.get(file.suffix.lower())
    if read is None:
        raise ConfigError(
            f"weights are read from {', '.join(READERS)} or a folder, not from {file.suffix or file.name!r}"
        )
    try:
        _refuse_bomb(file)
        tensors = read(file)
    except ConfigError:
        raise
    except pickle.UnpicklingError:
        raise ConfigError(
            "it is broken or holds more than tensors, which is not run: save model.state_dict()"
        ) from None
    except Exception as error:  # whatever bytes may make a reader raise
        raise ConfigError(f"it cannot be read ({cause(error)[:200]}): save model.state_dict() there") from None
    if not isinstance(tensors, Mapping) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise ConfigError("it does not hold tensors by name: save model.state_dict(), without anything around it")
    return tensors


def _refuse_bomb(file: Path) -> None:
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > DEFLATES * file.stat().st_size:
            raise ConfigError(f"it would unpack to {unpacked} bytes, far more than weights do")


def _npz(file: Path) -> Tensors:
    with open(file, "rb") as opened, np.load(opened, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def _safetensors(file: Path) -> Tensors:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise ConfigError("it needs the package safetensors: pip install 'parse-p2p[export]'") from None
    tensors: Tensors = load_file(file)
    return tensors


def _state_dict(file: Path) -> Tensors:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tensors: Tensors = torch.load(file, map_location="cpu", weights_only=True)
    return tensors


READERS: Mapping[str, Callable[[Path], Tensors]] = {
    ".npz": _npz,
    ".safetensors": _safetensors,
    ".pt": _state_dict,
    ".pth": _state_dict,
    ".bin": _state_dict,
}
