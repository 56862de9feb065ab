"""Encoded images and recordings become arrays of one size, as the options of their modality say.

Pillow and soundfile are asked for only where there is something to decode. Every sentence begins with where the bytes
come from.
"""

import importlib
import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_validator

from parse_p2p.core.errors import ConfigError, cause
from parse_p2p.core.plugin_options import refused
from parse_p2p.core.types import Modality
from parse_p2p.data.tasks.source import Name

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Of images, as Pillow names them; its others run programs or are hardly tested."""

LARGEST_RATE = 10**6
"""In Hz; the filter that changes a rate is as long as the rates are large."""

POINTER = b"version https://git-lfs"

Side = Annotated[int, Field(ge=1, le=10**4)]


@dataclass(frozen=True)
class Encoded:
    """The bytes of one image or recording; ``where`` begins every sentence on them."""

    data: bytes
    where: str

    def fault(self, wrong: str, remedy: str) -> ConfigError:
        """What is wrong with them, and what would be right."""
        return ConfigError(f"{self.where} {wrong}; {remedy}")

    def refuse_pointer(self) -> None:
        """Raise ConfigError for what stands in a repository for a file that was not fetched."""
        if self.data.startswith(POINTER):
            raise self.fault("is a pointer of Git LFS and not the file", "get it with git lfs pull")


class _Decoder(BaseModel, extra="forbid", frozen=True):
    column: Name | None = Field(None, description="the column that holds it (default: the name of the modality)")


class ImageOptions(_Decoder):
    """What the images of a modality become."""

    size: tuple[Side, Side] = Field(description="[height, width] that all are resized to")
    colours: Literal["rgb", "grey"] = Field("rgb", description="three channels or one")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one of them."""
        return (3 if self.colours == "rgb" else 1, *self.size)

    def decoded(self, file: Encoded) -> NDArray[np.float32]:
        """(channels, height, width) from 0 to 1. Raises ConfigError for what is no whole image."""
        pillow = _package("PIL.Image", "pillow")
        pixels = self._pixels(pillow, _upright(pillow, file), file)
        channels = np.moveaxis(pixels.reshape(*self.size, -1), -1, 0)
        return np.broadcast_to(channels, self.shape)

    def _pixels(self, pillow: Any, image: Any, file: Encoded) -> NDArray[np.float32]:
        size = self.size[::-1]
        if not image.mode.startswith(("I", "F")):
            coloured = image.convert("RGB" if self.colours == "rgb" else "L")
            return np.asarray(coloured.resize(size, pillow.Resampling.BILINEAR), np.float32) / np.float32(255)
        # of more than 8 bits, all above which convert() would cut off
        values = np.asarray(image, np.float32) / 65535
        if image.mode == "F" or values.min() < 0 or values.max() > 1:
            raise file.fault("has pixels of 32 bits", "save it with 8 or 16")
        return np.asarray(pillow.fromarray(values).resize(size, pillow.Resampling.BILINEAR))


class AudioOptions(_Decoder):
    """What the recordings of a modality become."""

    rate: int = Field(ge=1, le=LARGEST_RATE, description="samples per second (Hz) that all are resampled to")
    seconds: float = Field(gt=0, le=10**5, description="their length; longer ones are cut, shorter ones end in zeros")

    @model_validator(mode="after")
    def _of_one_sample(self) -> Self:
        if not self.steps:
            raise refused("seconds", f"holds no sample at {self.rate} Hz; raise it")
        return self

    @property
    def steps(self) -> int:
        """The length in samples."""
        return round(self.rate * self.seconds)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one of them."""
        return (1, self.steps)

    def decoded(self, file: Encoded) -> NDArray[np.float32]:
        """(1, steps), the mean of all channels. Raises ConfigError for what is no recording."""
        samples, rate = self._samples(file)
        if not len(samples):
            raise file.fault("holds no samples", "record some, or leave it out")
        if not np.isfinite(samples).all():
            raise file.fault("holds samples that are NaN or infinite", "correct them, or leave it out")
        mono = _resampled(samples.mean(1), rate, self.rate)[: self.steps]
        return np.pad(mono, (0, self.steps - len(mono)))[None]

    def _samples(self, file: Encoded) -> tuple[NDArray[np.float32], int]:
        """(samples, channels) as far as they matter, and their rate."""
        soundfile = _package("soundfile", "soundfile")
        try:
            with soundfile.SoundFile(BytesIO(file.data)) as recording:
                rate = recording.samplerate
                return recording.read(self._needed(rate), "float32", always_2d=True), rate
        except Exception as error:  # decoders raise whatever broken bytes lead to
            said = getattr(error, "error_string", "") or cause(error)
            raise file.fault(f"is no whole recording ({said})", "give WAV, FLAC, Ogg or MP3") from error

    def _needed(self, rate: int) -> int:
        """How many samples at this rate decide those that are kept: the filter sees ten periods of the slower rate."""
        if rate > LARGEST_RATE:
            raise ValueError(f"{rate} samples per second")
        return math.ceil(self.steps * rate / self.rate) + 10 * math.ceil(max(1, rate / self.rate)) + 1


class MediaOptions(BaseModel, extra="forbid", frozen=True):
    """Which modalities are images or recordings."""

    images: dict[Modality, ImageOptions] = Field({}, description="the modalities that are images")
    audio: dict[Modality, AudioOptions] = Field({}, description="the modalities that are recordings")

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if both := sorted(self.images.keys() & self.audio.keys()):
            raise refused("audio", f"{both[0]!r} is in images too; give each modality a name of its own")
        return self

    @property
    def encoded(self) -> dict[Modality, ImageOptions | AudioOptions]:
        """All of them."""
        return {**self.images, **self.audio}


def decoded(files: Iterable[Encoded | None], count: int, options: ImageOptions | AudioOptions) -> NDArray[np.float32]:
    """(count, ...) of so many files, NaN of those that are missing. Raises ConfigError for the first that is broken."""
    values = np.empty((count, *options.shape), np.float32)
    for row, file in enumerate(files):
        values[row] = np.nan if file is None else options.decoded(file)
    return values


def _package(module: str, name: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        raise ConfigError(f"images and recordings need the package {name}: pip install 'parse-p2p[media]'") from None


def _upright(pillow: Any, file: Encoded) -> Any:
    """The image, turned as its camera says."""
    ops = _package("PIL.ImageOps", "pillow")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is odd about metadata
            warnings.simplefilter("error", pillow.DecompressionBombWarning)
            with pillow.open(BytesIO(file.data), formats=FORMATS) as image:
                return ops.exif_transpose(image)
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning):
        raise file.fault(f"has more than {pillow.MAX_IMAGE_PIXELS} pixels", "make it smaller") from None
    except pillow.UnidentifiedImageError:
        raise file.fault("is no image", f"give {', '.join(FORMATS[:-1])} or {FORMATS[-1]}") from None
    except Exception as error:  # decoders raise whatever broken bytes lead to
        raise file.fault(f"is no whole image ({cause(error)})", "save it again") from error


def _resampled(mono: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    if rate == wanted:
        return mono
    from scipy.signal import resample_poly  # which takes a second to import

    shared = math.gcd(rate, wanted)
    return np.asarray(resample_poly(mono, wanted // shared, rate // shared), np.float32)
