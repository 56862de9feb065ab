"""Inputs that stay in their files: rows are read when they are asked for, so that a set may be larger than memory.

What is read is what reading everything at once would give, to the bit; so are ``statistics``, which are computed by
the same sums in the same order, over a temporary file.
"""

import mmap
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from tempfile import TemporaryFile
from typing import IO, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from parse_p2p.core.errors import ConfigError

PIECE = 2**23
"""At most so many bytes of float32 are read at a time where all samples are gone through, or one sample."""

DOUBLE = 8  # bytes


class Reader(Protocol):
    """Reads samples from where they are, in any order and from any thread."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all samples, the first axis the sample, channels first."""

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.float32] | NDArray[np.int64]:
        """These samples (B, ...), in an array of their own; of tokens they are int64.

        Raises ConfigError, naming the file, where they cannot be read or are others than before.
        """


@dataclass(frozen=True, eq=False)
class LazyInput:
    """Samples of one modality that are read when they are asked for.

    rows     int64 (N,) on the CPU: which samples of the reader they are
    steps    what is done to what was read, one after another: (B, ...) → (B, ...), each value for itself
    missing  which samples of the reader there are none of, bool, if any; they are 0
    device   where what is read goes
    padding  of tokens the id where there is none, of which missing samples are full
    """

    reader: Reader
    rows: Tensor
    steps: tuple[Callable[[Tensor], Tensor], ...] = ()
    missing: Tensor | None = None
    device: torch.device | str = "cpu"
    padding: int | None = None

    @staticmethod
    def of(reader: Reader, padding: int | None = None) -> "LazyInput":
        """All samples of a reader."""
        return LazyInput(reader, torch.arange(reader.shape[0]), padding=padding)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, ...), as that of a tensor."""
        return (len(self), *self.reader.shape[1:])

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    def __getitem__(self, at: Tensor | slice) -> Tensor:
        """The samples of these row numbers, float32 (B, ...), or int64 of tokens."""
        rows = self.rows[at.cpu() if isinstance(at, Tensor) else at]
        values = torch.from_numpy(self.reader.read(rows.numpy()))
        for step in self.steps:
            values = step(values)
        if self.missing is not None:
            values[self.missing[rows]] = self.padding or 0
        return values.to(self.device)

    def select(self, at: Tensor) -> "LazyInput":
        """These rows, which are not read yet."""
        return replace(self, rows=self.rows[at.cpu()])

    def then(self, step: Callable[[Tensor], Tensor]) -> "LazyInput":
        """With one more step."""
        return replace(self, steps=(*self.steps, step))

    def to(self, device: torch.device) -> "LazyInput":
        """The same for another device."""
        return replace(self, device=device)

    @cached_property
    def finite(self) -> bool:
        """Whether all values are numbers. Found once, by reading all."""
        return all(bool(piece.isfinite().all()) for piece in pieces(self))


Input = Tensor | LazyInput
"""The samples of one modality, float32 (N, ...), or int64 (N, length) of tokens."""


def pieces(x: Input) -> Iterator[Tensor]:
    """All samples in their order, some at a time; a tensor as it is."""
    return iter([x]) if isinstance(x, Tensor) else parts(x)


def parts(x: Input) -> Iterator[Tensor]:
    """All samples in their order, some at a time: as many of a tensor as of what is lazy."""
    rows = max(1, PIECE // (4 * int(np.prod(x.shape[1:]))))
    for start in range(0, len(x), rows):
        yield x[start : start + rows]


def in_memory(x: Input) -> Tensor:
    """All samples at once; a tensor as it is."""
    return x if isinstance(x, Tensor) else x[:]


def finite(x: Input) -> bool:
    """Whether all values are numbers."""
    return bool(x.isfinite().all()) if isinstance(x, Tensor) else x.finite


def statistics(x: LazyInput) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, standard deviation and whether it is constant, of each feature or channel (C,), in double precision.

    They are those of ``torch.std_mean`` over everything, to the bit: it takes the values of a channel one by one, so
    each channel is laid out in a temporary file and summed by it from there. That takes 8 bytes of disk for each value,
    in the folder that the variable TMPDIR names. Raises ConfigError where there is not so much.
    """
    count = int(np.prod(x.shape)) // x.shape[1]
    try:
        with TemporaryFile(buffering=0) as file:
            _by_channel(x, file, count)
            found = [_of_channel(file, k, count, x.shape[1]) for k in range(x.shape[1])]
    except OSError as error:
        raise ConfigError(
            f"mean and deviation of samples that are read lazily need {DOUBLE * count * x.shape[1]:,} bytes for a "
            f"temporary file ({error.strerror or error}): set TMPDIR to a folder with room, or give them in data_schema"
        ) from error
    mean, deviation, constant = (torch.stack(each) for each in zip(*found, strict=True))
    return mean, deviation, constant


def _by_channel(x: LazyInput, file: IO[bytes], count: int) -> None:
    """Write the values as doubles, channel after channel, each in the order of the samples."""
    os.ftruncate(file.fileno(), DOUBLE * count * x.shape[1])
    done = 0
    for piece in pieces(x):
        channels = piece.double().transpose(0, 1).flatten(1)
        for k, values in enumerate(channels):
            _write(file, values.contiguous().numpy().view(np.uint8).data, DOUBLE * (k * count + done))
        done += channels.shape[1]


def _write(file: IO[bytes], values: memoryview, offset: int) -> None:
    while values:
        written = os.pwrite(file.fileno(), values, offset)
        values, offset = values[written:], offset + written


def _of_channel(file: IO[bytes], k: int, count: int, channels: int) -> tuple[Tensor, Tensor, Tensor]:
    start = DOUBLE * k * count
    shift = start % mmap.ALLOCATIONGRANULARITY
    # a copy on write, since torch has no tensors that cannot be written
    mapped = mmap.mmap(file.fileno(), shift + DOUBLE * count, access=mmap.ACCESS_COPY, offset=start - shift)
    values = torch.frombuffer(mapped, dtype=torch.float64, offset=shift)
    # twice, since torch sums the values of a single channel in several threads, which gives other bits
    doubled = values.expand(min(channels, 2), -1)
    deviation, mean = torch.std_mean(doubled, 1, correction=0)
    least, most = values.aminmax()
    return mean[0], deviation[0], least == most
