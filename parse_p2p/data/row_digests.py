"""Numbers that tell whether two rows hold the same values, so that a sample that is in two data sets is found."""

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from parse_p2p.core.types import Modality
from parse_p2p.data.base import Dataset
from parse_p2p.data.lazy import pieces

Input = tuple[Modality, tuple[int, ...]]
"""Inputs of one name and shape can be compared."""


def shared_rows(one: Dataset, other: Dataset, modalities: Collection[Modality]) -> int:
    """How many rows of one are in the other too, by the values of those of the modalities that both hold alike.

    Rows of one value throughout, as of a black picture, are like each other and no sign that they are the same sample.
    """
    mine, theirs = (digests(each.select(range(len(each)), _of(each, modalities))) for each in (one, other))
    common = [key for key in mine if key in theirs]
    if not common or not len(one) or not len(other):
        return 0
    found = np.isin(joined(mine, common), joined(theirs, common))
    return int((found & _varied(one, [m for m, _ in common])).sum())


def _of(dataset: Dataset, modalities: Collection[Modality]) -> list[Modality]:
    return [m for m in dataset.modalities if m in modalities]


def _varied(dataset: Dataset, modalities: Sequence[Modality]) -> NDArray[np.bool_]:
    """Which rows (N,) hold more than one value in one of the modalities."""
    found = np.zeros(len(dataset), bool)
    for m in modalities:
        flat = (piece.reshape(len(piece), -1) for piece in pieces(dataset.inputs[m]))
        found |= np.concatenate([(x.amax(1) != x.amin(1)).numpy() for x in flat])
    return found


def digests(dataset: Dataset) -> dict[Input, NDArray[np.uint64]]:
    """Two numbers (N, 2) of every row of each input, equal where its values are.

    They are sums of the values' bits times random numbers of 64 bits, alike for inputs of one name and shape: rows that
    differ get the same by a chance of less than 2^-64. What is missing is like nothing else.
    """
    found = {}
    for m in dataset.modalities:
        width = math.prod(dataset.shape(m))
        factors = np.random.default_rng([*m.encode()]).integers(2**64, size=(width, 2), dtype=np.uint64)
        hashes = [_bits(piece.reshape(-1, width)) @ factors for piece in pieces(dataset.inputs[m])]
        found[m, dataset.shape(m)] = np.concatenate(hashes)
        if m in dataset.present:
            missing = ~dataset.present[m].numpy()
            unlike = np.random.default_rng().integers(2**64, size=(int(missing.sum()), 2), dtype=np.uint64)
            found[m, dataset.shape(m)][missing] = unlike
    return found


def _bits(x: Tensor) -> NDArray[np.uint64]:
    plain: NDArray[np.float32] = (x + 0.0).numpy()  # -0.0 is 0.0
    return plain.view(np.uint32).astype(np.uint64)


def joined(hashes: Mapping[Input, NDArray[np.uint64]], inputs: Sequence[Input]) -> NDArray[np.void]:
    """One value (N,) for each row of several inputs."""
    both: NDArray[np.uint64] = np.sum([hashes[each] for each in inputs], axis=0, dtype=np.uint64)
    return both.view(np.dtype((np.void, 16)))[:, 0]
