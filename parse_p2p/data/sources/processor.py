"""What the processor beside a pretrained model scales images by, as ``transformers`` and ``timm`` write it down.

Images are read as numbers from 0 to 1 here, and a processor begins with 0 to 255: what the model is to see of a pixel p
is (factor · p − mean) / deviation, which is a mean and a deviation of p / 255. Nothing else of a processor is imitated;
what would need more is refused.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parse_p2p.core.errors import ConfigError, an
from parse_p2p.data.tokenizer import readable

FILE = "preprocessor_config.json"
OF_TIMM = "config.json"

WHITE = 255


def resolved(scale: Mapping[str, Any], kind: object, shape: object) -> dict[str, list[float]]:
    """What stands in place of ``{processor: FOLDER}`` for a modality of this kind and shape. Raises ConfigError."""
    [folder, *_] = scale.values()
    if len(scale) > 1 or not isinstance(folder, str | Path):
        raise ConfigError("a processor is the folder of a model, and stands alone")
    sizes = shape if isinstance(shape, list | tuple) else ()
    if not isinstance(kind, str) or not sizes or not all(isinstance(n, int) for n in sizes):
        raise ConfigError("a processor has to fit: give the kind and the shape of the modality beside it")
    return statistics(Path(folder), kind, tuple(sizes))


def statistics(path: Path, kind: str, shape: tuple[int, ...]) -> dict[str, list[float]]:
    """``mean`` and ``deviation`` of each channel for inputs of this kind and shape.

    ``path`` is the file, or the folder of a model with it. Raises ConfigError where there is none, or it is for other
    inputs.
    """
    file, keys = _read(path)
    if kind == "series" and "sampling_rate" in keys:
        return _of_recordings(file, keys, shape)
    if kind != "image" or "image_mean" not in keys:
        raise ConfigError(f"the processor {file} is not one for {an(kind)}: give mean and deviation, or scale: none")
    mean, deviation = (keys[key] for key in ("image_mean", "image_std"))
    if len(mean) != shape[0]:
        raise ConfigError(f"the processor {file} has {len(mean)} channels, and the shape is {list(shape)}")
    if (size := _size(file, keys)) not in (None, shape[1:]):
        assert size is not None
        raise ConfigError(
            f"the processor {file} gives images of {size[0]} by {size[1]}, and the shape is {list(shape)}: read "
            f"them as size: {list(size)}"
        )
    factor = WHITE * _factor(file, keys)
    if not keys.get("do_normalize", True):
        mean, deviation = [0.0] * len(mean), [1.0] * len(mean)
    return {"mean": [each / factor for each in mean], "deviation": [each / factor for each in deviation]}


def _of_recordings(file: Path, keys: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, list[float]]:
    if keys.get("feature_size", 1) != 1:
        raise ConfigError(f"the processor {file} makes spectra of recordings: make them before, and give scale: none")
    if keys.get("do_normalize"):
        raise ConfigError(
            f"the processor {file} scales each recording by itself, which no scale can: scale them so before, and give "
            "scale: none"
        )
    return {"mean": [0.0] * shape[0], "deviation": [1.0] * shape[0]}


def _read(path: Path) -> tuple[Path, dict[str, Any]]:
    """The file, and what it says, by the names that transformers has for it."""
    file = path
    try:
        path = path.expanduser()
        files = [path / FILE, path / OF_TIMM] if path.is_dir() else [path]
        file = next((each for each in files if each.is_file()), files[0])
        keys = json.loads(readable(file))
        if not isinstance(keys, dict):
            raise ValueError("it holds no keys")
        timm = keys.get("pretrained_cfg", {}) if file.name == OF_TIMM else {}
        if "mean" in timm:
            size = dict(zip(("height", "width"), timm["input_size"][1:], strict=True))
            keys = {"image_mean": timm["mean"], "image_std": timm["std"], "size": size}
        for key in ("image_mean", "image_std"):
            if key in keys:
                if not isinstance(keys[key], list) or not all(type(each) in (int, float) for each in keys[key]):
                    raise ValueError(f"{key} is no list of numbers")
                keys[key] = [float(each) for each in keys[key]]
        if len(keys.get("image_mean", ())) != len(keys.get("image_std", ())):
            raise ValueError("image_mean and image_std are of several lengths")
        if 0 in keys.get("image_std", ()):
            raise ValueError("image_std is 0")
    except FileNotFoundError:
        raise ConfigError(f"the processor {file} does not exist; give the folder of a model that has one") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        said = getattr(error, "strerror", None) or error
        raise ConfigError(f"the processor {file} cannot be read ({said}); give the folder of a model") from None
    return file, keys


def _size(file: Path, keys: Mapping[str, Any]) -> tuple[int, int] | None:
    """Height and width of what comes out, where it is always the same. Raises ConfigError for what is no size."""
    size = (
        keys.get("crop_size")
        if keys.get("do_center_crop")
        else keys.get("size")
        if keys.get("do_resize", True)
        else None
    )
    if size is None or (isinstance(size, dict) and not {"height", "width"} <= size.keys()):  # as by its shortest edge
        return None
    edges = (
        [size["height"], size["width"]] if isinstance(size, dict) else size if isinstance(size, list) else [size] * 2
    )
    if len(edges) != 2 or not all(type(edge) is int and edge > 0 for edge in edges):
        raise ConfigError(f"the processor {file} has the size {size!r}, which is none of an image")
    return edges[0], edges[1]


def _factor(file: Path, keys: Mapping[str, Any]) -> float:
    """What pixels from 0 to 255 are multiplied by."""
    if not keys.get("do_rescale", True):
        return 1.0
    if keys.get("rescale_offset"):
        raise ConfigError(f"the processor {file} moves pixels by an offset: give mean and deviation")
    factor = keys.get("rescale_factor", 1 / WHITE)
    if type(factor) not in (int, float) or not 0 < factor < math.inf:
        raise ConfigError(f"the processor {file} has the rescale_factor {factor!r}, which is no number above 0")
    return float(factor)
