"""A folder with one trained agent: tensors, a description, and a card to read; nothing in it is code."""

import json
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from parse_p2p import __version__
from parse_p2p.core import plugins
from parse_p2p.core.errors import ConfigError, cause
from parse_p2p.core.types import Modality
from parse_p2p.data import tokenizer
from parse_p2p.launch import kept_data
from parse_p2p.models.base import Network
from parse_p2p.serving import card
from parse_p2p.serving.description import Description, Measured
from parse_p2p.serving.packages import package
from parse_p2p.serving.trained import TrainedModel

CONFIG = "config.json"
TENSORS = "model.safetensors"
CARD = "README.md"
FORMAT = Description.model_fields["format"].default

LARGEST_CONFIG = 64 * 2**20  # bytes


def recognises(folder: Path) -> bool:
    """Whether this is such a folder."""
    return (folder / CONFIG).is_file()


def fresh(folder: Path) -> Path:
    """A folder that is there and empty. Raises ConfigError where something is in it, or it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = any(folder.iterdir())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"--out {folder} cannot be written: {reason}; name another folder") from None
    if taken:
        raise ConfigError(f"--out {folder} is not empty: name another folder, or empty it")
    return folder


def with_figures(model: TrainedModel, measured: Measured | None) -> TrainedModel:
    """The model with what was measured of it in its description."""
    return replace(model, description=model.description.model_copy(update={"measured": measured}))


def write(model: TrainedModel, folder: Path) -> None:
    """Write a model into an empty folder. Raises ConfigError where the package safetensors is missing."""
    safetensors = package("safetensors.torch", "export", "an export")
    # all parameters lie in one flat buffer, and a file of tensors wants each by itself
    tensors = {name: tensor.detach().clone() for name, tensor in model.network.state_dict().items()}
    (folder / TENSORS).write_bytes(safetensors.save(tensors, {"format": "pt"}))
    for each in model.tokenizers.values():
        tokenizer.keep(folder, each)
    (folder / CARD).write_text(card.text(model), encoding="utf-8")
    kept_data.write(folder / CONFIG, model.description.model_dump(mode="json"))


def read(folder: Path, id: str | None = None, round: int | None = None, trusted: Collection[str] = ()) -> TrainedModel:
    """The model that was exported, whose networks and encoders may be of ``trusted`` modules.

    Raises ConfigError for another agent or round, for other modules, and for files that are broken.
    """
    description = _description(folder / CONFIG, trusted)
    for name, asked, there in (("agent", id, description.agent), ("round", round, description.round)):
        if asked is not None and asked != there:
            raise ConfigError(f"{folder} holds the {name} {there} and not {asked}: leave it out")
    try:
        for m, shape in description.data_schema.shapes(list(description.data_schema.modalities)).items():
            kept_data.scale_of(description.scale[m], shape)
        tensors = _tensors(folder / TENSORS)
        _refuse_sizes(description, tensors)
        network = description.network()
    except (KeyError, ValueError, IndexError, TypeError, RuntimeError, MemoryError) as error:
        raise ConfigError(f"{folder / CONFIG} does not fit together ({cause(error)}): export it anew") from None
    _fill(network, tensors, folder / TENSORS)
    return TrainedModel(description, network, with_tokenizers(description, folder))


def with_tokenizers(description: Description, folder: Path) -> dict[Modality, tokenizer.Tokenizer]:
    """Those of a model's modalities that lie in a folder. Raises ConfigError where one is broken."""
    found = {m: tokenizer.kept(folder, each.tokenizer) for m, each in description.data_schema.modalities.items()}
    return {m: each for m, each in found.items() if each is not None}


def _tensors(path: Path) -> dict[str, Tensor]:
    safetensors = package("safetensors.torch", "export", "an exported model")
    try:
        # not mapped: a file that changes meanwhile would end the process
        tensors: dict[str, Tensor] = safetensors.load(path.read_bytes())
    except Exception as error:  # its own, which is no class of Python's, and those of the file system
        raise ConfigError(f"{path} cannot be read ({cause(error)}): export it anew") from None
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ConfigError(f"{path} holds values in {name!r} that are no numbers: export it anew")
    return tensors


def _refuse_sizes(description: Description, tensors: dict[str, Tensor]) -> None:
    """Raise ValueError for a network that would be larger than the tensors there are: it is not even built."""
    there = sum(tensor.numel() for tensor in tensors.values())
    options = [description.model, *description.encoders.values()]
    for key, value in (pair for each in options for pair in each.model_dump().items()):
        if isinstance(value, int) and value > max(there, 100):
            raise ValueError(f"{key} is {value}, and there are {there} numbers in {TENSORS}")
    for m, each in description.data_schema.modalities.items():
        if not description.encoders[m].ones_own and (each.vocabulary or 0) > max(there, 100):
            raise ValueError(f"vocabulary is {each.vocabulary}, and there are {there} numbers in {TENSORS}")


def _fill(network: Network, tensors: dict[str, Tensor], path: Path) -> None:
    for problem in _unlike(network.state_dict(), tensors):
        raise ConfigError(f"{path} is not of the network in {CONFIG}: {problem}")
    network.load_state_dict(tensors)


def _unlike(wanted: dict[str, Tensor], found: dict[str, Tensor]) -> Iterator[str]:
    for name in sorted(wanted.keys() | found.keys()):
        if name not in found:
            yield f"the tensor {name!r} is missing"
        elif name not in wanted:
            yield f"the tensor {name!r} is not one of its"
        elif found[name].shape != wanted[name].shape or found[name].dtype != wanted[name].dtype:
            sides = [f"{tensor.dtype} {list(tensor.shape)}" for tensor in (found[name], wanted[name])]
            yield f"the tensor {name!r} is {sides[0]} and not {sides[1]}"


def _description(path: Path, trusted: Collection[str]) -> Description:
    try:
        if path.stat().st_size > LARGEST_CONFIG:
            raise ValueError(f"it is larger than {LARGEST_CONFIG} bytes")
        raw = json.loads(path.read_text("utf-8"))
        if not isinstance(raw, dict) or "format" not in raw:
            raise ValueError("it is none that parse-agent export wrote")
        if raw["format"] != FORMAT:
            written = raw.get("version")
            raise ConfigError(
                f"{path} is of format {raw['format']!r}, written by parse-p2p {written}; this is parse-p2p "
                f"{__version__}, which reads format {FORMAT}: take that version, or export it anew"
            )
        _refuse_modules(path, raw, trusted)
        return Description.model_validate(raw)
    except kept_data.NO_JSON as error:
        raise ConfigError(f"{path} cannot be read ({kept_data.said(error)}): export it anew") from None


def _refuse_modules(path: Path, raw: dict[str, Any], trusted: Collection[str]) -> None:
    """Raise ConfigError for modules that are not trusted: a file from anybody must not have them run.

    It says no more than their names: one that is loaded already may do harm with the arguments that the file gives.
    """
    model, encoders = raw.get("model"), raw.get("encoders")
    options = model if isinstance(model, dict) else {}
    by_modality = [part for part in (encoders, options.get("encoders")) if isinstance(part, dict)]
    each = [options.get("encoder"), *(one for part in by_modality for one in part.values())]
    names = [
        options.get("network"),
        options.get("weighting"),
        *(one.get("kind") for one in each if isinstance(one, dict)),
    ]
    for name in names:
        if isinstance(name, str) and plugins.ones_own(name) and name not in trusted:
            raise ConfigError(
                f"{path} names {name!r}, which would be run: if you trust it and this folder, load the model by "
                f"parse_p2p.load(..., trusted=[{name!r}]) or with --trust {name}"
            )
